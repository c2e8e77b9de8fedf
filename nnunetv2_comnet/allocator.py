"""Makes glibc keep freed memory: large arrays that come and go cost a page fault every 4 KB otherwise."""

import ctypes
import functools
import sys

# mallopt's parameters, from glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
LARGEST_INT = 2**31 - 1


@functools.cache
def keep_freed_memory() -> bool:
    """For this process, to its end. True if the allocator took the settings (Linux, glibc)."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, LARGEST_INT))
