"""What all detector devices share: properties, commands, states. A family adds its driver and its own attributes."""

from __future__ import annotations

import logging
from typing import Any

import tango
from tango.server import Device, command, device_property
from tango.utils import PyTangoThread

from maxdaq_tango.detectors.attributes import DetectorAttributes
from maxdaq_tango.detectors.contract import DetectorDriver, Range
from maxdaq_tango.detectors.hardware import Hardware
from maxdaq_tango.detectors.session import USED_BY, Session
from maxdaq_tango.errors import ConfigurationError, MaxdaqError
from maxdaq_tango.model import AcquisitionSettings, AcquisitionState
from maxdaq_tango.model.hardware import DetectorReport, HardwareState
from maxdaq_tango.tango_support.attributes import show_set_point, tellable
from maxdaq_tango.tango_support.event_pump import PUMP
from maxdaq_tango.tango_support.failures import tells_failures
from maxdaq_tango.tango_support.retirement import predecessor, retire
from maxdaq_tango.tango_support.state import idle_state, is_alarming, tango_state
from maxdaq_tango.tango_support.version import VersionAttribute
from maxdaq_tango.transaction.attributes import ArmAttributes
from maxdaq_tango.transaction.over_tango import TangoReceiver
from maxdaq_tango.transaction.set_points import SetPoints

log = logging.getLogger(__name__)

LIMITED = {
    "exposure_time_s": "ExposureTime",
    "frame_period_s": "FrameTime",
    "trigger_count": "nTriggers",
    "frames_per_trigger": "nFramesPerTrigger",
    "energy_ev": "Energy",
    "threshold_ev": "Threshold",
}
"""Name of a limit in the driver > attribute that shows it. Clients read min_value and max_value from there."""

MAX_ARM_WAIT_S = 2.5
"""Tango gives up after 3 s."""


