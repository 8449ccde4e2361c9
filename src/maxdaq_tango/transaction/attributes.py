"""The set-points of Arm as attributes, the same for detector devices and DAQController; the spelling is MAX IV's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import TriggerMode
from maxdaq_tango.tango_support.attributes import show_set_point, told
from maxdaq_tango.transaction.set_points import SetPoints, trigger_mode


def _set(name: str) -> Callable[[Any, Any], None]:
    return lambda self, value: setattr(self.set_points, name, value)


def set_destination(self: Any, value: str) -> None:
    """DestinationFilename was written, under this or an older name."""
    text = value.strip()
    if text and not text.startswith("/"):
        raise ConfigurationError(
            f"set DestinationFilename to '{value}'",
            of=self.get_name(),
            answer="not an absolute path",
            accepted="a path that begins with /, or empty text for live only",
        )
    self.set_points.destination = text
    self.destination_was_set()


def _set_exposure(self: Any, seconds: float) -> None:
    self.must_allow_exposure(seconds)
    self.set_points.exposure_time_s = seconds


class ArmAttributes:
    """Attributes of a device with `set_points`; the functions get the device.

    A device class names this among its own bases: PyTango takes attributes from direct bases alone.
    """

    set_points: SetPoints

    ExposureTime = told(
        lambda self: self.set_points.exposure_time_s,
        _set_exposure,
        dtype=float,
        label="Exposure time",
        unit="s",
        format="%.6f",
        minimum=1e-9,
        doc="Exposure of one frame. Limits come from the detector. While a series is under way another one is refused, "
        "unless it was armed with ExposurePerTrigger: then the next trigger takes it.",
    )
    ExposurePerTrigger = told(
        lambda self: self.set_points.exposure_per_trigger,
        _set("exposure_per_trigger"),
        dtype=bool,
        label="Exposure per trigger",
        doc="True: each SoftwareTrigger exposes as long as ExposureTime says at that moment. TriggerMode SOFTWARE with "
        "nFramesPerTrigger 1; Arm is refused by detectors that cannot.",
    )
    LatencyTime = told(
        lambda self: self.set_points.latency,
        lambda self, value: self.set_points.set_latency(value),
        dtype=float,
        label="Latency time",
        unit="s",
        format="%.6f",
        minimum=0.0,
        doc="Dead time between two exposures of a burst; 0 = as short as the detector can.",
    )
    FrameTime = told(
        lambda self: self.set_points.frame_time,
        _set("frame_time_s"),
        dtype=float,
        label="Frame time",
        unit="s",
        format="%.6f",
        minimum=1e-9,
        doc="Start to start of two frames of a burst. Writing it replaces LatencyTime until that is written again.",
    )
    nTriggers = told(
        lambda self: self.set_points.trigger_count,
        _set("trigger_count"),
        dtype=int,
        label="Triggers",
        format="%d",
        minimum=1,
        doc="Triggers of one acquisition; it has nTriggers x nFramesPerTrigger frames.",
    )
    nFramesPerTrigger = told(
        lambda self: self.set_points.frames_per_trigger,
        _set("frames_per_trigger"),
        dtype=int,
        label="Frames per trigger",
        format="%d",
        minimum=1,
        doc="Frames that each trigger starts.",
    )
    TriggerMode = told(
        lambda self: self.set_points.trigger_mode.value,
        lambda self, value: setattr(self.set_points, "trigger_mode", trigger_mode(value)),
        dtype=str,
        label="Trigger mode",
        doc="One of " + ", ".join(TriggerMode) + ".",
    )
    DestinationFilename = told(
        lambda self: self.set_points.destination,
        set_destination,
        dtype=str,
        label="Destination file",
        doc="Absolute path of the next file, under the receiver's Roots; empty = live only, nothing is written.",
    )
    DestinationFileOverwritable = told(
        lambda self: self.set_points.overwrite,
        _set("overwrite"),
        dtype=bool,
        label="Destination may exist",
        doc="True: an existing file of that name is moved aside. False: Arm is refused.",
    )

    def must_allow_exposure(self, seconds: float) -> None:
        """Called before ExposureTime is changed; StateError when the series under way cannot follow."""

    def destination_was_set(self) -> None:
        """Called when DestinationFilename was written."""

    def show_set_points(self) -> None:
        """Make the set-points read as they are: Tango shows 0 until somebody writes."""
        points = self.set_points
        for name, value in {
            "ExposureTime": points.exposure_time_s,
            "ExposurePerTrigger": points.exposure_per_trigger,
            "LatencyTime": points.latency,
            "FrameTime": points.frame_time,
            "nTriggers": points.trigger_count,
            "nFramesPerTrigger": points.frames_per_trigger,
            "TriggerMode": points.trigger_mode.value,
            "DestinationFilename": points.destination,
            "DestinationFileOverwritable": points.overwrite,
        }.items():
            show_set_point(self, name, value)
