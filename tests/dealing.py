"""Writer processes under test: who they are, and what they left."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from maxdaq_tango.files import recover_part
from maxdaq_tango.files.frame_log import log_path
from maxdaq_tango.pipeline.writers import Writer
from receiving import WAIT_S, Harness, pixels

PAUSE = threading.Event()


def crew(harness: Harness) -> list[Writer]:
    return harness.receiver._crew._writers


def pids(harness: Harness) -> list[int]:
    return [writer.pid for writer in crew(harness)]


def wait_for(what: Any, wait_s: float = WAIT_S) -> None:
    for _ in range(int(wait_s / 0.01)):
        if what():
            return
        PAUSE.wait(0.01)
    raise AssertionError("it did not come")


def recovered(folder: Path) -> set[int]:
    """Frames of backend `direct` that can be read from what was left."""
    found: set[int] = set()
    for part in folder.glob(".a_data_*.part"):
        if log_path(part).exists():
            recover_part(part)
        with h5py.File(part, locking=False) as file:
            group = file["entry/instrument/eiger"]
            for row in np.flatnonzero(group["daq/frame_valid"][...]):
                number = int(group["sequence_number"][row])
                assert np.array_equal(group["data"][row], pixels(number))
                found.add(number)
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
