"""Sardana's 2D channels for our detectors: one controller for a DAQController, an axis for each of its detectors.

type: TwoDExpChannel
python_module: maxdaq_detectors.py
python_class: MaxdaqTwoDController
properties:
  Device: laptop/daq/controller     # or a detector device, whose axis is 1
  ImageFolder: /data/raw/.images    # only where images are read without references
"""

from __future__ import annotations

import copy
import itertools
import os
from dataclasses import replace
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filters of our files
from sardana import State
from sardana.pool import AcqSynch
from sardana.pool.controller import (
    Access,
    DataAccess,
    DefaultValue,
    Description,
    FGet,
    FSet,
    MaxDimSize,
    Memorize,
    NotMemorized,
    Referable,
    TwoDController,
    Type,
)

from maxdaq_tango.errors import ConfigurationError, MaxdaqError, StateError
from maxdaq_tango.integrations.sardana.acquisition import PATIENCE_S, Acquisition
from maxdaq_tango.integrations.sardana.link import DaqLink
from maxdaq_tango.integrations.sardana.naming import Files, files_of
from maxdaq_tango.integrations.sardana.plan import IDLE, Plan, Progress, for_images

MOST_PX = 8192
STATES = {"idle": State.On, "moving": State.Moving, "fault": State.Fault}
MODES = {
    AcqSynch.SoftwareTrigger: ("SOFTWARE", True),
    AcqSynch.SoftwareStart: ("SOFTWARE", True),
    AcqSynch.HardwareTrigger: ("EXTERNAL_MULTI", False),
    AcqSynch.HardwareStart: ("EXTERNAL_MULTI", True),
    AcqSynch.HardwareGate: ("EXTERNAL_MULTI_GATE", False),
}
"""Sardana's synchronisation > our trigger mode, and whether one trigger starts all repetitions."""


