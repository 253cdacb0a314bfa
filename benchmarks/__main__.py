"""`python -m vocbench.benchmarks` is the command `vocbench`."""

from vocbench.benchmarks.cli.main import main

if __name__ == "__main__":
    main()
