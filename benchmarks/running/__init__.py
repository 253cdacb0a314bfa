"""The execution of a run: its units of work, the workers that compute them, and the driver."""
