"""One detector between its three masters: its own Arm, a controller that drives it step by step, and nobody.

    own run      Arm of this device: detector and receiver as one transaction of one pair
    held         Configure came from a controller: it arms, triggers and stops; our own Arm is refused meanwhile
    free         the state is what the hardware says

Plain Python, no Tango. All methods return quickly but those that are told how long to wait.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from maxdaq_tango.detectors.hardware import Hardware
from maxdaq_tango.errors import ConfigurationError, DetectorError, DetectorOffline, MaxdaqError, StateError
from maxdaq_tango.model import AcquisitionSettings, AcquisitionState, Receipt, StreamDescription
from maxdaq_tango.model.hardware import ArmedSeries, HardwareState
from maxdaq_tango.model.state import BUSY_STATES
from maxdaq_tango.tango_support.steps import Steps
from maxdaq_tango.transaction.executor import Executor, Pair, PairSight
from maxdaq_tango.transaction.over_tango import TangoReceiver
from maxdaq_tango.transaction.ports import ReceiverView
from maxdaq_tango.transaction.words import PairPlan

log = logging.getLogger(__name__)

HOLD_S = 60.0
"""A controller that configured and then said nothing for so long is taken for dead; a detector that is out of reach for
so long has lost its series."""
STEP_WAIT_S = 0.05
"""Enough to raise what is refused at once; a step that takes longer must not hold up those who look at the device."""
RESET_WAIT_S = 1.0
RECOVER = "recover the detector"
USED_BY = "used_by"
"""Beside the settings in what Configure gets: the name of the controller."""
HARDWARE_STEPS = ("Configure", "ArmHardware", "TriggerHardware", "StopHardware", "AbortHardware")

_SEEN = {
    HardwareState.CONFIGURING: AcquisitionState.CONFIGURING,
    HardwareState.ARMED: AcquisitionState.ARMED,
    HardwareState.ACQUIRING: AcquisitionState.ACQUIRING,
    HardwareState.ERROR: AcquisitionState.FAULT,
}


class NoReceiver:
    """Stands where property Receiver is empty: every run is refused in words."""

    name = "(no receiver)"

    def check(self, places: object) -> None:
        """There is nobody to ask; `prepare` refuses."""

    def prepare(self, request: object) -> None:
        """Refuse."""
        raise ConfigurationError(
            "Arm", answer="property Receiver is empty", accepted="the name of a StreamReceiver device"
        )

    def expect(self, series: str | None, frames: int | None) -> None:
        """Nothing was prepared."""

    def stop(self, finished: str = "") -> None:
        """Nothing was prepared."""

    def abort(self, reason: str) -> None:
        """Nothing was prepared."""

    def link(self, master: object) -> None:
        """There is no run to link."""

    def poll(self) -> ReceiverView:
        """Idle for ever."""
        return ReceiverView()


class Session:
    """Who uses a detector, what it is doing, and how many frames there are."""

    def __init__(
        self,
        hardware: Hardware,
        receiver: TangoReceiver | None,
        *,
        arm_wait_s: float,
        recover: Callable[[], None] = lambda: None,
        thread: Callable[..., threading.Thread] = threading.Thread,
    ) -> None:
        self.hardware = hardware
        self.receiver = receiver
        self.steps = Steps(thread)
        self._arm_wait_s = arm_wait_s
        self._recover = recover
        self.executor = Executor({hardware.name: Pair(hardware, receiver or NoReceiver())}, thread=thread)
        self.description: StreamDescription | None = None
        self.series: ArmedSeries | None = None
        self._lock = threading.Lock()  # guards the hold and the counts
        self._held_until_s: float | None = None
        self._user = ""
        self._held_armed = False
        self._counts_own_run = True
        self._run_before = ""
        self._acquired = 0
        self._received = 0

    def start(self) -> None:
        """Begin to look at both sides."""
        self.executor.start()

    def close(self) -> None:
        """Abort what runs, whoever began it, let go of the detector and join every thread."""
        if self.held:
            try:
                self.hardware.abort()
            except MaxdaqError as error:
                log.warning("abort %s before letting go of it: %s", self.hardware.name, error)
        self.executor.close()
        self.hardware.close()  # before the steps: it breaks off a trigger that one of them waits for
        self.steps.close()

    # ---- own run ----

    def arm(self, plan: PairPlan) -> bool:
        """Arm detector and receiver. True when armed within ArmWait, False when still at it; raises when it failed."""
        if self.receiver is None:
            raise ConfigurationError(
                "Arm",
                of=self.hardware.name,
                answer="property Receiver is empty, so nobody would take the frames",
                accepted="the name of a StreamReceiver device",
            )
        if not self.executor.busy:  # else the transaction's own refusal says it better
            self._must_be_free("Arm")
            self._must_be_well("Arm")
            self.hardware.forget_count()
        self.executor.arm({self.hardware.name: plan})
        with self._lock:
            self._counts_own_run, self._acquired, self._received = True, 0, 0
        return self.executor.wait_armed(self._arm_wait_s)

    def trigger(self, exposure_time_s: float) -> None:
        """SoftwareTrigger, of our own run or within a controller's; the exposure counts where it may change."""
        if self.executor.busy or not self.held:
            self.executor.trigger({self.hardware.name: exposure_time_s})
        elif not self.ready_for_trigger:
            raise StateError(
                "SoftwareTrigger",
                of=self.hardware.name,
                answer=f"the detector is {self.hardware.last_report.state.value} and waits for no software trigger",
                accepted="see ReadyForSwTrigger",
            )
        else:
            self.steps.run("TriggerHardware", self.hardware.trigger, 0.0)

    def stop(self) -> None:
        """End what is going on, whoever began it."""
        if self.executor.busy:
            self.executor.stop()
        elif self.held or self.hardware.last_report.state in _SEEN:
            self.stop_hardware()

    def abort(self, reason: str) -> None:
        """End it at once."""
        if self.executor.busy:
            self.executor.abort(reason)
        elif self.held or self.hardware.last_report.state in _SEEN:
            self.abort_hardware()

    def reset(self) -> None:
        """Acknowledge; a detector or receiver in error is brought back. Refused while a controller uses the detector:
        the hold would be lost, and the next Arm would take the detector away from under a running series.
        """
        self._must_be_free("Reset")
        self.executor.reset()
        receiver = self.executor.sight(self.hardware.name).view
        if self.hardware.last_report.state is HardwareState.ERROR and not self.steps.is_running(RECOVER):
            self.steps.run(RECOVER, self._recover, RESET_WAIT_S)
        if self.receiver is not None and receiver is not None and receiver.state is AcquisitionState.FAULT:
            self.steps.run("reset the receiver", self.receiver.reset, RESET_WAIT_S)

    # ---- driven by a controller ----

    def configure(self, text: str) -> int:
        """JSON AcquisitionSettings to the detector, and `used_by`, who asks; `description` is the result."""
        accepted = ", ".join(AcquisitionSettings.__struct_fields__)
        try:
            words = msgspec.json.decode(text, type=dict[str, Any])
            user = str(words.pop(USED_BY, ""))
            if unknown := sorted(words.keys() - set(AcquisitionSettings.__struct_fields__)):
                raise ConfigurationError(
                    "Configure", of=self.hardware.name, answer=f"no field {', '.join(unknown)}", accepted=accepted
                )
            settings = msgspec.convert(words, AcquisitionSettings)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise ConfigurationError("Configure", of=self.hardware.name, answer=str(error), accepted=accepted) from None
        self._must_not_run("Configure")
        self._must_be_well("Configure")
        if not self._waits_for(user):
            self._must_be_free("Configure")
        self._hold()
        self._user = user
        view = self.executor.sight(self.hardware.name).view
        self.hardware.forget_count()
        with self._lock:
            self._counts_own_run, self._acquired, self._received, self._held_armed = False, 0, 0, False
            self._run_before = view.run_id if view is not None else ""
        self.description = None

        def configure() -> None:
            try:
                self.description = self.hardware.configure(settings)
            except MaxdaqError:
                self._let_go()  # a controller that was refused does not come back to undo anything
                raise

        return self._step("Configure", configure)

    def arm_hardware(self) -> int:
        """Arm the detector; `series` is the result."""
        self._must_not_run("ArmHardware")
        self._hold()
        self.series = None

        def arm() -> None:
            self.series = self.hardware.arm()
            self._held_armed = True

        return self._step("ArmHardware", arm)

    def trigger_hardware(self, exposure_time_s: float | None = None) -> int:
        """One burst."""
        self._must_not_run("TriggerHardware")
        return self._step("TriggerHardware", lambda: self.hardware.trigger(exposure_time_s))

    def stop_hardware(self) -> int:
        """End in order; the detector is free afterwards."""
        self._must_not_run("StopHardware")
        return self._step("StopHardware", self.hardware.stop, free=True)

    def abort_hardware(self) -> int:
        """End at once; the detector is free afterwards."""
        self._must_not_run("AbortHardware")
        return self._step("AbortHardware", self.hardware.abort, free=True)

    # ---- looks ----

    @property
    def held(self) -> bool:
        """A controller is using the detector."""
        with self._lock:
            if self._held_until_s is None:
                return False
            state = self.hardware.last_report.state
            if self.steps.is_running(*HARDWARE_STEPS) or state in (HardwareState.ARMED, HardwareState.ACQUIRING):
                self._held_until_s = time.monotonic() + HOLD_S
                return True
            # Out of reach is not over: one that is armed must not be let go, nor connected anew, meanwhile.
            over = self._held_armed and state is not HardwareState.OFFLINE
            if over or time.monotonic() > self._held_until_s:
                self._held_until_s = None  # its series is over, or it never went on
                return False
            return True

    @property
    def used_by(self) -> str:
        """The controller that is using the detector; "" = none, or one that did not say its name."""
        return self._user if self.held else ""

    @property
    def busy(self) -> bool:
        """A series is under way, whoever began it."""
        held, view = self.held, self.sight.view
        # The receiver of a controller's series is looked at until it has closed the file.
        draining = not self._counts_own_run and view is not None and view.state in BUSY_STATES
        self.executor.look_closely(held or draining)
        return held or self.executor.busy

    @property
    def state(self) -> AcquisitionState:
        """Of the own run; else what the hardware says; else what the last own run left."""
        if self.executor.busy:
            return self.executor.state
        seen = _SEEN.get(self.hardware.last_report.state)
        if seen is not None and self.hardware.reachable:
            return seen
        return AcquisitionState.CONFIGURING if self.held else self.executor.state

    @property
    def sight(self) -> PairSight:
        """Detector and receiver as seen last."""
        return self.executor.sight(self.hardware.name)

    @property
    def ready_for_trigger(self) -> bool:
        """A software trigger given now would start an exposure."""
        if self.executor.busy:
            return self.sight.ready_for_trigger
        return self.hardware.last_report.ready_for_trigger and not self.steps.is_running("TriggerHardware")

    @property
    def frames_received(self) -> int:
        """By the receiver, since Arm; kept after the end."""
        with self._lock:
            return self._count_received()

    def _count_received(self) -> int:
        # With the lock held, and the look taken under it: else a look from before Arm would outlive Arm's reset.
        sight = self.sight
        if self._counts_own_run:
            count = sight.frames_received
        else:
            view = sight.view
            ours = view is not None and view.reachable and view.run_id not in ("", self._run_before)
            # While it is being prepared the receiver still has the counts of the run before.
            counts = ours and view is not None and view.state is not AcquisitionState.CONFIGURING
            count = view.counters.frames_received if counts and view is not None else 0
        self._received = max(self._received, count)
        return self._received

    @property
    def frames_acquired(self) -> int:
        """By the detector, since Arm; what was received where the hardware does not count. Never falls before Arm."""
        with self._lock:
            received = self._count_received()
            counted = self.hardware.last_report.frames_acquired
            self._acquired = max(self._acquired, received if counted is None else counted)
            return self._acquired

    @property
    def receipt(self) -> Receipt | None:
        """Of the last own run."""
        outcome = self.executor.outcome
        return outcome.receipts.get(self.hardware.name) if outcome is not None else None

    # ---- inside ----

    def _hold(self) -> None:
        with self._lock:
            self._held_until_s = time.monotonic() + HOLD_S

    def _let_go(self) -> None:
        with self._lock:
            self._held_until_s = None

    def _step(self, name: str, work: Callable[[], object], *, free: bool = False) -> int:
        def whole() -> None:
            try:
                work()
            finally:
                if free:
                    self._let_go()
                self.hardware.report()  # whoever hears that the step is done must not see a look from before it

        return self.steps.run(name, whole, STEP_WAIT_S)

    def _waits_for(self, user: str) -> bool:
        """Held by this controller and not armed. A controller has one run at a time: it has given that one up, perhaps
        without having heard that its Configure came."""
        at_work = self.hardware.last_report.state in (HardwareState.ARMED, HardwareState.ACQUIRING)
        return user != "" and user == self.used_by and not at_work and not self.steps.is_running(*HARDWARE_STEPS)

    def _must_be_free(self, asked: str) -> None:
        if self.held:
            raise StateError(
                asked,
                of=self.hardware.name,
                answer=f"{self.used_by or 'a DAQController'} is using the detector",
                accepted=f"{asked} when State has left RUNNING; Stop or Abort end the controller's series",
            )

    def _must_be_well(self, asked: str) -> None:
        report = self.hardware.last_report
        if not self.hardware.reachable:
            raise DetectorOffline(
                asked,
                of=self.hardware.name,
                answer=report.message,
                accepted="a detector that answers; it is being tried in the background",
            )
        if report.state is HardwareState.ERROR:
            raise DetectorError(
                asked, of=self.hardware.name, answer=report.message, accepted="Reset first; it recovers the detector"
            )

    def _must_not_run(self, asked: str) -> None:
        if self.executor.busy:
            raise StateError(
                asked,
                of=self.hardware.name,
                answer="the detector device runs an acquisition of its own",
                accepted="wait until State has left RUNNING; Stop or Abort end it",
            )
