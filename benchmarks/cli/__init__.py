"""The command line `vocbench`: one module for each family of commands."""
