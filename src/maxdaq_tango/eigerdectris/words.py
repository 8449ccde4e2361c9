"""EigerDectris' words, and what they are in ours. Pure.

Source: mxcubecore, mxcubecore/HardwareObjects/MAXIV/EigerDetector.py: the names that it reads, writes and calls, and in
which order. What the names mean is SIMPLON's.

    Arm                 Arm
    Trigger             SoftwareTrigger
    Disarm, Cancel      Stop: the running frame is finished, the file is closed
    Abort               Abort
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Any

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import AcquisitionState, TriggerMode
from maxdaq_tango.model.hardware import HardwareState

TRIGGER_MODES = {
    "ints": (TriggerMode.SOFTWARE, False),
    "inte": (TriggerMode.SOFTWARE, True),
    "exts": (TriggerMode.EXTERNAL_MULTI, False),
    "exte": (TriggerMode.EXTERNAL_MULTI_GATE, False),
}
"""SIMPLON's word > our mode, and whether each trigger brings an exposure of its own."""
ENDING = "_master.h5"
"""Of the file whose name begins as FilenamePattern says."""
SWITCH = ("enabled", "disabled")
UNREACHABLE = "UNKNOWN"
BUSY = "busy"
"""The detector has finished, the file is not closed yet."""

_HARDWARE = {
    HardwareState.NOT_INITIALISED: "na",
    HardwareState.IDLE: "idle",
    HardwareState.ARMED: "ready",
    HardwareState.ACQUIRING: "acquire",
    HardwareState.ERROR: "error",
}


def state_word(state: AcquisitionState, hardware: HardwareState, vendor: str, *, triggerable: bool = True) -> str:
    """The first line of Status. A client that reads `idle` may arm, one that reads `ready` may trigger.

    `vendor` is the detector's own word, for what it does by itself (initialize, configure). `triggerable` False: it
    waits for software triggers in this series, and would not take one now.
    """
    if hardware is HardwareState.OFFLINE:
        return UNREACHABLE
    if hardware is HardwareState.ERROR:
        return "error"
    if state is AcquisitionState.CONFIGURING:
        return "configure"
    if state in (AcquisitionState.IDLE, AcquisitionState.FAULT):
        return _HARDWARE.get(hardware) or (vendor if vendor not in ("", "idle") else "configure")
    if state is AcquisitionState.ARMED:
        word = "ready"
    elif state is AcquisitionState.ACQUIRING and hardware is not HardwareState.IDLE:
        word = _HARDWARE.get(hardware, BUSY)
    else:
        return BUSY
    return "acquire" if word == "ready" and not triggerable else word


def trigger_word(mode: str, per_trigger: bool) -> str:
    """SIMPLON's word; a detector that is set to start by itself is `ints` as well."""
    for word, (ours, exposes) in TRIGGER_MODES.items():
        if (ours.value, exposes) == (mode, per_trigger):
            return word
    return "ints"


def trigger_mode(word: str) -> tuple[TriggerMode, bool]:
    """Of a word that was written."""
    try:
        return TRIGGER_MODES[word.strip().lower()]
    except KeyError:
        raise ConfigurationError(
            f"set TriggerMode to '{word}'", answer="not possible here", accepted=", ".join(TRIGGER_MODES)
        ) from None


def raised_frame_time(count_s: float, frame_s: float, readout_s: float) -> float | None:
    """FrameTime that CountTime pushes up, as SIMPLON does it; None where it stays."""
    return count_s + readout_s if frame_s < count_s + readout_s else None


def lowered_count_time(count_s: float, frame_s: float, readout_s: float) -> float | None:
    """CountTime that FrameTime cuts, as SIMPLON does it; None where it stays."""
    if frame_s >= count_s + readout_s or frame_s >= (count_s + readout_s) * (1 - 1e-9):
        return None
    if frame_s <= readout_s:
        raise ConfigurationError(
            f"set FrameTime to {frame_s:g} s", accepted=f"more than the readout time of {readout_s:g} s"
        )
    return frame_s - readout_s


@dataclass
class FileSettings:
    """Which file the next series goes to."""

    root: str = ""
    """Absolute folder before patterns that are not under it; "" = patterns are absolute themselves."""
    pattern: str = ""
    writes: bool = True

    def set_pattern(self, text: str) -> None:
        """FilenamePattern: a path without ending; "" = no file. ConfigurationError."""
        pattern = text.strip()
        why = ""
        if "$id" in pattern:
            why = "the number of the series is not known before Arm"
        elif pattern and not self.root and not pattern.startswith("/"):
            why = "not an absolute path, and property Root is empty"
        elif pattern.endswith("/"):
            why = "a folder"
        if why:
            raise ConfigurationError(
                f"set FilenamePattern to '{text}'", answer=why, accepted="such as /data/visitors/x/raw/sample_1"
            )
        self.pattern = pattern

    def set_mode(self, text: str) -> None:
        """FileWriterMode: whether the receiver writes a file. ConfigurationError."""
        word = text.strip().lower()
        if word not in SWITCH:
            raise ConfigurationError(f"set FileWriterMode to '{text}'", accepted=", ".join(SWITCH))
        self.writes = word == "enabled"

    @property
    def mode(self) -> str:
        """FileWriterMode as it stands."""
        return SWITCH[0] if self.writes else SWITCH[1]

    @property
    def path(self) -> str:
        """Of the next file, absolute; "" = none."""
        if not self.pattern or not self.writes:
            return ""
        root = self.root.rstrip("/")
        under = not root or self.pattern.startswith(root + "/")
        return (self.pattern if under else posixpath.join(root, self.pattern.lstrip("/"))) + ENDING


def writer_state(state: AcquisitionState, verdict: str, *, writes: bool) -> str:
    """FileWriterState: disabled, ready, acquire or error."""
    if not writes:
        return "disabled"
    if state in (AcquisitionState.IDLE, AcquisitionState.FAULT):
        return "error" if verdict == "FAILED" else "ready"
    return "acquire"


def with_uuid(metadata: dict[str, Any], uuid: str) -> dict[str, Any]:
    """Metadata of the detector device with CollectionUUID in them; "" takes it out."""
    others = {name: value for name, value in metadata.items() if name != "collection_uuid"}
    return {**others, "collection_uuid": uuid} if uuid else others
