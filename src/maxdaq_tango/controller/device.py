"""DAQController: arms, triggers and stops any number of detector + receiver pairs as one transaction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import tango
from tango.server import Device, command, device_property
from tango.utils import PyTangoThread

from maxdaq_tango.controller.attributes import ControllerAttributes
from maxdaq_tango.controller.configuration import detector_names
from maxdaq_tango.controller.destinations import DEFAULT_PATTERN, Destinations, short_name
from maxdaq_tango.controller.overrides import NONE, Override, read_overrides
from maxdaq_tango.controller.pairs import Pairs
from maxdaq_tango.controller.sights import Sights
from maxdaq_tango.errors import ConfigurationError, DetectorOffline, MaxdaqError
from maxdaq_tango.model import AcquisitionState as State
from maxdaq_tango.model.hardware import HardwareState
from maxdaq_tango.tango_support.attributes import show_set_point, tellable
from maxdaq_tango.tango_support.event_pump import PUMP
from maxdaq_tango.tango_support.failures import tells_failures
from maxdaq_tango.tango_support.retirement import predecessor, retire
from maxdaq_tango.tango_support.server import run_server
from maxdaq_tango.tango_support.state import idle_state, is_alarming, tango_state
from maxdaq_tango.tango_support.steps import Steps
from maxdaq_tango.tango_support.version import VersionAttribute
from maxdaq_tango.transaction.attributes import ArmAttributes
from maxdaq_tango.transaction.executor import Executor
from maxdaq_tango.transaction.metadata import read_metadata
from maxdaq_tango.transaction.set_points import SetPoints
from maxdaq_tango.transaction.words import PairPlan, ScanPlan

log = logging.getLogger(__name__)

MAX_ARM_WAIT_S = 2.5
LIVE_FRAMES = 65_535
"""Of Live and Continuous: what every family can make in one go."""


class DAQController(Sights, ControllerAttributes, ArmAttributes, VersionAttribute, Device):
    """Detectors and their receivers as one: settings once, one Arm, one verdict."""

    Detectors = device_property(
        dtype=(str,),
        default_value=[],
        doc="Detector devices, one a line. Each names its StreamReceiver in property Receiver.",
    )
    ArmWait = device_property(
        dtype=float,
        default_value=2.0,
        doc="How long Arm waits for ARMED before it returns with the work going on, s; at most 2.5.",
    )
    IdleState = device_property(
        dtype=str, default_value="ON", doc="Tango state when idle: ON, or STANDBY for clients that want that."
    )
    AlarmAfterBadRun = device_property(
        dtype=bool,
        default_value=True,
        doc="ALARM after an incomplete run or a failed Arm, until Reset or the next Arm. False: IdleState.",
    )

    # ---- life ----

    def init_device(self) -> None:
        """Read the properties; receivers are looked up in the background."""
        self._trouble = ""
        self._idle = tango.DevState.ON
        self._arm_wait_s = 2.0
        self.set_points, self.destinations = SetPoints(live_frames=LIVE_FRAMES), Destinations()
        self.detectors: tuple[str, ...] = ()
        self.enabled: tuple[str, ...] = ()
        self.metadata_text = "{}"
        self._metadata: dict[str, Any] = {}
        self.overrides_text = "{}"
        self._overrides: dict[str, Override] = {}
        self._acquired = "", 0
        self._steps = Steps(PyTangoThread)
        try:
            super().init_device()
            self._read_properties()
        except (MaxdaqError, tango.DevFailed, ValueError, TypeError) as error:
            text = error.args[0].desc if isinstance(error, tango.DevFailed) else str(error)
            self._trouble = f"The properties of this device cannot work: {text}"
            log.error("%s: %s", self.get_name(), self._trouble)
        self.show_set_points()
        for name, value in {
            "DestinationDirectory": "",
            "FilePattern": DEFAULT_PATTERN,
            "MasterPattern": "",
            "ScanNumber": 1,
            "Metadata": "{}",
            "Overrides": "{}",
            "EnabledDetectors": list(self.enabled),
        }.items():
            show_set_point(self, name, value)
        self._pairs = Pairs(self.get_name(), self.detectors, predecessor(self.get_name()), PyTangoThread)
        PUMP.watch(self)
        if not self._trouble:
            self._pairs.start()

    def delete_device(self) -> None:
        """Abort what is running."""
        PUMP.forget(self)
        pairs, steps = self._pairs, self._steps

        def end() -> None:
            pairs.close()
            steps.close()

        retire(self.get_name(), end)

    def _read_properties(self) -> None:
        self._idle = idle_state(self.IdleState)
        if not 0 <= self.ArmWait <= MAX_ARM_WAIT_S:
            raise ConfigurationError(f"set property ArmWait to {self.ArmWait} s", accepted=f"0 to {MAX_ARM_WAIT_S} s")
        self._arm_wait_s = self.ArmWait
        self.detectors = self.enabled = detector_names(self.Detectors)

    # ---- plain state ----

    @property
    def _executor(self) -> Executor | None:
        return self._pairs.executor

    @property
    def acquisition_state(self) -> State:
        """Of all detectors together."""
        if self._trouble:
            return State.FAULT
        return self._executor.state if self._executor is not None else State.IDLE

    def dev_state(self) -> tango.DevState:
        """From the table in tango_support/state.py."""
        outcome = self._executor.outcome if self._executor is not None else None
        bad = outcome is not None and is_alarming(outcome.verdict, armed=outcome.armed)
        return tango_state(
            self.acquisition_state,
            reachable=not self._pairs.missing and not self._unreachable(),
            alarmed=bad and self.AlarmAfterBadRun,
            idle=self._idle,
        )

    @tellable
    def dev_status(self) -> str:
        """What is going on, or went wrong, or who cannot be reached."""
        if self._trouble:
            return self._trouble
        if self._executor is None:
            return f"The detectors cannot be used yet: {self._pairs.missing}"
        lines = [] if self._executor.busy else self._unreachable()
        return "\n".join([*lines, self._executor.message])

    def _unreachable(self) -> list[str]:
        lines = []
        for name in self.enabled:
            sight = self._sight(name)
            if sight is None:
                continue
            if sight.report is not None and sight.report.state is HardwareState.OFFLINE:
                lines.append(f"{name} cannot be reached: {sight.report.message}")
            if sight.view is not None and not sight.view.reachable:
                lines.append(f"the receiver of {name} cannot be reached: {sight.view.message}")
        return lines

    def file_names(self) -> list[str]:
        """Of the next acquisition; empty where they cannot be told."""
        try:
            return list(self.destinations.of(self.enabled).values())
        except MaxdaqError:
            return ["" for _ in self.enabled]

    def master_name(self) -> str:
        """Of the next acquisition; empty where there is none, or it cannot be told."""
        try:
            return self.destinations.master(self.destinations.of(self.enabled))
        except MaxdaqError:
            return ""

    # ---- set-points ----

    def must_allow_exposure(self, seconds: float) -> None:
        """ExposureTime is about to be changed."""
        if self._executor is not None:
            self._executor.must_allow_exposures(self._exposures(replace(self.set_points, exposure_time_s=seconds)))

    def _exposures(self, points: SetPoints) -> dict[str, float]:
        return {name: self._overrides.get(name, NONE).applied(points).exposure_time_s for name in self.enabled}

    def destination_was_set(self) -> None:
        """DestinationFilename was written."""
        self.destinations.set_filename(self.set_points.destination)

    def enable(self, names: Sequence[str]) -> None:
        """EnabledDetectors was written; names in full or their last part."""
        if self._executor is not None and self._executor.busy:
            raise ConfigurationError(
                "set EnabledDetectors", answer="an acquisition is under way", accepted="when it is over"
            )
        by_name = {short_name(name): name for name in self.detectors} | {name: name for name in self.detectors}
        chosen = []
        for name in names:
            full = by_name.get(name.strip().lower())
            if full is None:
                raise ConfigurationError(
                    f"enable detector '{name}'",
                    of=self.get_name(),
                    answer="not known",
                    accepted=", ".join(self.detectors),
                )
            chosen.append(full)
        if not chosen:
            raise ConfigurationError("enable no detector", of=self.get_name(), accepted=", ".join(self.detectors))
        self.enabled = tuple(name for name in self.detectors if name in chosen)

    def set_metadata(self, text: str) -> None:
        """Metadata was written."""
        self._metadata = read_metadata(text, self.get_name())
        self.metadata_text = text

    def override(self, text: str) -> None:
        """Overrides was written."""
        self._overrides, self.overrides_text = read_overrides(text, self.detectors), text or "{}"

    # ---- commands ----

    @command
    @tells_failures
    def Arm(self) -> None:
        """Arm every enabled detector with its receiver. Returns when armed, or after ArmWait with State RUNNING."""
        paths = self.destinations.of(self.enabled)
        scan = ScanPlan(
            number=self.destinations.scan_number,
            master=self.destinations.master(paths),
            overwrite=self.set_points.overwrite,
            metadata=dict(self._metadata),
        )
        self._arm({name: self._plan(self._points(name).plan(paths[name])) for name in self.enabled}, scan)

    @command
    @tells_failures
    def Live(self) -> None:
        """Free running for the live view: no files, at most one frame a second, until Stop."""
        self._arm({name: self._points(name).live_plan() for name in self.enabled})

    @command
    @tells_failures
    def Continuous(self) -> None:
        """A frame at every external trigger for the live view: no files, until Stop."""
        self._arm({name: self._points(name).continuous_plan() for name in self.enabled})

    @command
    @tells_failures
    def SoftwareTrigger(self) -> None:
        """Start one burst on every enabled detector. Returns at once; nFramesAcquired and State follow."""
        self._working("SoftwareTrigger").trigger(self._exposures(self.set_points))

    @command
    @tells_failures
    def Trigger(self) -> None:
        """The same as SoftwareTrigger."""
        self._working("Trigger").trigger(self._exposures(self.set_points))

    @command
    @tells_failures
    def Stop(self) -> None:
        """End the acquisition in order: detectors first, then files. Returns at once; harmless when idle."""
        if self._executor is not None:
            self._executor.stop()

    @command
    @tells_failures
    def Abort(self) -> None:
        """End the acquisition at once; what was received is readable. Returns at once; harmless when idle."""
        if self._executor is not None:
            self._executor.abort("Abort was asked of the controller")

    @command
    @tells_failures
    def Reset(self) -> None:
        """Acknowledge what went wrong; enabled detectors and receivers in their error states are reset as well."""
        self._working("Reset").reset()
        for name in self.enabled:
            detector, receiver = self._pairs.members[name]
            if self.detector_state(name) == HardwareState.ERROR:
                self._steps.run(f"Reset {detector.name}", detector.reset, 0.5)
            if self.receiver_state(name) == State.FAULT:
                self._steps.run(f"Reset {receiver.name}", receiver.reset, 0.5)

    def _arm(self, plans: dict[str, PairPlan], scan: ScanPlan | None = None) -> None:
        executor = self._working("Arm")
        if not executor.busy and (lines := self._unreachable()):
            raise DetectorOffline(
                "Arm", of=self.get_name(), answer="; ".join(lines), accepted="all enabled devices in reach"
            )
        executor.arm(plans, scan)
        executor.wait_armed(self._arm_wait_s)

    def _points(self, name: str) -> SetPoints:
        return self._overrides.get(name, NONE).applied(self.set_points)

    def _plan(self, plan: PairPlan) -> PairPlan:
        return PairPlan(
            settings=plan.settings,
            destination=plan.destination,
            overwrite=plan.overwrite,
            metadata=dict(self._metadata),
        )

    def _working(self, asked: str) -> Executor:
        if self._trouble:
            raise ConfigurationError(
                asked, of=self.get_name(), answer=self._trouble, accepted="Init after that is mended"
            )
        if self._executor is None:
            raise DetectorOffline(
                asked, of=self.get_name(), answer=self._pairs.missing, accepted="all detectors in the database"
            )
        return self._executor


def main() -> None:
    """Entry point of the server."""
    run_server(DAQController)


if __name__ == "__main__":
    main()
