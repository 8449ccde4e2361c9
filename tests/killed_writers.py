"""Writers that are processes of their own, have frames that are safe, and are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

WRITER = """
import os, sys
import numpy as np
from maxdaq_tango.files import FrameTimes, SeriesFile, resolve_destination
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat
folder, backend, rows, numbers = sys.argv[1], FileBackend(sys.argv[2]), int(sys.argv[3]), eval(sys.argv[4])
file = SeriesFile(resolve_destination(folder + "/a.h5", [folder]), detector="d", software="t",
                  backend=backend, slab_memory_bytes=1 << 20)
file.begin(FrameFormat((30, 40), "uint16", Encoding.NONE), rows or None, 65535, {"count_time": 1.0}, {})
for number in numbers:
    file.write(number % rows if rows else number, number, [np.full((30, 40), number, "<u2").tobytes()], FrameTimes())
file.checkpoint()
print("safe", flush=True)
sys.stdin.read()
os._exit(9)
"""


def start(folder: Path, backend: str, rows: int = 50, numbers: str = "range(40)") -> subprocess.Popen[str]:
    """A writer whose frames are safe, and which waits to be killed."""
    command = [sys.executable, "-c", WRITER, str(folder), backend, str(rows), numbers]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "safe\n"
    return writer


def kill(writer: subprocess.Popen[str]) -> None:
    with writer:
        os.kill(writer.pid, signal.SIGKILL)


def killed(folder: Path, backend: str, **how: Any) -> Path:
    folder.mkdir(exist_ok=True)
    kill(start(folder, backend, **how))
    return folder / ".a.h5.part"
