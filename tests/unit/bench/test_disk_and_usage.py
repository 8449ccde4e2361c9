from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from maxdaq_tango.bench import direct_file, disk
from maxdaq_tango.bench.direct_file import SLAB, DirectFile, Slabs
from maxdaq_tango.bench.throttle import throttled, why_no_throttle
from maxdaq_tango.bench.usage import family, forget_peak, peak_rss_bytes, usage_of
from maxdaq_tango.errors import FileError


def test_too_little_room_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"3 GB at a time .*: 2 GB are free\. Accepted: 4 GB free, or --folder"):
        disk.check_room(tmp_path, 3_000_000_000, lambda folder: 2_000_000_000)
    disk.check_room(tmp_path, 3_000_000_000, lambda folder: 4_000_000_000)


def test_the_folder_is_gone_afterwards_whatever_happened(tmp_path: Path) -> None:
    def fail() -> None:
        with disk.own_folder(tmp_path) as folder:
            (folder / "file").write_text("x")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"), disk.own_folder(tmp_path / "missing"):
        pass


def test_the_file_system_is_that_of_the_longest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts.write_text(
        f"1 0 0:0 / / rw - overlay overlay rw\n2 1 {number} / {tmp_path} rw shared:1 - ext4 /dev/vda rw\n"
        "3 1 0:9 / /elsewhere rw - tmpfs tmpfs rw\n"
    )
    assert disk.file_system(tmp_path, str(mounts)) == "ext4"
    assert disk.file_system(tmp_path, str(tmp_path / "none")) == "unknown"


def test_appended_bytes_are_the_bytes_of_the_file(tmp_path: Path) -> None:
    blobs = [os.urandom(n) for n in (10, 5_000_000, SLAB, 3)] * 3
    file = DirectFile(tmp_path / "a", Slabs())
    for blob in blobs:
        file.append(memoryview(blob))
    file.finish(sum(len(blob) for blob in blobs))
    assert (tmp_path / "a").read_bytes() == b"".join(blobs)


def test_slabs_that_are_written_again_and_again_make_a_file_of_the_asked_length(tmp_path: Path) -> None:
    file = DirectFile(tmp_path / "a", Slabs())
    for _ in range(8):
        file.write_slab()
    file.finish(8 * SLAB - 1000)
    assert (tmp_path / "a").stat().st_size == 8 * SLAB - 1000


def test_a_file_system_without_direct_writing_is_written_through_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return opened(path, flags, mode)

    monkeypatch.setattr(direct_file.os, "open", refuse)
    file = DirectFile(tmp_path / "a", Slabs())
    file.append(b"abc")
    file.finish(3)
    assert not file.is_direct
    assert (tmp_path / "a").read_bytes() == b"abc"


def test_a_failed_write_is_told_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    file = DirectFile(tmp_path / "a", Slabs())
    monkeypatch.setattr(direct_file.os, "pwrite", full)
    for _ in range(10):
        file.write_slab()
    with pytest.raises(FileError, match="No space left"):
        file.finish(10)


def test_usage_counts_the_whole_family_and_what_has_ended() -> None:
    program = (
        "import subprocess, sys, time\n"
        "subprocess.run([sys.executable, '-c', 'sum(i for i in range(10**6)); bytearray(10**8)'])\n"
        "child = subprocess.Popen([sys.executable, '-c', 'print(1, flush=True); input()'], stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print('up', flush=True); input(); child.communicate()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        pids = family(process.pid)
        assert pids[0] == process.pid
        assert len(pids) == 2
        used = usage_of(pids)
        assert used.minor_faults > 10**8 // 4096 * 0.5 or used.minor_faults > 1000  # huge pages count once
        assert used.since(used).minor_faults == 0
        forget_peak(pids)
        assert peak_rss_bytes(pids) > 5_000_000
        process.stdin.close()
    assert usage_of([process.pid]).minor_faults == 0


def made_control_groups(tmp_path: Path, *, second: bool) -> tuple[Path, Path]:
    """Folders that look like the kernel's; (groups, block devices)."""
    root, blocks = tmp_path / "cgroup", tmp_path / "block"
    device = tmp_path.stat().st_dev
    place = blocks / f"{os.major(device)}:{os.minor(device)}"
    place.mkdir(parents=True)
    (place / "dev").write_text("8:0\n")
    (root if second else root / "blkio").mkdir(parents=True)
    if second:
        (root / "cgroup.controllers").write_text("cpu io memory\n")
    return root, blocks


@pytest.mark.parametrize(
    ("second", "name", "text"),
    [(True, "io.max", "8:0 wbps=50"), (False, "blkio.throttle.write_bps_device", "8:0 50")],
)
def test_the_limit_is_written_for_the_disk_and_the_process(tmp_path: Path, second: bool, name: str, text: str) -> None:
    root, blocks = made_control_groups(tmp_path, second=second)
    with throttled(tmp_path, [4711], 50, root, blocks):
        (group,) = root.rglob("maxdaq-bench-*")
        assert (group / name).read_text() == text
        assert (group / "cgroup.procs").read_text() == "4711"
    assert (group.parent / "cgroup.procs").read_text() == "4711"


def test_without_control_groups_the_reason_is_told(tmp_path: Path) -> None:
    root, blocks = made_control_groups(tmp_path, second=True)
    (root / "cgroup.controllers").write_text("cpu memory\n")
    assert "io controller is not offered" in why_no_throttle(tmp_path, root, blocks)
    assert "No such file" in why_no_throttle(tmp_path, tmp_path / "nowhere", blocks)
    assert "no block device" in why_no_throttle(tmp_path, root, tmp_path / "nowhere")
