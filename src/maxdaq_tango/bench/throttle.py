"""A slower disk for some processes: the kernel's own limit of a control group. Needs root and such a kernel.

Both versions of control groups are tried. Version 1 limits only what a process writes itself (direct or synchronised),
not what the kernel writes back later; whoever measures has to look whether the limit was kept.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from maxdaq_tango.errors import FileError

ROOT = Path("/sys/fs/cgroup")
BLOCK_DEVICES = Path("/sys/dev/block")


def why_no_throttle(folder: Path, root: Path = ROOT, blocks: Path = BLOCK_DEVICES) -> str:
    """The reason why the disk under `folder` cannot be slowed down here; "" when it can."""
    try:
        with throttled(folder, [], 1 << 30, root, blocks):
            return ""
    except FileError as error:
        return str(error)


@contextlib.contextmanager
def throttled(
    folder: Path, pids: list[int], bytes_per_s: int, root: Path = ROOT, blocks: Path = BLOCK_DEVICES
) -> Iterator[None]:
    """While this is open `pids` write to the disk under `folder` with `bytes_per_s` at most, or FileError.

    Afterwards they are in the group above, without a limit.
    """
    asked = f"slow the disk down to {bytes_per_s} bytes/s"
    device = _whole_disk(folder.stat().st_dev, blocks)
    if device is None:
        raise FileError(asked, of=str(folder), answer="it lies on no block device", accepted="a local disk")
    second = (root / "cgroup.controllers").is_file()
    parent = root if second else root / "blkio"
    group = parent / f"maxdaq-bench-{os.getpid()}"
    try:
        if second and "io" not in (root / "cgroup.controllers").read_text().split():
            raise OSError(0, "the kernel's io controller is not offered")
        group.mkdir()
    except OSError as error:
        raise FileError(asked, of=str(parent), answer=error.strerror or str(error), accepted="root's rights") from None
    try:
        try:
            if second:
                with contextlib.suppress(OSError):  # it may be on already, or be given to this group only
                    (root / "cgroup.subtree_control").write_text("+io")
                (group / "io.max").write_text(f"{device} wbps={bytes_per_s}")
            else:
                (group / "blkio.throttle.write_bps_device").write_text(f"{device} {bytes_per_s}")
            for pid in pids:
                (group / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise FileError(asked, of=str(group), answer=error.strerror or str(error)) from None
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(OSError):
                (parent / "cgroup.procs").write_text(str(pid))
        with contextlib.suppress(OSError):
            group.rmdir()


def _whole_disk(device: int, blocks: Path) -> str | None:
    """'253:0' of the disk that holds this device number; limits are not taken for a partition."""
    place = blocks / f"{os.major(device)}:{os.minor(device)}"
    if not place.exists():
        return None
    place = place.resolve()
    if (place / "partition").exists():
        place = place.parent
    return (place / "dev").read_text().strip()