class Unconfigured:
    """A driver for a device whose properties cannot work: always offline, with the reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def connect(self) -> Any:
        """Refuse."""
        raise ConfigurationError("connect", answer=self.reason)

    def report(self) -> DetectorReport:
        """Offline."""
        return DetectorReport(state=HardwareState.OFFLINE, message=self.reason)

    def close(self) -> None:
        """Nothing to let go of."""


class DetectorDevice(DetectorAttributes, ArmAttributes, VersionAttribute, Device):
    """Base of every detector device. A family overrides `make_driver`, and `look_at_family` for its own attributes."""

    Receiver = device_property(
        dtype=str, default_value="", doc="StreamReceiver device of this detector's stream. Empty: Arm is refused."
    )
    ArmWait = device_property(
        dtype=float,
        default_value=2.0,
        doc="How long Arm waits for ARMED before it returns with the work going on, s; at most 2.5.",
    )
    IdleState = device_property(
        dtype=str, default_value="ON", doc="Tango state of an idle detector: ON, or STANDBY for clients that want that."
    )
    AlarmAfterBadRun = device_property(
        dtype=bool,
        default_value=True,
        doc="ALARM after an incomplete run or a failed Arm, until Reset or the next Arm. False: IdleState, for clients "
        "that know no ALARM; Status and Verdict tell the same.",
    )
    HardwareStateInStatus = device_property(
        dtype=bool,
        default_value=False,
        doc="True: the first line of Status is the detector's own state word. MXCuBE wants more: EigerDectrisFacade.",
    )

    # ---- for families ----

    def make_driver(self) -> DetectorDriver:
        """The driver of this family from this device's properties; ConfigurationError when they cannot work."""
        raise ConfigurationError("use the base class of detector devices", accepted="a class of a detector family")

    def look_at_family(self, busy: bool) -> None:
        """Called by the looking thread after each look; keep what family attributes show. MaxdaqErrors are logged."""

    def recover(self) -> None:
        """Called by Reset, on a thread, when the detector is in its error state. May take minutes."""
        self.session.hardware.driver.abort()

    # ---- life ----

    def init_device(self) -> None:
        """Read the properties; the detector is reached in the background, however long that takes."""
        self._trouble = ""
        self._idle = tango.DevState.ON
        self.set_points = SetPoints()
        self._shown_limits: dict[str, Range] = {}
        arm_wait_s, receiver = 2.0, None
        driver: Any
        try:
            super().init_device()
            self._idle = idle_state(self.IdleState)
            if not 0 <= self.ArmWait <= MAX_ARM_WAIT_S:
                raise ConfigurationError(
                    f"set property ArmWait to {self.ArmWait} s", accepted=f"0 to {MAX_ARM_WAIT_S} s"
                )
            arm_wait_s = self.ArmWait
            receiver = TangoReceiver(self.Receiver) if self.Receiver.strip() else None
            driver = self.make_driver()
        except (MaxdaqError, tango.DevFailed, ValueError, TypeError) as error:
            text = error.args[0].desc if isinstance(error, tango.DevFailed) else str(error)
            self._trouble = f"The properties of this device cannot work: {text}"
            log.error("%s: %s", self.get_name(), self._trouble)
            driver = Unconfigured(self._trouble)
        hardware = Hardware(
            self.get_name(),
            driver,
            is_busy=lambda: self.session.busy,
            extra_look=self.look_at_family,
            before=predecessor(self.get_name()),
            thread=PyTangoThread,
        )
        self.session = Session(hardware, receiver, arm_wait_s=arm_wait_s, recover=self.recover, thread=PyTangoThread)
        self.show_set_points()
        rate_hz = 1.0 / self.set_points.frame_time
        shown = {"SaveRaw": self.set_points.save_raw, "FramesPerFile": 0, "Metadata": "{}", "FrameRate": rate_hz}
        for name, value in shown.items():
            show_set_point(self, name, value)
        PUMP.watch(self, self._show_limits)
        self.session.start()
        if not self._trouble:
            hardware.start()

    def delete_device(self) -> None:
        """Abort what is running, let go of the detector. Nothing here waits for the event pump."""
        PUMP.forget(self)
        retire(self.get_name(), self.session.close)

    # ---- plain state ----

    @property
    def is_simulated(self) -> bool | None:
        """From what the detector says of itself; None before it was reached."""
        identity = self.session.hardware.identity
        if identity is None:
            return None
        return "simul" in f"{identity.model} {identity.serial_number} {identity.firmware}".lower()

    @property
    def verdict(self) -> str:
        """Of the last own run; "" before one and while one is under way."""
        outcome = self.session.executor.outcome
        return outcome.verdict.value if outcome is not None else ""

    def dev_state(self) -> tango.DevState:
        """From the table in tango_support/state.py."""
        if self._trouble:
            return tango.DevState.FAULT
        outcome = self.session.executor.outcome
        bad = outcome is not None and is_alarming(outcome.verdict, armed=outcome.armed)
        hardware = self.session.hardware
        return tango_state(
            self.session.state,
            starting=not hardware.tried,
            reachable=hardware.reachable,
            alarmed=bad and self.AlarmAfterBadRun,
            idle=self._idle,
        )

    @tellable
    def dev_status(self) -> str:
        """What is going on, or went wrong, or why the detector cannot be reached."""
        if self._trouble:
            return self._trouble
        session, report = self.session, self.session.hardware.last_report
        lines = [report.message] if self.HardwareStateInStatus else []
        if not session.hardware.tried:
            lines.append("Connecting to the detector for the first time, which may initialise it")
        elif not session.hardware.reachable:
            lines.append(f"The detector cannot be reached: {report.message}")
        if report.state is HardwareState.ERROR:
            lines.append(f"The detector reports an error: {report.message}")
        if not session.executor.busy and session.state is not AcquisitionState.IDLE and session.held:
            lines.append(f"{session.state.value}, driven by a DAQController")
        elif session.hardware.reachable or session.executor.busy or session.executor.outcome is not None:
            lines.append(session.executor.message)
        return "\n".join(lines)

    def must_allow_exposure(self, seconds: float) -> None:
        """ExposureTime is about to be changed."""
        session = getattr(self, "session", None)
        if session is not None:
            session.executor.must_allow_exposures({session.hardware.name: seconds})

    def _show_limits(self) -> None:
        # In the pump's thread: changing an attribute's configuration pushes an event as well.
        for key, limits in self.session.hardware.limits.items():
            name = LIMITED.get(key)
            if name is None or self._shown_limits.get(key) == limits or not hasattr(type(self), name):
                continue
            attribute = self.get_device_attr().get_w_attr_by_name(name)
            whole = name.startswith("n")
            try:
                if limits.minimum is not None:
                    attribute.set_min_value(int(limits.minimum) if whole else float(limits.minimum))
                if limits.maximum is not None:
                    attribute.set_max_value(int(limits.maximum) if whole else float(limits.maximum))
            except tango.DevFailed as failed:
                log.warning("limits of %s: %s", name, failed.args[0].desc)
            self._shown_limits[key] = limits

    # ---- commands ----

    @command
    @tells_failures
    def Arm(self) -> None:
        """Configure, prepare the receiver, arm. Returns when armed, or after ArmWait with State RUNNING."""
        self._must_work("Arm")
        self.session.arm(self.set_points.plan())

    @command
    @tells_failures
    def SoftwareTrigger(self) -> None:
        """Start one burst of nFramesPerTrigger frames. Returns at once; nFramesAcquired and State follow."""
        self.session.trigger(self.set_points.exposure_time_s)

    @command
    @tells_failures
    def Trigger(self) -> None:
        """The same as SoftwareTrigger."""
        self.session.trigger(self.set_points.exposure_time_s)

    @command
    @tells_failures
    def Stop(self) -> None:
        """End the acquisition in order: the detector, then the file. Returns at once; harmless when idle."""
        self.session.stop()

    @command
    @tells_failures
    def Abort(self) -> None:
        """End the acquisition at once; what was received is readable. Returns at once; harmless when idle."""
        self.session.abort("Abort was asked of the detector device")

    @command
    @tells_failures
    def Live(self) -> None:
        """Free running for the live view: no file, at most one frame a second, until Stop."""
        self._must_work("Live")
        self.session.arm(self.set_points.live_plan())

    @command
    @tells_failures
    def Continuous(self) -> None:
        """A frame at every external trigger for the live view: no file, until Stop."""
        self._must_work("Continuous")
        self.session.arm(self.set_points.continuous_plan())

    @command
    @tells_failures
    def Reset(self) -> None:
        """Acknowledge what went wrong; brings detector and receiver out of their error states where it can."""
        self._must_work("Reset")
        self.session.reset()

    @command
    @tells_failures
    def RestartReceiver(self) -> None:
        """Restart the engine of this detector's receiver: the way out when it hangs."""
        receiver = self.session.receiver
        if receiver is None:
            raise ConfigurationError("RestartReceiver", of=self.get_name(), answer="property Receiver is empty")
        self.session.steps.run("RestartReceiver", receiver.restart, 2.0)

    @command(
        display_level=tango.DispLevel.EXPERT,
        dtype_in=str,
        doc_in="JSON: " + ", ".join((*AcquisitionSettings.__struct_fields__, USED_BY)),
        dtype_out="int64",
        doc_out="Number of the step in StepResults",
    )
    @tells_failures
    def Configure(self, settings: str) -> int:
        """For DAQController: settings to the detector; the result is StreamDescription."""
        self._must_work("Configure")
        return self.session.configure(settings)

    @command(display_level=tango.DispLevel.EXPERT, dtype_out="int64", doc_out="Number of the step in StepResults")
    @tells_failures
    def ArmHardware(self) -> int:
        """For DAQController: arm the detector alone; the result is ArmedSeries."""
        return self.session.arm_hardware()

    @command(display_level=tango.DispLevel.EXPERT, dtype_out="int64", doc_out="Number of the step in StepResults")
    @tells_failures
    def TriggerHardware(self) -> int:
        """For DAQController: one burst; the step is done when the detector has finished with it."""
        return self.session.trigger_hardware()

    @command(
        display_level=tango.DispLevel.EXPERT,
        dtype_in=float,
        doc_in="Exposure time, s",
        dtype_out="int64",
        doc_out="Number of the step in StepResults",
    )
    @tells_failures
    def TriggerHardwareFor(self, exposure_time_s: float) -> int:
        """For DAQController: as TriggerHardware, with this exposure, in a series with an exposure for each trigger."""
        return self.session.trigger_hardware(exposure_time_s)

    @command(display_level=tango.DispLevel.EXPERT, dtype_out="int64", doc_out="Number of the step in StepResults")
    @tells_failures
    def StopHardware(self) -> int:
        """For DAQController: end the series of the detector alone, in order."""
        return self.session.stop_hardware()

    @command(display_level=tango.DispLevel.EXPERT, dtype_out="int64", doc_out="Number of the step in StepResults")
    @tells_failures
    def AbortHardware(self) -> int:
        """For DAQController: end the series of the detector alone, at once."""
        return self.session.abort_hardware()

    def _must_work(self, asked: str) -> None:
        if self._trouble:
            raise ConfigurationError(
                asked, of=self.get_name(), answer=self._trouble, accepted="Init after that is mended"
            )
