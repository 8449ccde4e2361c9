"""A writer that is killed at any instant leaves a file that holds every frame of its last checkpoint."""

from __future__ import annotations

import contextlib
import errno
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
from maxdaq_tango.files import FrameTimes, SeriesFile, completion, frame_log, recover_part, resolve_destination
from maxdaq_tango.files.backends import DirectBackend
from maxdaq_tango.files.frame_log import FrameLog, LogBlock, LogEnd, LogHeader, log_path, read_log, remove_log
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat

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
    assert recover_part(part).frames >= safe
    assert recover_part(part).frames >= safe  # somebody may have been interrupted at it
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
    with pytest.raises(FileError, match=r"signature not found.*no \.a\.h5\.part\.frames"):
        recover_part(part)
    assert part.read_bytes() == b"not hdf5"
    FrameLog(part, HEADER).close()
    with pytest.raises(FileError, match=str(part)):
        recover_part(part)
    assert [p.name for p in sorted(tmp_path.iterdir())] == [".a.h5.part", ".a.h5.part.frames"]


def test_the_command_tells_each_file_and_fails_when_one_is_not_recovered(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "maxdaq_tango.cli.main", "recover", "--json", str(tmp_path / ".a.h5.part")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert told["ok"] is False
    assert "no such file" in told["files"][0]["problem"]


HEADER = LogHeader(
    file_id="0123456789abcdef" * 2,
    file_id_offset=8,
    dataset="d",
    object_header=48,
    data_start=4096,
    frame=(2, 3),
    chunk=(1, 3),
    columns=(("n", "u8"), ("t", "f8")),
    layout=((0, b"x"),),
)


def block(first: int, count: int = 3) -> LogBlock:
    rows = np.arange(first, first + count)
    places = np.arange(2 * first, 2 * (first + count), dtype="u8").reshape(count, 2)
    return LogBlock(rows, places * 10, places.astype("u4"), [rows.astype("u8") + 5, rows * 0.5])


def test_a_log_gives_back_what_was_put_in(tmp_path: Path) -> None:
    part = tmp_path / ".a.h5.part"
    log = FrameLog(part, HEADER)
    log.append(block(0))
    log.append(block(3, 1))
    log.close()
    log.close()
    header, blocks, end = read_log(part)
    assert header == HEADER
    assert end is None
    for read, written in zip(blocks, [block(0), block(3, 1)], strict=True):
        assert np.array_equal(read.rows, written.rows)
        assert np.array_equal(read.offsets, written.offsets)
        assert np.array_equal(read.lengths, written.lengths)
        for got, expected in zip(read.columns, written.columns, strict=True):
            assert got.dtype == expected.dtype
            assert np.array_equal(got, expected)
    remove_log(part)
    remove_log(part)
    with pytest.raises(FileError, match="no such file"):
        read_log(part)


def test_a_log_that_is_cut_anywhere_gives_its_whole_blocks_or_is_refused(tmp_path: Path) -> None:
    part = tmp_path / ".a.h5.part"
    log = FrameLog(part, HEADER)
    ends = [log_path(part).stat().st_size]
    for first in range(3):
        log.append(block(first, 1))
        ends.append(log_path(part).stat().st_size)
    log.close()
    whole = log_path(part).read_bytes()
    for cut in range(len(whole)):
        log_path(part).write_bytes(whole[:cut])
        if cut < ends[0]:
            with pytest.raises(FileError, match=r"\.frames"):
                read_log(part)
        else:
            assert len(read_log(part).blocks) == sum(end <= cut for end in ends[1:])
    for place in range(len(whole)):  # a bit that has turned over ends the log there, and never gives another number
        log_path(part).write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        if place < ends[0]:
            with pytest.raises(FileError, match=r"\.frames"):
                read_log(part)
        else:
            assert len(read_log(part).blocks) == sum(end <= place for end in ends[1:])


def test_a_log_that_met_a_full_disk_goes_on_where_its_last_whole_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, write, full = tmp_path / ".a.h5.part", os.write, True
    log = FrameLog(part, HEADER)
    log.append(block(0))

    def half(handle: int, data: memoryview) -> int:
        if full and len(data) < 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, data[: len(data) // 2 + 1] if full else data)

    monkeypatch.setattr(frame_log.os, "write", half)
    size = log_path(part).stat().st_size
    with pytest.raises(OSError, match="No space left"):
        log.append(block(3))
    assert log_path(part).stat().st_size == size
    full = False
    log.append(block(6))
    log.append_end(LogEnd(2, 9))
    log.close()
    read = read_log(part)
    assert [list(one.rows) for one in read.blocks] == [[0, 1, 2], [6, 7, 8]]
    assert read.end == LogEnd(2, 9)


def test_a_log_is_never_begun_over_another(tmp_path: Path) -> None:
    part = tmp_path / ".a.h5.part"
    FrameLog(part, HEADER).close()
    with pytest.raises(FileExistsError):
        FrameLog(part, HEADER)


def killed(folder: Path, frames: int = 370) -> Path:
    """The unfinished file of a writer that was killed after a checkpoint; row r is full of r."""
    script = WRITER.replace("while True:", f"while row < {frames}:") + "\nos._exit(0)\n"
    subprocess.run([sys.executable, "-c", script, str(folder), "1000"], check=True, timeout=60, capture_output=True)
    return folder / ".a.h5.part"


def test_pixels_that_the_disk_has_changed_or_lost_are_left_out_and_told(tmp_path: Path) -> None:
    part = killed(tmp_path)
    logged = read_log(part).blocks
    rows, offsets = (np.concatenate(parts) for parts in zip(*((one.rows, one.offsets) for one in logged), strict=True))
    place = {int(row): int(offset[0]) for row, offset in zip(rows, offsets, strict=True)}
    with part.open("r+b") as raw:
        for row in (3, 200):
            raw.seek(place[row] + 777)
            raw.write(b"\xff\xee")
        raw.truncate(place[365] + 5)
    found = recover_part(part)
    assert (found.frames, found.wrong, found.cut_off) == (363, (3, 200), (365, 366, 367, 368, 369))
    assert recover_part(part).frames == 363
    with h5py.File(part, "r") as file:
        group = file["entry/instrument/d"]
        valid = group["daq/frame_valid"][...].astype(bool)
        assert sorted(np.flatnonzero(~valid[:370])) == [3, 200, 365, 366, 367, 368, 369]
        for row in range(370):
            assert np.all(group["data"][row] == (row if valid[row] else 65535))


def test_the_log_of_another_file_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    part = killed(tmp_path)
    (tmp_path / "other").mkdir()
    foreign = log_path(killed(tmp_path / "other", 40))
    os.replace(foreign, log_path(part))
    before = part.read_bytes()
    with pytest.raises(FileError, match="belongs to another file"):
        recover_part(part)
    assert part.read_bytes() == before


@pytest.mark.parametrize("step", range(12))
def test_a_recovery_that_is_interrupted_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    part = killed(tmp_path)
    write, calls = os.pwrite, []

    def stop(handle: int, data: memoryview, offset: int) -> int:
        calls.append(offset)
        if len(calls) > step:
            write(handle, data[: len(data) // 2], offset)
            raise KeyboardInterrupt
        return write(handle, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(completion.os, "pwrite", stop)
        with contextlib.suppress(KeyboardInterrupt):
            recover_part(part)
    assert recover_part(part).frames == 370
    with h5py.File(part, "r") as file:
        group = file["entry/instrument/d"]
        assert group["daq/frame_valid"][...].sum() == 370
        assert all(np.all(group["data"][row] == row) for row in range(370))
        assert np.all(group["data"][370:] == 65535)


def test_the_log_of_a_file_that_is_gone_is_kept_and_never_laid_over_another(tmp_path: Path) -> None:
    part = tmp_path / ".a.h5.part"
    FrameLog(part, HEADER).close()
    file = SeriesFile(resolve_destination(str(tmp_path / "a.h5"), [str(tmp_path)]), detector="d", software="t")
    assert recover_part(part).frames == 0
    file.abandon()
    assert [path.name for path in tmp_path.iterdir()] == [".a.h5.part.old1.frames"]


def test_a_layout_that_could_not_be_completed_is_refused_before_the_first_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DirectBackend, "libver", ("v110", "v110"))
    destination = resolve_destination(str(tmp_path / "a.h5"), [str(tmp_path)])
    file = SeriesFile(destination, detector="d", software="t", backend=FileBackend.DIRECT)
    with pytest.raises(FileError, match="format v108"):
        file.begin(FrameFormat((4, 4), "uint16", Encoding.NONE), 10, 65535, {}, {})
    file.abandon()
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_that_take_long_are_made_more_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, took, made = 1000.0, 0.03, []
    destination = resolve_destination(str(tmp_path / "a.h5"), [str(tmp_path)])
    file = SeriesFile(destination, detector="d", software="t", backend=FileBackend.DIRECT)
    file.begin(FrameFormat((4, 4), "uint16", Encoding.NONE), 1000, 65535, {}, {})

    def checkpoint(*, wait: bool) -> None:
        nonlocal now
        made.append(now)
        now += took

    monkeypatch.setattr("maxdaq_tango.files.writer.time.monotonic", lambda: now)
    monkeypatch.setattr(file._backend, "checkpoint", checkpoint)
    file.checkpoint()
    for row in range(400):
        file.write(row, row, [bytes(32)], FrameTimes())
        now += 0.01
        file.checkpoint_if_due(now, 0.1)
    pauses = np.diff(made[1:])
    assert np.all(pauses >= 0.6)  # thirty milliseconds are a twentieth of it
    took = 10.0
    file.checkpoint()
    now += 1.01
    file.checkpoint_if_due(now, 0.1)
    assert made[-1] == now - 10.0  # never more than a second late
    monkeypatch.undo()
    file.abandon()
