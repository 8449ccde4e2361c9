"""Memory of messages stays with the process, to be used again by the next ones.

ZeroMQ allocates each message and frees it afterwards. By default glibc gives large pieces back to the kernel at once,
and the next message gets fresh pages: on a virtual machine about 8 us each, up to 110 of them for a frame of 2 MB. How
much there can be at a time is bounded by the budget of a run (`budget.py`), so keeping it costs nothing more.
"""

from __future__ import annotations

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
KEPT_BYTES = 1 << 30
HEAP_BYTES = 64 << 20
"""glibc's heaps of threads are of this size at most, so larger pieces come from the kernel anyhow."""


def keep_freed_memory() -> None:
    """For the life of this process. Where the C library is not glibc nothing is changed."""
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
        mallopt(_M_MMAP_THRESHOLD, HEAP_BYTES // 2)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_TOP_PAD, HEAP_BYTES)
