"""LImA's words for an acquisition, and what they are in ours. Pure.

Source: Lima-tango-python, doc/index.rst: attributes acq_*, saving_*, last_image_*, and their values.

    prepareAcq    Arm                 acq_status Ready: nothing is exposed yet
    startAcq      SoftwareTrigger     acq_status Running, until the file is closed
                  (external modes: nothing, the detector is armed)
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import Any

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import AcquisitionState, TriggerMode

TRIGGER_MODES = {
    "INTERNAL_TRIGGER": (TriggerMode.SOFTWARE, True),
    "INTERNAL_TRIGGER_MULTI": (TriggerMode.SOFTWARE, False),
    "EXTERNAL_TRIGGER": (TriggerMode.EXTERNAL_MULTI, True),
    "EXTERNAL_TRIGGER_MULTI": (TriggerMode.EXTERNAL_MULTI, False),
    "EXTERNAL_GATE": (TriggerMode.EXTERNAL_MULTI_GATE, False),
}
"""LImA's word > our mode, and whether one trigger starts all frames (or each its own)."""
SAVING_MODES = ("MANUAL", "AUTO_FRAME")
"""Without a file; all frames into one."""
SAVING_FORMATS = ("HDF5", "HDF5BS")
"""What is written is HDF5, packed as the receiver does it, whichever of them is chosen."""
OVERWRITE_POLICIES = {"ABORT": False, "OVERWRITE": True}
"""An existing file refuses prepareAcq, or is moved aside."""
VALUES = {
    "acq_trigger_mode": tuple(TRIGGER_MODES),
    "saving_mode": SAVING_MODES,
    "saving_format": SAVING_FORMATS,
    "saving_overwrite_policy": tuple(OVERWRITE_POLICIES),
    "acq_mode": ("SINGLE",),
}
"""Attribute > the values that it takes: what getAttrStringValueList answers."""

_INDEX = re.compile(r"%0?\d{0,2}d")


@dataclass
class Settings:
    """What a client of LImA has set. `choose` and `set_...` refuse with ConfigurationError what cannot be meant."""

    frames: int = 1
    exposure_s: float = 1.0
    latency_s: float = 0.0
    mode: str = "SINGLE"
    trigger_mode: str = "INTERNAL_TRIGGER"
    saving_mode: str = "MANUAL"
    saving_format: str = "HDF5"
    overwrite_policy: str = "ABORT"
    directory: str = ""
    prefix: str = ""
    suffix: str = ".h5"
    index_format: str = "%04d"
    next_number: int = 0
    header: dict[str, str] = field(default_factory=dict)

    def choose(self, name: str, attribute: str, value: str) -> None:
        """A value of one of `VALUES`, in any case of letters."""
        word = value.strip().upper()
        if word not in VALUES[attribute]:
            raise ConfigurationError(
                f"set {attribute} to '{value}'", answer="not possible here", accepted=", ".join(VALUES[attribute])
            )
        setattr(self, name, word)

    def set_directory(self, value: str) -> None:
        """Absolute, as the receiver's process sees it."""
        text = value.strip()
        if text and not text.startswith("/"):
            raise ConfigurationError(
                f"set saving_directory to '{value}'",
                answer="not an absolute path",
                accepted="a path that begins with /",
            )
        self.directory = text

    def set_part(self, name: str, attribute: str, value: str) -> None:
        """Prefix or suffix of the file's name."""
        if "/" in value or "\0" in value:
            raise ConfigurationError(f"set {attribute} to '{value}'", answer="it has a /", accepted="part of a name")
        setattr(self, name, value)

    def set_index_format(self, value: str) -> None:
        """As in C: %04d."""
        if not _INDEX.fullmatch(value):
            raise ConfigurationError(f"set saving_index_format to '{value}'", accepted="such as %04d")
        self.index_format = value

    def set_header(self, lines: list[str]) -> None:
        """Of saving_common_header: `name = value` each."""
        header = {}
        for line in lines:
            name, equals, value = line.partition("=")
            if not equals or not name.strip():
                raise ConfigurationError(f"set saving_common_header to '{line}'", accepted="name = value, one a line")
            header[name.strip()] = value.strip()
        self.header = header

    @property
    def path(self) -> str:
        """Of the next file; "" = none is written."""
        if self.saving_mode == "MANUAL":
            return ""
        name = f"{self.prefix}{self.index_format % self.next_number}{self.suffix}"
        return posixpath.join(self.directory, name)

    def attributes(self) -> dict[str, Any]:
        """What is written to a device of ours before Arm, in this order. ConfigurationError."""
        if self.saving_mode != "MANUAL" and not self.directory:
            raise ConfigurationError(
                f"save with saving_mode {self.saving_mode}",
                answer="saving_directory is empty",
                accepted="an absolute path",
            )
        mode, at_once = TRIGGER_MODES[self.trigger_mode]
        return {
            "TriggerMode": mode.value,
            "ExposureTime": self.exposure_s,
            "LatencyTime": self.latency_s,
            "nTriggers": 1 if at_once else self.frames,
            "nFramesPerTrigger": self.frames if at_once else 1,
            "DestinationFilename": self.path,
            "DestinationFileOverwritable": OVERWRITE_POLICIES[self.overwrite_policy],
        }

    @property
    def is_started_here(self) -> bool:
        """startAcq is a software trigger."""
        return TRIGGER_MODES[self.trigger_mode][0] is TriggerMode.SOFTWARE

    @property
    def starts(self) -> int:
        """How often startAcq is called after one prepareAcq."""
        return 1 if TRIGGER_MODES[self.trigger_mode][1] or not self.is_started_here else self.frames


def acq_status(state: AcquisitionState, *, started: bool, fault: str) -> str:
    """Ready, Running, Configuration or Fault. What is prepared is Ready until it is started."""
    if state is AcquisitionState.CONFIGURING:
        return "Configuration"
    if state is AcquisitionState.FAULT:
        return "Fault"
    if state is AcquisitionState.IDLE:
        return "Fault" if fault else "Ready"
    return "Running" if started or state is not AcquisitionState.ARMED else "Ready"
