"""Set before torch is imported, and inherited by the commands that tests start: workers of `pytest -n` share the cores.

A test that needs more threads says so itself.
"""

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ["OMP_WAIT_POLICY"] = "passive"
