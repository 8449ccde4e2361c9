"""Where the files of one acquisition go: a directory, a pattern and a scan number, or one path. Pure."""

from __future__ import annotations

import posixpath
import string
from dataclasses import dataclass

from maxdaq_tango.errors import ConfigurationError

DEFAULT_PATTERN = "{scan:06d}_{detector}.h5"
FIELDS = ("scan", "detector", "device")


@dataclass
class Destinations:
    """Set-points of the files. What was written last counts: a path, or a directory with a pattern.

    In the pattern, `{scan}` is the scan number, `{detector}` the last part of the detector device's name and
    `{device}` its whole name with - for /. Formats work as in Python: `{scan:06d}`.
    """

    filename: str = ""
    directory: str = ""
    pattern: str = DEFAULT_PATTERN
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
        self._format(pattern, 1, "a/b/c")
        self.pattern = pattern

    def of(self, detectors: tuple[str, ...]) -> dict[str, str]:
        """Detector device > path of its file, "" = live only. Two detectors with one file are refused."""
        if self.by_directory:
            paths = {
                name: posixpath.join(self.directory, self._format(self.pattern, self.scan_number, name))
                if self.directory
                else ""
                for name in detectors
            }
        else:
            paths = dict(zip(detectors, self._beside_each_other(detectors), strict=True))
        seen: dict[str, str] = {}
        for name, path in paths.items():
            if path and seen.setdefault(path, name) != name:
                raise ConfigurationError(
                    f"write {seen[path]} and {name} to {path}",
                    answer="two detectors cannot share a file",
                    accepted="a FilePattern with {detector} or {device}",
                )
        return paths

    def _beside_each_other(self, detectors: tuple[str, ...]) -> list[str]:
        if not self.filename:
            return ["" for _ in detectors]
        stem, extension = posixpath.splitext(self.filename)
        return [
            self.filename if index == 0 else f"{stem}_{short_name(name)}{extension}"
            for index, name in enumerate(detectors)
        ]

    @staticmethod
    def _format(pattern: str, scan: int, device: str) -> str:
        try:
            used = {field for _, field, _, _ in string.Formatter().parse(pattern) if field is not None}
            if not used <= set(FIELDS):
                raise ValueError(f"no field {', '.join(sorted(used - set(FIELDS)))}")
            name = pattern.format(scan=scan, detector=short_name(device), device=device.replace("/", "-"))
        except (ValueError, KeyError, IndexError) as error:
            raise ConfigurationError(
                f"set FilePattern to '{pattern}'", answer=str(error), accepted="a name such as " + DEFAULT_PATTERN
            ) from None
        if not name or name.startswith("/") or ".." in name.split("/"):
            raise ConfigurationError(
                f"set FilePattern to '{pattern}'",
                answer="it leads out of DestinationDirectory",
                accepted="a relative name such as " + DEFAULT_PATTERN,
            )
        return name


def short_name(device: str) -> str:
    """Last part of a device name: eiger of laptop/detector/eiger."""
    return device.rsplit("/", 1)[-1]
