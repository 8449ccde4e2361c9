"""The preview in shared memory: the engine writes, its owner reads, and how it is to be made goes the other way.

    8 bytes  pictures shown since ever     8 bytes  largest side wanted     8 bytes  method wanted
    twice:  5 x 8 bytes  rows, columns, frame number, run number, factor     room for the largest picture

Pictures go into the two places in turn, and the first number tells which one is newer when it is complete. So a reader
never waits, and an engine that dies while it writes spoils only a picture that nobody has seen. Pages that are never
used cost nothing.
"""

from __future__ import annotations

import mmap
import os

import numpy as np

from maxdaq_tango.model import MOST_PREVIEW_PX, Preview, PreviewMethod, PreviewSettings

_HEAD = 3
_FIELDS = 5
_ROOM = MOST_PREVIEW_PX * MOST_PREVIEW_PX
_PLACE = _FIELDS + _ROOM
_NBYTES = 8 * (_HEAD + 2 * _PLACE)
_METHODS = tuple(PreviewMethod)
_TRIES = 5
"""Reading one takes a millisecond, and the next but one is a tenth of a second away."""


def create_preview_file() -> int:
    """Anonymous shared memory; returns its file descriptor (the caller closes it)."""
    handle = os.memfd_create("maxdaq-preview")
    os.ftruncate(handle, _NBYTES)
    return handle


class PreviewMemory:
    """One mapping of it. One thread of the engine calls `settings` and `show`, the owner's threads the others."""

    def __init__(self, handle: int) -> None:
        self._map = mmap.mmap(handle, _NBYTES)
        self._cells = np.frombuffer(self._map, np.int64)
        self._pixels = np.frombuffer(self._map, np.float64)
        self._last: tuple[int, Preview | None] = (0, None)

    def want(self, settings: PreviewSettings) -> None:
        """How the next pictures are to be made."""
        self._cells[1] = settings.size_px
        self._cells[2] = _METHODS.index(settings.method)

    def settings(self) -> PreviewSettings:
        """As they are wanted now; the usual ones while nobody said."""
        size, method = self._cells[1:3].tolist()
        return PreviewSettings(size_px=size, method=_METHODS[method]) if size else PreviewSettings()

    def show(self, preview: Preview) -> None:
        """Make it the newest one."""
        shown = int(self._cells[0])
        at = _HEAD + (shown % 2) * _PLACE
        rows, columns = preview.pixels.shape
        numbers = (rows, columns, preview.frame_number, preview.run_number, preview.factor)
        self._cells[at : at + _FIELDS] = numbers
        at += _FIELDS
        self._pixels[at : at + rows * columns] = preview.pixels.reshape(-1)
        self._cells[0] = shown + 1  # last: until here it does not exist

    def read(self) -> Preview | None:
        """The newest picture, None before the first one; the same object until there is another."""
        for _ in range(_TRIES):
            shown = int(self._cells[0])
            seen, last = self._last
            if shown == seen:
                return last
            at = _HEAD + ((shown - 1) % 2) * _PLACE
            rows, columns, frame_number, run_number, factor = self._cells[at : at + _FIELDS].tolist()
            at += _FIELDS
            pixels = self._pixels[at : at + rows * columns].copy().reshape(rows, columns)
            if int(self._cells[0]) == shown:  # else it may have been overwritten meanwhile
                self._last = (shown, Preview(pixels, frame_number, run_number, factor))
        return self._last[1]


class Previews:
    """The owner's end of it, whichever engine runs. Thread-safe."""

    def __init__(self) -> None:
        self._memory: PreviewMemory | None = None
        self._settings = PreviewSettings()

    @property
    def settings(self) -> PreviewSettings:
        """How pictures are made, from the next one on; also by engines that are still to come."""
        return self._settings

    @settings.setter
    def settings(self, settings: PreviewSettings) -> None:
        self._settings = settings
        if (memory := self._memory) is not None:
            memory.want(settings)

    def newest(self) -> Preview | None:
        """The same object until there is another. None before the first frame of this engine."""
        memory = self._memory
        return memory.read() if memory is not None else None

    def attach(self, handle: int) -> None:
        """An engine starts."""
        memory = PreviewMemory(handle)
        memory.want(self._settings)
        self._memory = memory

    def detach(self) -> None:
        """It is gone, and its pictures with it."""
        self._memory = None
