"""Training a restorer on degraded patches of clean photos."""