class MaxdaqTwoDController(TwoDController, Referable):  # type: ignore[misc]
    """Images and value references of the detectors of one DAQController, or of one detector device."""

    gender = "2D"
    model = "maxdaq-tango"
    organization = "MAX IV"
    MaxDevice = 64
    default_timer = 1

    ctrl_properties = {
        "Device": {Type: str, Description: "DAQController, or a detector device."},
        "ImageFolder": {
            Type: str,
            Description: "Folder under the receiver's Roots for images that Sardana reads; not needed with references.",
            DefaultValue: "",
        },
        "Patience": {
            Type: float,
            Description: "Longest silence of a detector after a trigger, beyond its exposures, s.",
            DefaultValue: PATIENCE_S,
        },
        "ArmEarly": {
            Type: bool,
            Description: "True: hardware scans arm before motors go to the start, for detectors that take over 2 s. No "
            "trigger may come before the scan then.",
            DefaultValue: False,
        },
    }
    ctrl_attributes = {
        "ScanNumber": {
            Type: int,
            FGet: "scan_number",
            FSet: "set_scan_number",
            Description: "The {scan} of ValueRefPattern; 0 outside scans. Macro maxdaq_scan sets it.",
            Access: DataAccess.ReadWrite,
            Memorize: NotMemorized,
        },
        "ScanDirectory": {
            Type: str,
            FGet: "scan_directory",
            FSet: "set_scan_directory",
            Description: "The {directory} of ValueRefPattern: that of the scan file. Macro maxdaq_scan sets it.",
            Access: DataAccess.ReadWrite,
            Memorize: NotMemorized,
        },
        "Trouble": {
            Type: str,
            FGet: "trouble",
            Description: "What went wrong in the last scan, empty when nothing did. Macro maxdaq_scan_end raises it.",
            Access: DataAccess.ReadOnly,
        },
    }

    axis_attributes = {
        "ScanOver": {
            Type: bool,
            FGet: "scan_over",
            FSet: "end_scan",
            Description: "Written by our recorder: no more triggers come, and the file can be closed.",
            Access: DataAccess.ReadWrite,
            Memorize: NotMemorized,
        },
    }

    def __init__(self, inst: str, props: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(inst, props, *args, **kwargs)
        self._link = DaqLink(self.Device)
        self._acquisition = Acquisition(self._link, open_image=read_frames, patience_s=float(self.Patience))
        self._synchronization = AcqSynch.SoftwareTrigger
        self._scan, self._directory = 0, ""
        self._enabled: dict[int, bool] = {}
        self._patterns: dict[int, str] = {}
        self._numbers = itertools.count(1)
        self._progress: Progress = IDLE
        self._by_group = False
        self._told: set[int] = set()

    # ---- what it is told ----

    def scan_number(self) -> int:
        """Of the present scan."""
        return self._scan

    def set_scan_number(self, value: int) -> None:
        """At the beginning of a scan; 0 when it is over, whatever it came to."""
        self._scan = int(value)
        if self._scan:
            self._acquisition.begin_scan()
        else:
            self._acquisition.end_scan()

    def scan_directory(self) -> str:
        """Of the present scan."""
        return self._directory

    def set_scan_directory(self, value: str) -> None:
        """At the beginning of a scan."""
        self._directory = value

    def scan_over(self, axis: int) -> bool:
        """Nothing waits for triggers."""
        return not self._acquisition.armed

    def end_scan(self, axis: int, value: bool) -> None:
        """At the end of a scan, before its file is."""
        if value:
            self._acquisition.end_scan()

    def trouble(self) -> str:
        """Of the last scan."""
        return self._acquisition.trouble

    def AddDevice(self, axis: int) -> None:
        """Nothing is asked of the device yet: it may not be running when the Pool starts."""
        self._enabled.setdefault(axis, False)

    def DeleteDevice(self, axis: int) -> None:
        """Forget it."""
        self._enabled.pop(axis, None)
        self._patterns.pop(axis, None)

    def GetAxisAttributes(self, axis: int) -> dict[str, Any]:
        """The usual ones, for detectors of up to 8192 x 8192 pixels."""
        attributes: dict[str, Any] = copy.deepcopy(super().GetAxisAttributes(axis))
        attributes["Value"][MaxDimSize] = (MOST_PX, MOST_PX)
        return attributes

    def GetAxisPar(self, axis: int, parameter: str) -> Any:
        """`shape`: rows and columns of the last series, or as the detector says. Before anybody can: an error, which
        Sardana takes for "unknown", and our recorder for the shape of the first image.
        """
        if parameter.lower() != "shape":
            return None
        shape = self._link.frame_shape(axis)
        if shape is None:
            asked = f"tell the shape of {self._link.detector(axis)}"
            raise StateError(asked, answer="it has taken no series yet", accepted="after a ct")
        return list(shape)

    def SetAxisPar(self, axis: int, parameter: str, value: Any) -> None:
        """`value_ref_enabled` and `value_ref_pattern`."""
        if parameter == "value_ref_enabled":
            self._enabled[axis] = bool(value)
            self._told.add(axis)
        elif parameter == "value_ref_pattern":
            self._patterns[axis] = value or ""

    def GetCtrlPar(self, parameter: str) -> Any:
        """`latency_time`: the dead time of the slowest detector, s."""
        if parameter == "synchronization":
            return self._synchronization
        if parameter == "latency_time":
            try:
                return self._link.readout_time()
            except MaxdaqError as error:
                self._log.warning("latency time: %s", error)
                return 0.0
        return None

    def SetCtrlPar(self, parameter: str, value: Any) -> None:
        """`synchronization`; `timer` comes from measurement groups, and not where a channel counts by itself."""
        if parameter == "synchronization":
            self._synchronization = value
        self._by_group = self._by_group or parameter == "timer"

    # ---- a scan ----

    def PrepareOne(self, axis: int, value: float, repetitions: int, latency: float, nb_starts: int) -> None:
        """Called once a scan, for one axis on behalf of all; what cannot work is raised here."""
        if self._synchronization not in MODES:
            raise ConfigurationError(
                f"synchronise {self.GetName()} by {AcqSynch(self._synchronization).name}",
                of=self.Device,
                answer="no such way",
                accepted=", ".join(mode.name for mode in MODES),
            )
        mode, burst = MODES[self._synchronization]
        axes = self._axes(axis)
        plan = Plan(
            mode=mode,
            burst=burst,
            exposure_s=float(value),
            latency_s=max(0.0, float(latency)),
            repetitions=int(repetitions),
            starts=int(nb_starts),
            detectors=tuple(self._link.detector(number) for number in axes),
            references=self._references_wanted(axes),
            files=Files("/", "", 0),
            arm_early=bool(self.ArmEarly),
        )
        self._acquisition.prepare(self._with_files(plan, axes))

    def LoadOne(self, axis: int, value: float, repetitions: int, latency: float) -> None:
        """PrepareOne was told all of it."""

    def StartOne(self, axis: int, value: float | None = None) -> None:
        """StartAll does it for all axes."""

    def StartAll(self) -> None:
        """Arm where that is still to be done, and give the software trigger."""
        self._acquisition.start()

    def StateAll(self) -> None:
        """One look for all axes."""
        self._progress = self._acquisition.progress()

    def StateOne(self, axis: int) -> tuple[Any, str]:
        """As seen by StateAll."""
        return STATES[self._progress.state], self._progress.text

    def ReadOne(self, axis: int) -> Any:
        """The image of a software trigger; else the images that have come since the last call."""
        detector = self._link.detector(axis)
        if self._synchronization == AcqSynch.SoftwareTrigger:
            return self._acquisition.image(detector)
        return self._acquisition.new_images(detector)

    def RefOne(self, axis: int) -> Any:
        """The reference of a software trigger; else the references that have come since the last call."""
        detector = self._link.detector(axis)
        if self._synchronization == AcqSynch.SoftwareTrigger:
            return self._acquisition.reference(detector)
        return self._acquisition.new_references(detector)

    def StopOne(self, axis: int) -> None:
        """End in order: what was taken is kept."""
        self._acquisition.stop()

    def AbortOne(self, axis: int) -> None:
        """End at once: what was received is readable."""
        self._acquisition.abort()

    # ---- inside ----

    def _axes(self, axis: int) -> tuple[int, ...]:
        """Those that take part. PrepareOne is told one of them; the measurement group knows the others."""
        by_group, told = self._by_group, self._told
        self._by_group, self._told = False, set()
        if not by_group:  # a single channel, with the timer of the controller
            return tuple(sorted(told | {axis}))
        pool_controller = self._getPoolController()
        configuration = pool_controller.operator.configuration
        found = {axis}
        for controller in configuration.get_timerable_ctrls(enabled=True):
            if controller.element is pool_controller:
                found |= {channel.axis for channel in controller.get_channels(enabled=True)}
        return tuple(sorted(found))

    def _references_wanted(self, axes: tuple[int, ...]) -> bool:
        wanted = {self._enabled.get(number, False) for number in axes}
        if len(wanted) > 1:
            raise ConfigurationError(
                f"use {self.GetName()}",
                of=self.Device,
                answer="ValueRefEnabled is true for some of its channels and false for others",
                accepted="the same for all: one Arm is for all of them",
            )
        return wanted.pop()

    def _with_files(self, plan: Plan, axes: tuple[int, ...]) -> Plan:
        if not plan.references:
            number = next(self._numbers)
            return for_images(plan, self.ImageFolder, self.GetName(), number)
        patterns = {self._patterns.get(number, "") for number in axes}
        if len(patterns) > 1:
            raise ConfigurationError(
                f"use {self.GetName()}",
                of=self.Device,
                answer=f"its channels have different value_ref_pattern: {', '.join(sorted(patterns))}",
                accepted="one with {detector} in it for all",
            )
        files = files_of(patterns.pop(), scan=self._scan, directory=self._directory)
        paths = [files.path(name) for name in plan.detectors]
        if len(set(paths)) < len(paths):
            raise ConfigurationError(
                f"write all detectors of {self.GetName()} to {paths[0]}",
                of=self.Device,
                answer="two detectors cannot share a file",
                accepted="a value_ref_pattern with {detector} in it",
            )
        return replace(plan, files=files)


def read_frames(path: str, dataset: str) -> Any:
    """All frames of a closed file, frames first."""
    if not os.path.exists(path):
        raise FileNotFoundError("there is no such file here")
    with h5py.File(path) as file:
        return file[dataset][...]
