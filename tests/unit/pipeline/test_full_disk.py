"""Disks that are full, too small for a file, or refuse: FAILED with errno and path, and an account of what can be read.

Real ones: a limit on the size of files, and file systems of a few megabytes where somebody may mount them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zmq

from full_disk import FRAMES, MOUNT, can_mount
from maxdaq_tango.files import check_file, read_manifest, recover_file, slabs
from maxdaq_tango.model import AcquisitionState, Compression, FileBackend, Verdict
from receiving import Harness

PROGRAM = Path(__file__).parents[2] / "full_disk.py"
LIMIT = 20_000_000


def run_on(disk: str, folder: Path, backend: str, frames_per_file: int = 0, engines: int = 1) -> dict[str, Any]:
    """What the program tells."""
    (folder / "small").mkdir()
    (folder / "healthy").mkdir()
    limit = LIMIT if disk == "limit" else 0
    command = [sys.executable, str(PROGRAM), "small", "healthy", backend, *map(str, (frames_per_file, engines, limit))]
    if disk != "limit":
        if not can_mount(disk):
            pytest.skip("nobody but root may mount a small file system, and not everywhere")
        command = ["unshare", "-m", "sh", "-c", f"{MOUNT[disk]} && {shlex.join(command)}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.lesson(7)
@pytest.mark.parametrize(
    ("disk", "backend", "how"),
    [
        *((disk, backend, {}) for disk in ("limit", "tmpfs", "ext4") for backend in ("swmr", "direct")),
        ("ext4", "direct", {"frames_per_file": 60}),
        ("ext4", "swmr", {"frames_per_file": 50, "engines": 2}),
        ("tmpfs", "direct", {"frames_per_file": 60, "engines": 2}),
    ],
)
def test_the_account_of_a_full_disk_is_what_can_be_read(
    tmp_path: Path, disk: str, backend: str, how: dict[str, int]
) -> None:
    told = run_on(disk, tmp_path, backend, **how)
    assert told["verdict"] == "FAILED"
    number = errno.EFBIG if disk == "limit" else errno.ENOSPC
    assert f"{os.strerror(number)} (errno {number})" in told["reasons"][0]
    assert str(tmp_path / "small") in told["reasons"][0]
    assert told["problems"] == []
    assert told["wrong"] == []
    # A file that may not grow has no room for what says where its frames are; room held back beside it is no help.
    least = 0 if (disk, backend) == ("limit", "swmr") else 51
    assert least <= told["written"] < FRAMES
    assert sorted(told["right"]) == sorted(set(told["right"]))
    assert len(told["right"]) == told["written"]
    assert told["written"] + told["lost"] + told["missing"] == FRAMES
    assert told["manifest"]
    assert not [name for name in told["left"] if name.endswith((".reserve", ".new", ".owner"))]
    assert told["memory"] < 100 << 20
    assert told["after"] == ["COMPLETE"]


def test_a_file_system_that_cannot_be_written_refuses_the_run_and_the_next_is_taken(tmp_path: Path) -> None:
    told = run_on("read-only", tmp_path, "direct")
    assert f"{os.strerror(errno.EROFS)} (errno {errno.EROFS})" in told["reasons"][0]
    assert str(tmp_path / "small" / "a.h5") in told["reasons"][0]
    assert told["left"] == []
    assert told["after"] == ["COMPLETE"]


def failing_after(good: int, error: BaseException, patch: pytest.MonkeyPatch) -> None:
    """The disk takes so many slabs, and nothing more."""
    write, taken = slabs._write_all, []

    def fail(handle: int, view: memoryview, offset: int) -> None:
        taken.append(offset)
        if len(taken) > good:
            raise error
        write(handle, view, offset)

    patch.setattr(slabs, "_write_all", fail)


@pytest.mark.lesson(25)
@pytest.mark.parametrize(
    ("error", "told"),
    [
        *((OSError(n, os.strerror(n)), f"(errno {n})") for n in (errno.EIO, errno.EDQUOT, errno.EROFS, errno.ESTALE)),
        (MemoryError("no more"), "internal error, please report it: MemoryError: no more"),
        (SystemExit(3), "SystemExit: 3"),
    ],
)
def test_whatever_the_disk_or_its_thread_says_in_mid_run_is_the_end_of_that_run_alone(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, error: BaseException, told: str
) -> None:
    how: dict[str, Any] = {"backend": FileBackend.DIRECT, "compression": Compression.NONE, "memory_bytes": 8 << 20}
    count = 600
    harness.sender.socket.sndtimeo = 300
    with monkeypatch.context() as patch:
        failing_after(2, error, patch)
        harness.prepare(expected_frames=count, **how)
        harness.sender.header()
        with contextlib.suppress(zmq.Again):  # whoever fails closes its sockets
            for number in range(count):
                harness.sender.image(number)
        receipt = harness.receipt()
    part = harness.folder / ".a.h5.part"
    assert (receipt.verdict, receipt.file) == (Verdict.FAILED, str(part))
    assert told in receipt.reasons[0]
    assert str(part) in receipt.reasons[0]
    assert harness.receiver.state is AcquisitionState.FAULT
    assert harness.counters[-1].frames_written == receipt.frames_written
    assert harness.counters[-1].frames_lost == receipt.frames_lost_count > 0
    manifest = read_manifest(part)
    assert manifest is not None
    assert manifest.counters["frames_written"] == receipt.frames_written > 0
    found = recover_file(part)
    assert (found.problem, found.frames, found.wrong) == ("", receipt.frames_written, ())
    assert check_file(found.file).problems == []
    harness.sender = harness.add_sender()  # the first one may be full
    harness.prepare(destination=str(harness.folder / "b.h5"), **how)
    harness.sender.series(3)
    assert harness.receipt().verdict is Verdict.COMPLETE
