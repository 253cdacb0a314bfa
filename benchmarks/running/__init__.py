"""A run as it goes on: its units of work, who computes them, and the driver that goes from one to the next."""
