"""Memory that was freed is used again without the kernel."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import ctypes, resource, sys, threading
if sys.argv[1] == "keep":
    from maxdaq_tango.pipeline.memory import keep_freed_memory
    keep_freed_memory()

def work():
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    faults = []
    for _ in range(50):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        pieces = [libc.malloc(2_000_000) for _ in range(8)]
        for piece in pieces:
            ctypes.memset(piece, 1, 2_000_000)
        for piece in pieces:
            libc.free(piece)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    print(max(faults[5:]))

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, timeout=60, check=True)
    return int(done.stdout)


def test_messages_one_after_the_other_cost_no_fresh_pages() -> None:
    assert faults("keep") < 100  # of 3900 pages
