"""Sardana's counters of our devices: what they count about a series, and its verdict as a number.

    type: CTExpChannel                  # or ZeroDExpChannel, OneDExpChannel
    python_module: maxdaq_counters.py
    python_class: MaxdaqCounterController   # or MaxdaqZeroDController, MaxdaqOneDController
    properties:
      Device: laptop/receiver/eiger     # or a DAQController, or a detector device
      Counters:
      - nFramesReceived                 # axis 1
      - nFramesMissing                  # axis 2
      - Verdict                         # axis 3

Every numeric attribute can be a counter. They tell of the series as a whole, since its Arm, as it stands when a
point is over; nothing here arms or waits: the 2D channel of the same group does. A 0D channel is read again and again
while a point lasts, and Sardana makes the mean of that; a 1D channel takes an attribute with a value for each detector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sardana import State
from sardana.pool import AcqSynch
from sardana.pool.controller import (
    CounterTimerController,
    DefaultValue,
    Description,
    OneDController,
    Type,
    ZeroDController,
)

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.integrations.sardana.link import DaqLink

VERDICTS = {"": 0, "COMPLETE": 1, "INCOMPLETE": 2, "ABORTED": 3, "FAILED": 4}
"""0: none yet, as during a series."""


def _properties(*usual: str) -> dict[str, dict[Any, Any]]:
    return {
        "Device": {Type: str, Description: "DAQController, detector device or StreamReceiver."},
        "Counters": {
            Type: (str,),
            Description: "Attributes of it, one an axis; Verdict becomes 0 none, 1 COMPLETE, 2 INCOMPLETE, 3 ABORTED, "
            "4 FAILED.",
            DefaultValue: list(usual),
        },
    }


class _Shown:
    """Attributes of one device of ours, one an axis. Comes before Sardana's class among the bases."""

    gender = "Counters"
    model = "maxdaq-tango"
    organization = "MAX IV"
    MaxDevice = 64

    Device: str
    Counters: list[str]
    GetName: Any

    def __init__(self, inst: str, props: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(inst, props, *args, **kwargs)  # type: ignore[call-arg]
        self._link = DaqLink(self.Device)

    def StateOne(self, axis: int) -> tuple[Any, str]:
        """Always ready."""
        return State.On, "Ready"

    def AbortOne(self, axis: int) -> None:
        """Nothing to abort."""

    def ReadOne(self, axis: int) -> float:
        """As it stands; nan where there is no value."""
        name, value = self._shown(axis)
        if name.lower() == "verdict":
            return float(VERDICTS[str(value or "")])
        if value is None:
            return float("nan")
        try:
            return float(value)
        except (TypeError, ValueError):
            raise self._refused(name, value, "a number, or Verdict") from None

    def _shown(self, axis: int) -> tuple[str, Any]:
        if not 1 <= axis <= len(self.Counters):
            numbered = ", ".join(f"{number} {name}" for number, name in enumerate(self.Counters, 1))
            raise ConfigurationError(f"read axis {axis}", of=self.GetName(), answer="no counter", accepted=numbered)
        name = self.Counters[axis - 1]
        return name, self._link.read(name)[0]

    def _refused(self, name: str, value: Any, accepted: str) -> ConfigurationError:
        return ConfigurationError(f"count {name}", of=self.Device, answer=f"it is {value!r}", accepted=accepted)


class MaxdaqZeroDController(_Shown, ZeroDController):  # type: ignore[misc]
    """Numbers that Sardana reads while a point lasts."""

    ctrl_properties = _properties("DataRate")


class _PerPoint(_Shown):
    """What is read once, when a point is over."""

    def __init__(self, inst: str, props: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(inst, props, *args, **kwargs)
        self._synchronization = AcqSynch.SoftwareTrigger

    def GetCtrlPar(self, parameter: str) -> Any:
        """They take no time."""
        return {"synchronization": self._synchronization, "latency_time": 0.0}.get(parameter)

    def SetCtrlPar(self, parameter: str, value: Any) -> None:
        """`synchronization`."""
        if parameter == "synchronization":
            self._synchronization = value

    def SetAxisPar(self, axis: int, parameter: str, value: Any) -> None:
        """There is nothing to set."""

    def PrepareOne(self, axis: int, value: float, repetitions: int, latency: float, nb_starts: int) -> None:
        """What is counted of a series has no value for each hardware trigger."""
        if self._synchronization != AcqSynch.SoftwareTrigger:
            raise ConfigurationError(
                f"synchronise {self.GetName()} by {AcqSynch(self._synchronization).name}",
                of=self.Device,
                answer="these counters are of the whole series",
                accepted="software triggers, or leave the channel out of the group",
            )

    def LoadOne(self, axis: int, value: float, repetitions: int, latency: float) -> None:
        """Nothing to load."""

    def StartOne(self, axis: int, value: float | None = None) -> None:
        """Nothing to start."""


class MaxdaqCounterController(_PerPoint, CounterTimerController):  # type: ignore[misc]
    """A number for each point."""

    ctrl_properties = _properties("nFramesReceived", "nFramesAcquired", "Verdict")


class MaxdaqOneDController(_PerPoint, OneDController):  # type: ignore[misc]
    """As many numbers for each point as the device has detectors."""

    ctrl_properties = _properties("DetectorFramesReceived")

    def GetAxisPar(self, axis: int, parameter: str) -> Any:
        """`shape`."""
        return [len(self.ReadOne(axis))] if parameter == "shape" else None

    def ReadOne(self, axis: int) -> Any:
        """Numbers in the order of the device."""
        name, value = self._shown(axis)
        numbers = np.atleast_1d(np.asarray([] if value is None else value))
        if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.number):
            raise self._refused(name, value, "numbers")
        return numbers.astype(float)
