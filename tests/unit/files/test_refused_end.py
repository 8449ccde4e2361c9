"""Whatever the disk refuses of the end of a series is an error, and never a crash of HDF5."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from block_series import BACKENDS
from maxdaq_tango.errors import FileError
from maxdaq_tango.files import BlockedSeries, FrameTimes, SeriesFile, resolve_destination
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat, Receipt, Verdict

FORMAT = FrameFormat((64, 64), "uint16", Encoding.NONE)
FRAMES, BLOCK_ROWS = 7, 3
STEP = 1750
"""Bytes: columns, texts and index are smaller pieces and larger ones."""


@pytest.mark.lesson(25)
@pytest.mark.parametrize("kind", ["single", "blocked"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_disk_that_is_full_anywhere_in_the_end_crashes_nobody(tmp_path: Path, backend: str, kind: str) -> None:
    assert end_series(tmp_path / "whole", backend, kind, resource.RLIM_INFINITY)
    whole = max(path.stat().st_size for path in (tmp_path / "whole").iterdir())
    codes = {}
    for room in range(STEP, whole, STEP):
        folder = tmp_path / str(room)
        child = os.fork()
        if not child:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os._exit(end_series(folder, backend, kind, room))
        codes[room] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        shutil.rmtree(folder)
    assert set(codes.values()) == {False}, codes


def end_series(folder: Path, backend: str, kind: str, most: int) -> bool:
    """Write a series, and end it where no file may become larger than `most` bytes; whether it ended well."""
    folder.mkdir()
    destination = resolve_destination(str(folder / "a.h5"), [str(folder)])
    blocks = {"block_rows": BLOCK_ROWS} if kind == "blocked" else {}
    series = (BlockedSeries if kind == "blocked" else SeriesFile)(  # type: ignore[operator]
        destination, detector="d", software="t", backend=FileBackend(backend), slab_memory_bytes=12 << 20, **blocks
    )
    flatfield = {"flatfield": np.ones((50, 50), "f4")}
    series.begin(FORMAT, FRAMES + 1, 65535, {"count_time": 1.0}, flatfield, extras={"x": 1.5})
    for row in range(FRAMES):
        pixels = np.random.default_rng(row).integers(0, 65535, FORMAT.shape, dtype="<u2").tobytes()
        series.write(row, row, [pixels], FrameTimes(), {"x": float(row), "note": f"{row} " + "text " * 100})
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        series.settle(np.arange(FRAMES + 1) != FRAMES, 0, 0, FRAMES + 1)
        series.finish(
            Receipt(
                verdict=Verdict.INCOMPLETE, frames_written=FRAMES, frames_missing_ranges=((FRAMES, FRAMES),),
                frames_missing_count=1, first_frame_number=0, shape=(FRAMES + 1, *FORMAT.shape), dtype="uint16",
            )
        )  # fmt: skip
    except FileError:
        series.abandon()
        return False
    return True
