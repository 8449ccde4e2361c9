"""That all of an unfinished file is in that file, before anything of it is changed or copied.

HDF5 follows external links, raw data in other files and virtual datasets without a word, also to write. A recovery runs
with rights on a whole beamline's storage, and may find a file that a user has made. Where such a file leads, the user
must not get by that.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

import h5py

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.troubles import LIBRARY_ERRORS
from maxdaq_tango.files.whereabouts import UNBUFFERED

_PLOT = "entry/data/data"
_TO_DATA_FILE = re.compile(r"entry/data/data_\d{6}", re.ASCII)
_JOINED = re.compile(r"/entry/instrument/[^/]+/data")
"""The pixels of a master, and where the default plot leads."""


def enclosed(part: Path, mode: str = "r+", **options: Any) -> h5py.File:
    """As h5py.File, for writing, of a file that is no link and leads nowhere else. OSError, FileError."""
    handle = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        file = h5py.File(f"/proc/self/fd/{handle}", mode, **UNBUFFERED, **options)
    finally:
        os.close(handle)
    try:
        refuse_led_elsewhere(file, part)
    except BaseException:
        file.close()
        raise
    return file


def refuse_if_led_elsewhere(part: Path) -> None:
    """The same of a file that may be a master, or one that HDF5 does not open: that of a killed writer. FileError."""
    with contextlib.suppress(*LIBRARY_ERRORS, KeyError), h5py.File(part, "r", locking=False) as file:
        refuse_led_elsewhere(file, part, joined=True)


def refuse_led_elsewhere(file: h5py.File, path: Path, *, joined: bool = False) -> None:
    """FileError when something of an open file lies in another one. Nothing is followed to find that out.

    `joined`: it may be a master, whose pixels and whose links to data files do, and must not be put to use.
    """
    found: list[str] = []

    def look_at_link(name: bytes, info: Any) -> None:
        text = name.decode(errors="replace")
        if info.type == h5py.h5l.TYPE_SOFT:
            target = file.id.links.get_val(name).decode(errors="replace")
            if text != _PLOT or not _JOINED.fullmatch(target):
                found.append(f"{text} is a link to {target}")
        elif info.type != h5py.h5l.TYPE_HARD and not (joined and _TO_DATA_FILE.fullmatch(text)):
            found.append(f"{text} is a link to another file")

    def look_at_item(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            if item.external:
                found.append(f"the values of {name} lie in another file")
            if item.is_virtual and not (joined and _JOINED.fullmatch(f"/{name}")):
                found.append(f"{name} is made up of the values of others")

    file.id.links.visit(look_at_link, info=True)
    if not found:
        file.visititems(look_at_item)
    if found:
        raise FileError(
            f"use the unfinished file {path}", answer=found[0], accepted="a file all of which is in it, as we write it"
        )
