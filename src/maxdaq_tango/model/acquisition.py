"""What a person asks of a detector, and what the detector answers that it will send."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

import msgspec
import numpy as np

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model.conversion import RAW, Conversion


class TriggerMode(StrEnum):
    """How exposures start. The names are MAX IV's standard detector names."""

    INTERNAL = "INTERNAL"
    """The detector starts by itself once armed and makes all frames in a row."""
    SOFTWARE = "SOFTWARE"
    """One SoftwareTrigger command starts one burst of `frames_per_trigger` frames."""
    EXTERNAL_MULTI = "EXTERNAL_MULTI"
    """One electrical edge starts one burst of `frames_per_trigger` frames."""
    EXTERNAL_MULTI_GATE = "EXTERNAL_MULTI_GATE"
    """One frame a gate; the length of the gate is the exposure."""


class StreamFormat(StrEnum):
    """The wire format of a stream; each has a module of the same name in `wire/`."""

    STINS = "stins"
    DECTRIS_V1 = "dectris-v1"
    DECTRIS_V2 = "dectris-v2"
    LAMBDA_MODULES = "lambda-modules"
    SLS_JSON = "sls-json"

    @property
    def has_modules(self) -> bool:
        """Every module of the detector sends its own part of each frame, over a connection of its own."""
        return self in (StreamFormat.LAMBDA_MODULES, StreamFormat.SLS_JSON)

    @property
    def is_published(self) -> bool:
        """It comes from a PUB socket: whoever subscribes gets all of it, as far as he keeps up."""
        return self is StreamFormat.SLS_JSON


class AcquisitionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One set of settings that every detector family understands."""

    exposure_time_s: float = 0.1
    latency_time_s: float = 0.0
    """Dead time asked for between two exposures of a burst; 0 = as short as the detector can."""
    frames_per_trigger: int = 1
    trigger_count: int = 1
    trigger_mode: TriggerMode = TriggerMode.INTERNAL
    exposure_per_trigger: bool = False
    """SOFTWARE with one frame a trigger: each trigger brings its own exposure. Refused where the detector cannot."""

    def __post_init__(self) -> None:
        if not self.exposure_time_s > 0:
            raise ConfigurationError(f"set ExposureTime to {self.exposure_time_s} s", accepted="a time above 0 s")
        if not self.latency_time_s >= 0:
            raise ConfigurationError(f"set LatencyTime to {self.latency_time_s} s", accepted="0 s or more")
        if self.frames_per_trigger < 1:
            raise ConfigurationError(f"set nFramesPerTrigger to {self.frames_per_trigger}", accepted="1 or more")
        if self.trigger_count < 1:
            raise ConfigurationError(f"set nTriggers to {self.trigger_count}", accepted="1 or more")
        if self.exposure_per_trigger and (self.trigger_mode is not TriggerMode.SOFTWARE or self.frames_per_trigger > 1):
            raise ConfigurationError(
                "change the exposure from trigger to trigger",
                answer=f"TriggerMode is {self.trigger_mode.value}, nFramesPerTrigger {self.frames_per_trigger}",
                accepted="TriggerMode SOFTWARE and nFramesPerTrigger 1, or ExposurePerTrigger false",
            )

    @property
    def frame_count(self) -> int:
        """Frames of the whole series."""
        return self.frames_per_trigger * self.trigger_count

    @property
    def frame_period_s(self) -> float:
        """Start to start of two frames of a burst, as asked for."""
        return self.exposure_time_s + self.latency_time_s


class StreamDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What a configured detector is going to send, known before the first byte flows."""

    sources: tuple[str, ...]
    """ZeroMQ endpoints to connect to, e.g. `tcp://10.0.0.1:9999`."""
    stream_format: StreamFormat
    frame_count: int
    frame_period_s: float
    shape: tuple[int, ...] = ()
    """(rows, columns) of one frame, () when the detector cannot tell beforehand."""
    dtype: str = ""
    conversion: Conversion = RAW
    """What its receiver shall make of the pixels."""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    """Settings read back from the detector, JSON values only; they go into the file."""

    @property
    def frame_nbytes(self) -> int | None:
        """Uncompressed bytes of one frame; None while shape or type are not known."""
        if not self.shape or not self.dtype:
            return None
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize
