"""What an operator has set and Arm will use. Pure, and shared by every device that can be armed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import AcquisitionSettings, Orientation, TriggerMode
from maxdaq_tango.transaction.words import PairPlan

LIVE_FRAMES = 100_000
"""Of Live and Continuous, as MAX IV's devices do it."""
LIVE_PERIOD_S = 1.0
FLOAT_SLACK_S = 1e-9
"""0.1 + 0.2 is not 0.3: a FrameTime that equals the exposure in decimal digits is not shorter than it."""


def trigger_mode(text: str) -> TriggerMode:
    """Of attribute TriggerMode, in any case of letters."""
    try:
        return TriggerMode(text.strip().upper())
    except ValueError:
        raise ConfigurationError(
            f"set TriggerMode to '{text}'", answer="no such mode", accepted=", ".join(TriggerMode)
        ) from None


@dataclass
class SetPoints:
    """Times in seconds, counts in frames; `plan` checks what belongs together."""

    exposure_time_s: float = 0.1
    latency_time_s: float = 0.0
    frame_time_s: float | None = None
    """When a client sets FrameTime instead of LatencyTime, in either order with ExposureTime; checked at Arm."""
    trigger_count: int = 1
    frames_per_trigger: int = 1
    trigger_mode: TriggerMode = TriggerMode.INTERNAL
    destination: str = ""
    overwrite: bool = False
    save_raw: bool = True
    rotation: int = 0
    fliplr: bool = False
    flipud: bool = False
    exposure_per_trigger: bool = False
    frames_per_file: int = 0
    """0 = as the receiver's property says."""
    metadata: dict[str, Any] = field(default_factory=dict)
    live_frames: int = LIVE_FRAMES
    """Of Live and Continuous; fewer where a detector cannot make so many in one go."""

    @property
    def latency(self) -> float:
        """LatencyTime as it follows from what was set last; s."""
        if self.frame_time_s is None:
            return self.latency_time_s
        return max(0.0, self.frame_time_s - self.exposure_time_s)

    @property
    def frame_time(self) -> float:
        """FrameTime as it follows from what was set last; s."""
        return self.frame_time_s if self.frame_time_s is not None else self.exposure_time_s + self.latency_time_s

    def set_latency(self, seconds: float) -> None:
        """LatencyTime was written: it counts from now on, FrameTime follows."""
        self.latency_time_s, self.frame_time_s = seconds, None

    def settings(self) -> AcquisitionSettings:
        """For a detector; ConfigurationError when the set-points contradict each other."""
        if self.frame_time_s is not None and self.frame_time_s < self.exposure_time_s - FLOAT_SLACK_S:
            raise ConfigurationError(
                f"take frames every {self.frame_time_s:g} s of {self.exposure_time_s:g} s exposure",
                answer="FrameTime is shorter than ExposureTime",
                accepted=f"FrameTime of {self.exposure_time_s:g} s or more, or a LatencyTime instead",
            )
        return AcquisitionSettings(
            exposure_time_s=self.exposure_time_s,
            latency_time_s=self.latency,
            frames_per_trigger=self.frames_per_trigger,
            trigger_count=self.trigger_count,
            trigger_mode=self.trigger_mode,
            exposure_per_trigger=self.exposure_per_trigger,
        )

    def plan(self, destination: str | None = None) -> PairPlan:
        """For Arm; `destination` in place of the one set."""
        return self._plan(self.settings(), self.destination if destination is None else destination)

    def live_plan(self) -> PairPlan:
        """For Live: no file, free running, not faster than one frame a second."""
        latency_s = max(self.latency, LIVE_PERIOD_S - self.exposure_time_s)
        return self._endless(latency_s, TriggerMode.INTERNAL)

    def continuous_plan(self) -> PairPlan:
        """For Continuous: no file, every external trigger makes a frame."""
        return self._endless(self.latency, TriggerMode.EXTERNAL_MULTI)

    def _endless(self, latency_s: float, mode: TriggerMode) -> PairPlan:
        settings = AcquisitionSettings(
            exposure_time_s=self.exposure_time_s,
            latency_time_s=latency_s,
            trigger_count=self.live_frames,
            trigger_mode=mode,
        )
        return self._plan(settings, "")

    def _plan(self, settings: AcquisitionSettings, destination: str) -> PairPlan:
        return PairPlan(
            settings=settings,
            destination=destination,
            overwrite=self.overwrite,
            save_raw=self.save_raw,
            orientation=Orientation(self.rotation, self.fliplr, self.flipud),
            frames_per_file=self.frames_per_file,
            metadata=dict(self.metadata),
        )
