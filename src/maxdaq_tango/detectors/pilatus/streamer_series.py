"""Which files belong to a series, and which of them have been seen. Pure."""

from __future__ import annotations

import re

from maxdaq_tango.detectors.pilatus.streamer_words import SeriesWish
from maxdaq_tango.errors import ConfigurationError


class SeriesFiles:
    """The files of one series by their names. One thread at a time."""

    def __init__(self, wish: SeriesWish, extensions: tuple[str, ...], most: int) -> None:
        """ConfigurationError for a wish that cannot be fulfilled."""
        if wish.extension not in extensions:
            raise ConfigurationError(f"stream files {wish.extension!r}", accepted=", ".join(extensions))
        if not 1 <= wish.frames <= most:
            raise ConfigurationError(f"stream {wish.frames} frames", accepted=f"1 to {most}")
        if not wish.base or "/" in wish.base:
            raise ConfigurationError(f"stream files named {wish.base!r}", accepted="a name without its folder")
        self.wish = wish
        self._name = re.compile(rf"{re.escape(wish.base)}_(\d{{1,15}}){re.escape(wish.extension)}\Z")
        self._seen: set[int] = set()
        self._found: set[int] = set()
        """Seen in the folder, and their events may still come."""
        self.shape: tuple[int, ...] = ()
        """Of the newest frame that could be read."""

    def number_of(self, name: str) -> int | None:
        """The frame number that a file name says; None: it is of no frame of this series."""
        found = self._name.match(name)
        number = int(found[1]) if found else -1
        return number if 0 <= number < self.wish.frames else None

    def came(self, number: int) -> bool:
        """A file was renamed in. False: it is the one that was found before its event was read."""
        found_before = number in self._found
        self._found.discard(number)
        self._seen.add(number)
        return not found_before

    def found(self, number: int) -> bool:
        """A file lies in the folder. False: it has been there before."""
        if number in self._seen:
            return False
        self._seen.add(number)
        self._found.add(number)
        return True

    @property
    def seen(self) -> int:
        """How many different ones."""
        return len(self._seen)

    @property
    def complete(self) -> bool:
        """All files have been there."""
        return len(self._seen) == self.wish.frames
