"""The restorers' networks, OWAN and its baselines, and how their weights are read."""
