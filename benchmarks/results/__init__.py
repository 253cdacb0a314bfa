"""What a run's store says: its results, and how two runs differ."""
