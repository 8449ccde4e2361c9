"""A series as camserver has to be told it: one or more exposure commands, and the names of their files. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from maxdaq_tango.detectors.pilatus import protocol
from maxdaq_tango.model import AcquisitionSettings, TriggerMode

WIDTH = 5
"""Digits of the number in a file name; more where they are needed."""
SOFTWARE_STARTED = (TriggerMode.INTERNAL, TriggerMode.SOFTWARE)


def vendor_command(settings: AcquisitionSettings) -> tuple[str, int]:
    """The start command for what was asked, and the images that one makes.

    A software trigger is one `Exposure`; `ExtTrigger` makes all images after one edge, `ExtMTrigger` one an edge.
    """
    match settings.trigger_mode:
        case TriggerMode.INTERNAL:
            return "Exposure", settings.frame_count
        case TriggerMode.SOFTWARE:
            return "Exposure", settings.frames_per_trigger
        case TriggerMode.EXTERNAL_MULTI:
            return ("ExtTrigger" if settings.trigger_count == 1 else "ExtMTrigger"), settings.frame_count
        case TriggerMode.EXTERNAL_MULTI_GATE:
            return "ExtEnable", settings.frame_count


class ExposureSeries:
    """An armed series."""

    def __init__(self, settings: AcquisitionSettings, base: str, extension: str) -> None:
        self.settings = settings
        self.command, self.images = vendor_command(settings)
        self.base, self.extension = base, extension
        self.triggers = settings.trigger_count if settings.trigger_mode is TriggerMode.SOFTWARE else 1
        self.triggers_given = 0
        self.started = False
        """Camserver waits for external signals, or has."""
        self.began = False
        """A frame has been seen."""

    @property
    def by_software(self) -> bool:
        """It waits for `trigger`."""
        return self.settings.trigger_mode in SOFTWARE_STARTED

    def line(self, first: int) -> str:
        """The start command of the images from number `first` on."""
        return f"{self.command} {self.base}_{first:0{WIDTH}d}{self.extension}"

    def parts(self) -> Iterator[tuple[int, int]]:
        """First number and count of each command that the next trigger needs: one makes `MOST_IMAGES` at most."""
        begin = self.triggers_given * self.images
        for first in range(begin, begin + self.images, protocol.MOST_IMAGES):
            yield first, min(protocol.MOST_IMAGES, begin + self.images - first)
