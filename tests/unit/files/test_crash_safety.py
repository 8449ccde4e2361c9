"""A writer that is killed at any instant leaves a file that holds every frame of its last checkpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from maxdaq_tango.errors import FileError
from maxdaq_tango.files import recover_part
from maxdaq_tango.files.checkpoint import (
    apply_checkpoint,
    checkpoint_path,
    read_checkpoint,
    remove_checkpoint,
    write_checkpoint,
)

WRITER = """
import sys, os
import numpy as np
from maxdaq_tango.files import FrameTimes, SeriesFile, resolve_destination
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat
folder, rows = sys.argv[1], None if sys.argv[2] == "None" else int(sys.argv[2])
file = SeriesFile(resolve_destination(folder + "/a.h5", [folder]), detector="d", software="t",
                  backend=FileBackend.DIRECT, slab_memory_bytes=1 << 20)
file.begin(FrameFormat((100, 101), "uint16", Encoding.NONE), rows, 65535, {"count_time": 1.0}, {})
row = 0
while True:
    file.write(row, row, [np.full((100, 101), row, "<u2").tobytes()], FrameTimes())
    row += 1
    if row % 37 == 0:
        file.checkpoint()
        print(row, flush=True)
"""


@pytest.mark.parametrize("rows", [100_000, None])
@pytest.mark.parametrize("lines", [1, 3, 8, 20])
def test_a_kill_loses_nothing_of_the_last_checkpoint(tmp_path: Path, lines: int, rows: int | None) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path), str(rows)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        safe = 0
        for _ in range(lines):
            safe = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split()
    safe = max([safe, *map(int, rest)])
    part = tmp_path / ".a.h5.part"
    with h5py.File(part, "r") as before:  # as it is left: readable, and knows of no frame
        assert not before["entry/instrument/d/daq/frame_valid"][...].any()
    assert recover_part(part) >= safe
    assert recover_part(part) >= safe  # somebody may have been interrupted at it
    with h5py.File(part, "r") as file:
        group = file["entry/instrument/d"]
        assert group["daq/frame_valid"][...].sum() >= safe
        for row in {0, 1, safe // 2, safe - 1}:
            assert np.all(group["data"][row] == row)


def test_what_cannot_be_recovered_is_told_and_left_alone(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        recover_part(tmp_path / ".a.h5.part")
    part = tmp_path / ".a.h5.part"
    part.write_bytes(b"not hdf5")
    with pytest.raises(FileError, match=r"no checkpoint beside it.*swmr=True"):
        recover_part(part)
    assert part.read_bytes() == b"not hdf5"
    write_checkpoint(part, 8, [])
    with pytest.raises(FileError, match=str(part)):
        recover_part(part)
    assert [p.name for p in sorted(tmp_path.iterdir())] == [".a.h5.part", ".a.h5.part.checkpoint"]


def test_the_command_tells_each_file_and_fails_when_one_is_not_recovered(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "maxdaq_tango.cli.main", "recover", "--json", str(tmp_path / ".a.h5.part")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert told["ok"] is False
    assert "no such file" in told["files"][0]["problem"]


def test_a_damaged_checkpoint_is_refused_and_the_file_left_alone(tmp_path: Path) -> None:
    part = tmp_path / ".a.h5.part"
    part.write_bytes(b"x" * 100)
    write_checkpoint(part, 200, [(10, b"abc"), (150, b"d")])
    path = checkpoint_path(part)
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:30], b"", whole[:40] + b"?" + whole[41:], b"other" + whole):
        path.write_bytes(damaged)
        with pytest.raises(FileError, match="damaged"):
            apply_checkpoint(part)
    assert part.read_bytes() == b"x" * 100
    path.write_bytes(whole)
    assert read_checkpoint(path) == (200, [(10, b"abc"), (150, b"d")])
    assert apply_checkpoint(part)
    there = part.read_bytes()
    assert (len(there), there[10:13], there[150:151]) == (200, b"abc", b"d")


def test_a_disk_without_room_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = tmp_path / ".a.h5.part"
    write_checkpoint(part, 1, [(0, b"a")])

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(OSError, match="No space"):
            write_checkpoint(part, 2, [(0, b"b")])
    assert read_checkpoint(checkpoint_path(part)) == (1, [(0, b"a")])
    assert [p.name for p in tmp_path.iterdir()] == [".a.h5.part.checkpoint"]
    remove_checkpoint(part)
    remove_checkpoint(part)
    assert not apply_checkpoint(part)
