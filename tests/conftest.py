"""One thread a process: two workers share two cores, and small matrices gain nothing from more."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
