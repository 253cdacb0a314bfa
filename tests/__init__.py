import os

# The workers of pytest-xdist share the cores: several threads in each would spend their time waiting for one another.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
