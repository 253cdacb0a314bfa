"""The experiments, their store, their reports, and the command line `vocbench`."""
