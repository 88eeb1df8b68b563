"""Keep freed memory in the process, because mapping every large tensor anew zeroes its pages again.

One network call makes and frees some forty tensors of 10 MB. On two Xeon cores at the published size,
retaining them took a call from about 18,000 page faults to under 600 and from 0.39 s to 0.33 s (medians
of three interleaved runs).
"""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc refuses more
KEPT_BYTES = 1 << 30


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Ask glibc to serve blocks up to 32 MB from its heap and keep 1 GB of it; True if that worked.

    Works for the whole process; generators and trainers call it when they are made for a CPU. Elsewhere
    than glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)) and bool(
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
    )
