"""Joins restorers and detectors: the chain, the tables of names, where weights come from."""
