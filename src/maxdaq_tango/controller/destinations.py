"""Where the files of one acquisition go: a directory, a pattern and a scan number, or one path. Pure."""

from __future__ import annotations

import posixpath
import re
import string
from dataclasses import dataclass

from maxdaq_tango.errors import ConfigurationError

DEFAULT_PATTERN = "{scan:06d}_{detector}.h5"
MASTER_EXAMPLE = "scan-{scan:04d}.h5"
FIELDS = ("scan", "detector", "device")
MOST_WIDTH = 999
"""Of a field: a name has 255 characters at most, and a width of 9 digits would take all memory."""
_MEMBER = re.compile(r"(_master|_data_[0-9]{6})$", re.ASCII)


@dataclass
class Destinations:
    """Set-points of the files. What was written last counts: a path, or a directory with a pattern.

    In the pattern, `{scan}` is the scan number, `{detector}` the last part of the detector device's name and
    `{device}` its whole name with - for /. Formats work as in Python: `{scan:06d}`.
    """

    filename: str = ""
    directory: str = ""
    pattern: str = DEFAULT_PATTERN
    master_pattern: str = ""
    """Of the scan master, in the directory of the files; "" = there is none."""
    scan_number: int = 1
    by_directory: bool = False

    def set_filename(self, path: str) -> None:
        """One path, for the first detector; the others get their name into it. "" = live only."""
        self.filename, self.by_directory = path, False

    def set_directory(self, path: str) -> None:
        """A directory for the files of all; "" = live only."""
        text = path.strip()
        if text and not text.startswith("/"):
            raise ConfigurationError(
                f"set DestinationDirectory to '{path}'",
                answer="not an absolute path",
                accepted="a path that begins with /",
            )
        self.directory, self.by_directory = text, True

    def set_pattern(self, pattern: str) -> None:
        """Check it at once, with a number and a name."""
        _format("FilePattern", pattern, FIELDS, DEFAULT_PATTERN, scan=1, device="a/b/c")
        self.pattern = pattern

    def set_master_pattern(self, pattern: str) -> None:
        """ "" = none. Checked at once as well."""
        if pattern:
            self._master_name(pattern)
        self.master_pattern = pattern

    def of(self, detectors: tuple[str, ...]) -> dict[str, str]:
        """Detector device > path of its file, "" = live only. Two detectors with one file are refused."""
        if self.by_directory:
            paths = {
                name: posixpath.join(self.directory, self._name(name)) if self.directory else "" for name in detectors
            }
        else:
            paths = dict(zip(detectors, self._beside_each_other(detectors), strict=True))
        seen: dict[str, str] = {}
        for name, path in paths.items():
            if path and seen.setdefault(_claim(path), name) != name:
                raise ConfigurationError(
                    f"write {seen[_claim(path)]} and {name} to {path}",
                    answer="two detectors cannot share a file",
                    accepted="a FilePattern with {detector} or {device}",
                )
        return paths

    def master(self, paths: dict[str, str]) -> str:
        """Path of the scan master beside these files, "" = there is none. One that is a detector's file is refused."""
        files = [path for path in paths.values() if path]
        if not self.master_pattern or not files:
            return ""
        folder = self.directory if self.by_directory else posixpath.dirname(self.filename)
        master = posixpath.join(folder, self._master_name(self.master_pattern))
        if _claim(master) in map(_claim, files):
            raise ConfigurationError(
                f"write the scan master {master}",
                answer="a detector writes there",
                accepted="a MasterPattern that makes another name than FilePattern",
            )
        return master

    def _name(self, device: str) -> str:
        return _format("FilePattern", self.pattern, FIELDS, DEFAULT_PATTERN, scan=self.scan_number, device=device)

    def _master_name(self, pattern: str) -> str:
        return _format("MasterPattern", pattern, FIELDS[:1], MASTER_EXAMPLE, scan=self.scan_number)

    def _beside_each_other(self, detectors: tuple[str, ...]) -> list[str]:
        if not self.filename:
            return ["" for _ in detectors]
        stem, extension = posixpath.splitext(self.filename)
        return [
            self.filename if index == 0 else f"{stem}_{short_name(name)}{extension}"
            for index, name in enumerate(detectors)
        ]


def _format(word: str, pattern: str, fields: tuple[str, ...], example: str, *, scan: int, device: str = "") -> str:
    asked = f"set {word} to '{pattern}'"
    try:
        for _, field, width, _ in string.Formatter().parse(pattern):
            if field is not None and field not in fields:
                raise ValueError(f"no field {field}")
            if width and ("{" in width or any(int(digits) > MOST_WIDTH for digits in re.findall("[0-9]+", width))):
                raise ValueError(f"no width {width}")
        name = pattern.format(scan=scan, detector=short_name(device), device=device.replace("/", "-"))
    except (ValueError, KeyError, IndexError) as error:
        raise ConfigurationError(asked, answer=str(error), accepted=f"a name such as {example}") from None
    if not name or name.startswith("/") or ".." in name.split("/"):
        raise ConfigurationError(
            asked, answer="it leads out of DestinationDirectory", accepted=f"a relative name such as {example}"
        )
    return name


def _claim(path: str) -> str:
    """The same for all paths that cannot stand beside each other: a file, its data files, its master, its manifest."""
    stem = posixpath.splitext(posixpath.normpath(path))[0]
    return _MEMBER.sub("", stem) or stem


def short_name(device: str) -> str:
    """Last part of a device name: eiger of laptop/detector/eiger."""
    return device.rsplit("/", 1)[-1]
