"""What all tests and the processes that they start run under; set before torch and matplotlib are imported.

One thread, and none that spins while it waits: the tests' networks are so small that threads only wait for one another,
which made some tests 25 times slower. Pictures of few points: nnU-Net's progress.png took half of a tiny training.
"""

import os
from pathlib import Path

FRUGAL = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
    "MATPLOTLIBRC": str(Path(__file__).with_name("matplotlibrc")),
}
os.environ.update(FRUGAL)
