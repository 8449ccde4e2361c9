"""Names of the files of a scan, and of one frame in them. Pure.

    h5file://{directory}/scan-{scan:04d}_{detector}.h5                       value_ref_pattern: where the files go
    h5file:///data/raw/scan-0042_eiger.h5::entry/data/data[7]                value reference: frame 7 of that file

A value reference names the stack of frames and the row in it. Sardana's own recorder expects a dataset for each frame,
so it keeps such references as text; `recorders` makes one link of all of them.
"""

from __future__ import annotations

import itertools
import posixpath
import re
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from maxdaq_tango.errors import ConfigurationError

SCHEME = "h5file://"
DEFAULT_PATTERN = "h5file://{directory}/scan-{scan:04d}_{detector}.h5"
FIELDS = ("directory", "scan", "detector", "device")
DATASET = "entry/data/data"
"""In every file of ours a link to the pixels, whatever the detector is called."""

_REFERENCE = re.compile(r"h5file://(?P<path>/.+)::(?P<dataset>[^\[\]]+)\[(?P<row>\d+)\]")


@dataclass(frozen=True)
class Frame:
    """One frame in a file."""

    path: str
    dataset: str
    row: int


@dataclass(frozen=True)
class Files:
    """Where the files of one series go: the folder, and the pattern of the names in it."""

    directory: str
    pattern: str
    """With the fields {scan}, {detector} and {device}, as attribute FilePattern of DAQController has them."""
    scan: int

    def path(self, device: str) -> str:
        """Of the file of one detector device."""
        name = self.pattern.format(scan=self.scan, detector=short_name(device), device=device.replace("/", "-"))
        return posixpath.join(self.directory, name)


def short_name(device: str) -> str:
    """Last part of a device name: eiger of laptop/detector/eiger."""
    return device.rsplit("/", 1)[-1]


def files_of(pattern: str, *, scan: int, directory: str) -> Files:
    """Of a value_ref_pattern, "" = the default one. `directory` is that of the scan file, "" when nobody has told it.

    ConfigurationError says what of the pattern cannot be used.
    """
    pattern = pattern or DEFAULT_PATTERN
    asked, example = f"use the value_ref_pattern '{pattern}'", f"a pattern such as {DEFAULT_PATTERN}"
    if not pattern.startswith(SCHEME):
        raise ConfigurationError(asked, answer=f"it does not begin with {SCHEME}", accepted=example)
    path = pattern.removeprefix(SCHEME)
    if "::" in path:
        raise ConfigurationError(asked, answer="the dataset is not yours to choose", accepted=f"{example}, without ::")
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(path) if field is not None}
    except ValueError as error:
        raise ConfigurationError(asked, answer=str(error), accepted=example) from None
    if unknown := sorted(fields - set(FIELDS)):
        accepted = "the fields " + ", ".join(f"{{{field}}}" for field in FIELDS)
        raise ConfigurationError(asked, answer=f"no field {{{unknown[0]}}}", accepted=accepted)
    if "directory" in fields and not directory:
        raise ConfigurationError(
            asked,
            answer="nobody has said which {directory} that is",
            accepted="a scan with the hook that says it (defgh maxdaq_scan pre-scan), or a path in its place",
        )
    folder, name = posixpath.split(path)
    try:
        folder = folder.format(directory=directory.rstrip("/") or "/", scan=scan)
        Files(folder, name, scan).path("domain/family/member")
    except (KeyError, ValueError, IndexError) as error:
        answer = f"{error} cannot be in the folder" if isinstance(error, KeyError) else str(error)
        raise ConfigurationError(asked, answer=answer, accepted=example) from None
    if not folder.startswith("/") or not name:
        raise ConfigurationError(asked, answer=f"{folder}/{name} is no absolute path of a file", accepted=example)
    return Files(folder, name, scan)


def free_files(files: Files, devices: Iterable[str], exists: Callable[[str], bool]) -> Files:
    """The same, with _2, _3 ... before the extension where a file of one of the devices is there already."""
    devices = list(devices)
    stem, extension = posixpath.splitext(files.pattern)
    for number in itertools.count(1):
        suffix = "" if number == 1 else f"_{number}"
        candidate = Files(files.directory, f"{stem}{suffix}{extension}", files.scan)
        if not any(exists(candidate.path(device)) for device in devices):
            return candidate
    raise AssertionError("there is always one more number")


def reference(path: str, row: int, dataset: str = DATASET) -> str:
    """The value reference of a frame."""
    return f"{SCHEME}{path}::{dataset}[{row}]"


def frame_of(text: str) -> Frame | None:
    """What a value reference of ours names; None for any other text."""
    found = _REFERENCE.fullmatch(text)
    return Frame(found["path"], found["dataset"], int(found["row"])) if found else None
