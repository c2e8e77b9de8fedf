"""One thread, and none that spins while it waits, for all tests and what they start; read before torch is imported.

The tests' networks are so small that threads only wait for one another: spinning, they made some tests 25 times slower.
"""

import os

ONE_THREAD = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
}
os.environ.update(ONE_THREAD)
