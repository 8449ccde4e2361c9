"""A series of which data files are in the spill directory; and, as a program, what becomes of it when it is moved home
by somebody who is killed.

    python spilled_series.py FOLDER before|after "links"|"no links"

A process is killed before, or after, the first call that changes something on a disk, then another one at the second,
and so on. After each a recovery looks at everything, as at the start of a receiver, and another one moves the rest.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))

import h5py
import numpy as np

from block_series import pixels, plain
from maxdaq_tango.files import (
    block_set,
    bring_all_home,
    check_file,
    find_parts,
    homecoming,
    ownership,
    recover_found,
)

COUNT = 18
AWAY = (1, 2)
"""Blocks that the destination does not take."""
CALLS = ("open", "link", "rename", "replace", "unlink", "rmdir", "fsync", "write")
PIECE = 1 << 12


def lacking_room() -> Any:
    """A destination that does not take the blocks AWAY."""

    def lacks(layout: Any, block: int, open_files: int) -> str:
        return "it is full" if block in AWAY else ""

    return mock.patch.object(block_set, "lacks_room", lacks)


def spilled(home: Path, spill: Path) -> Path:
    """Path of the unfinished master."""
    with lacking_room():
        return plain(COUNT).finished(home / "a.h5", spill_directory=str(spill))


def child(work: Callable[[], None]) -> int:
    pid = os.fork()
    if not pid:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def move(spill: Path, when: str, point: int) -> None:
    """Killed at the call of that number."""
    calls = [0]

    def count() -> bool:
        calls[0] += 1
        return calls[0] == point

    def hook(name: str) -> None:
        inner = getattr(os, name)

        def killed(*args: Any, **more: Any) -> Any:
            now = count()
            if now and when == "before":
                os._exit(9)
            try:
                return inner(*args, **more)
            finally:
                if now:
                    os._exit(9)

        setattr(os, name, killed)

    for name in CALLS:
        hook(name)
    homecoming.PIECE_NBYTES = PIECE
    for told in bring_all_home(spill, on_progress=lambda nbytes: os._exit(9) if count() else None):
        assert not told.problem, told


def no_links(*_: Any, **__: Any) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def trouble(home: Path, spill: Path) -> str:
    """What is wrong after a kill, a recovery, and another attempt."""
    recovered = [found for folder in (home, spill) for found in recover_found(find_parts(folder)) if found.file]
    if recovered and (home / ".a.h5.part").exists():
        return f"a recovery has taken {recovered}"
    problems = [told.problem for told in bring_all_home(spill) if told.problem]
    if problems:
        return str(problems)
    if bad := check_file(home / "a.h5").problems:
        return str(bad)
    with h5py.File(home / "a.h5") as file:
        if not np.array_equal(file["entry/data/data"], [pixels(number) for number in range(COUNT)]):
            return "other pixels"
    names = {f"a_data_{number:06d}.h5" for number in range(1, 6)} | {"a.h5", "a.manifest.json"}
    more = {name for name in os.listdir(home) if not name.startswith(".manifest-")} - names
    more |= {str(path) for path in spill.rglob("*") if not path.is_dir()}  # an empty folder is no harm
    return f"left over: {sorted(more)}" if more else ""


def main() -> None:
    root, when, links = Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3]
    if links == "no links":
        os.link = no_links
    ownership.BEING_WRITTEN_S = 0.0  # who is killed in the midst of his record keeps others away for so long
    home, spill, kept = root / "home", root / "spill", root / "kept"
    for folder in (home, spill, kept):
        folder.mkdir()
    spilled(home, spill)
    for folder in (home, spill):
        shutil.copytree(folder, kept / folder.name)
    bad: list[Any] = []
    point, code = 0, 9
    while code == 9:
        point += 1
        for folder in (home, spill):
            shutil.rmtree(folder)
            shutil.copytree(kept / folder.name, folder)
        code = child(partial(move, spill, when, point))
        if wrong := trouble(home, spill):
            bad.append([point, wrong])
    if code:
        bad.append([point, f"status {code}"])
    print(json.dumps({"points": point, "bad": bad}))


if __name__ == "__main__":
    main()
