"""A data file of which the disk has refused something is never taken for whole, however often it is closed."""

from __future__ import annotations

import contextlib
import math
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from block_series import BACKENDS
from maxdaq_tango.errors import FileError
from maxdaq_tango.files import BlockLayout, BlockSet, FrameTimes, recover_part
from maxdaq_tango.files.kept import kept_numbers
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat

FORMAT = FrameFormat((64, 64), "uint16", Encoding.NONE)
ROWS, BLOCK_ROWS, SAFE = 60, 50, 5
SMALL = 100_000
"""Bytes that fit on the disk when it is nearly full: less than half a block."""


def pixels(row: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint16]]:
    return np.random.default_rng(row).integers(0, 65535, FORMAT.shape, dtype="<u2")


@contextlib.contextmanager
def full_disk(part: Path) -> Iterator[None]:
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (part.stat().st_size + SMALL, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture(params=BACKENDS)
def blocks(request: pytest.FixtureRequest, tmp_path: Path) -> BlockSet:
    layout = BlockLayout(
        folder=str(tmp_path), stem="a", suffix=".h5", detector="eiger", software="tests", format=FORMAT, fill=65535,
        backend=FileBackend(request.param), block_rows=BLOCK_ROWS, rows=ROWS, slab_memory_bytes=12 << 20,
    )  # fmt: skip
    return BlockSet(layout)


@pytest.mark.lesson(25)
@pytest.mark.parametrize("written", [40, BLOCK_ROWS])
def test_what_was_refused_once_is_refused_again_when_there_is_room(
    blocks: BlockSet, tmp_path: Path, written: int
) -> None:
    for row in range(SAFE):
        blocks.write(row, row, [pixels(row).tobytes()], FrameTimes(), {})
    blocks.checkpoint_if_due(math.inf)
    (part,), taken = tmp_path.glob(".a_data_*.part"), SAFE
    with full_disk(part):
        with contextlib.suppress(FileError):  # told here already, or only by what comes next
            for row in range(SAFE, written):
                blocks.write(row, row, [pixels(row).tobytes()], FrameTimes(), {})
                taken += 1
        with pytest.raises(FileError, match="File too large"):
            blocks.close_all(1)
    with pytest.raises(FileError, match="File too large"):  # the frames are gone, though the disk has room again
        blocks.close_all(1)
    with pytest.raises(FileError, match="File too large"):
        blocks.close_all(1)
    blocks.give_up()

    kept = kept_numbers([part])
    assert SAFE <= len(kept) <= taken
    recover_part(part)
    with h5py.File(part, locking=False) as file:
        group = file["entry/instrument/eiger"]
        valid = np.flatnonzero(group["daq/frame_valid"][...])
        assert group["sequence_number"][...][valid].tolist() == kept.tolist()
        for row in valid:
            np.testing.assert_array_equal(group["data"][int(row)], pixels(int(row)))
