"""The results computed from a run's store, and the differences between runs."""
