"""Experiments beyond one run, most of them made of several."""
