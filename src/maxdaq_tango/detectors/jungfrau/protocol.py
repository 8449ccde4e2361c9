"""Words of PSI's detector package for a Jungfrau, as far as they are used here: by the driver and by the simulator.

Source: slsdetectorgroup/slsDetectorPackage 9 and 10 (`docs/src`, Python package `slsdet`). Enums and attributes have
the names of `slsdet`, and a test compares them with the published wheel. There is no grammar of bytes here: the control
protocol is the package's own, and only its library speaks it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class RunStatus(IntEnum):
    """Of the detector, and of its receiver."""

    IDLE = 0
    ERROR = 1
    WAITING = 2
    RUN_FINISHED = 3
    TRANSMITTING = 4
    RUNNING = 5
    STOPPED = 6


class TimingMode(IntEnum):
    """What a Jungfrau knows of them: 0 and 1."""

    AUTO_TIMING = 0
    TRIGGER_EXPOSURE = 1


class GainMode(IntEnum):
    """How a pixel chooses its gain."""

    DYNAMIC = 0
    FORCE_SWITCH_G1 = 1
    FORCE_SWITCH_G2 = 2
    FIX_G1 = 3
    FIX_G2 = 4
    FIX_G0 = 5
    """Never switches: strong light can damage the detector."""


class DetectorSettings(IntEnum):
    """Those of a Jungfrau."""

    HIGHGAIN0 = 7
    GAIN0 = 19


class SpeedLevel(IntEnum):
    """Read-out."""

    FULL_SPEED = 0
    HALF_SPEED = 1
    QUARTER_SPEED = 2


class DetectorType(IntEnum):
    """The one that we drive."""

    JUNGFRAU = 3


class FrameDiscardPolicy(IntEnum):
    """What the receiver program does with frames of which packets are lost."""

    NO_DISCARD = 0
    DISCARD_EMPTY_FRAMES = 1
    DISCARD_PARTIAL_FRAMES = 2


ENUMS = {
    "runStatus": RunStatus,
    "timingMode": TimingMode,
    "gainMode": GainMode,
    "detectorSettings": DetectorSettings,
    "speedLevel": SpeedLevel,
    "detectorType": DetectorType,
    "frameDiscardPolicy": FrameDiscardPolicy,
}
"""Under the names that `slsdet` gives them."""
ENUM_OF = {
    "status": RunStatus,
    "rx_status": RunStatus,
    "timing": TimingMode,
    "gainmode": GainMode,
    "settings": DetectorSettings,
    "readoutspeed": SpeedLevel,
    "type": DetectorType,
    "rx_discardpolicy": FrameDiscardPolicy,
}
"""Attributes of a detector whose values are members of an enum."""

WRITABLE = (
    "hostname",
    "config",
    "exptime",
    "period",
    "delay",
    "frames",
    "triggers",
    "timing",
    "gainmode",
    "settings",
    "readoutspeed",
    "highvoltage",
    "powerchip",
    "temp_threshold",
    "temp_control",
    "temp_event",
    "numinterfaces",
    "nextframenumber",
    "rx_hostname",
    "rx_zmqstream",
    "rx_zmqport",
    "rx_zmqfreq",
    "rx_zmqstartfnum",
    "rx_discardpolicy",
    "fwrite",
    "detsize",
)
READ_ONLY = (
    "status",
    "type",
    "nmod",
    "module_geometry",
    "serialnumber",
    "detectorserverversion",
    "firmwareversion",
    "clientversion",
    "rx_version",
    "rx_status",
    "rx_framescaught",
    "rx_missingpackets",
    "chipversion",
)
METHODS = ("start", "stop", "rx_start", "rx_stop")
"""All that is asked of a `slsdet.Jungfrau`."""

CONTROL_PORT = 1952
ZMQ_PORT = 30001
"""Of the first UDP interface of the first module; the others follow."""
PACKETS_A_MODULE = 128
MODULE_SHAPE = (512, 1024)
"""Rows and columns."""
LOWEST_HIGH_VOLTAGE, HIGHEST_HIGH_VOLTAGE = 60, 200
"""V; and 0 is off."""
BUSY = frozenset({RunStatus.RUNNING, RunStatus.WAITING, RunStatus.TRANSMITTING})
FINISHED = frozenset({RunStatus.IDLE, RunStatus.STOPPED, RunStatus.RUN_FINISHED})


def joint_status(status: RunStatus | str | list[Any]) -> RunStatus | str:
    """Of several modules that differ an error first, then whatever is still busy."""
    if not isinstance(status, list):
        return status
    words = [str(word) for word in status]
    word = next(word for word in ("ERROR", "RUNNING", "TRANSMITTING", "WAITING", *words) if word in words)
    return RunStatus.__members__.get(word, word)
