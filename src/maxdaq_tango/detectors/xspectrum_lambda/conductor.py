"""The commands of the streamer: what each does to the library, to the series and to the senders.

Commands that change something wait for each other, but for stop and abort, which must pass while an arm or a trigger
lasts. A series under way looks after itself (`acquisition.py`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from maxdaq_tango.detectors.streaming.outlet import StreamOutlet
from maxdaq_tango.detectors.xspectrum_lambda.acquisition import Acquisition
from maxdaq_tango.detectors.xspectrum_lambda.adapter import LambdaSystem
from maxdaq_tango.detectors.xspectrum_lambda.description import describe, headers
from maxdaq_tango.detectors.xspectrum_lambda.geometry import ModulePlace
from maxdaq_tango.detectors.xspectrum_lambda.library import load_library
from maxdaq_tango.detectors.xspectrum_lambda.module_sender import ModuleSender
from maxdaq_tango.detectors.xspectrum_lambda.protocol import (
    Armed,
    Change,
    Configured,
    DetectorSettings,
    Health,
    Identity,
    SeriesSettings,
    State,
    Status,
)
from maxdaq_tango.detectors.xspectrum_lambda.series import SeriesPlan, plan_series
from maxdaq_tango.detectors.xspectrum_lambda.words import DEFAULT_SYSTEM
from maxdaq_tango.errors import ConfigurationError, DetectorError, DetectorOffline, DetectorRefused, DetectorTimeout
from maxdaq_tango.model import Encoding

log = logging.getLogger(__name__)

READY_S = 30.0
"""For memory to be allocated and a voltage to settle."""
LOOK_S = 0.01
IDLE_LOOK_S = 0.3
"""A look at an idle detector is as old as this at most."""
ENCODINGS = {"bslz4": Encoding.BSLZ4, "none": Encoding.NONE}


class LambdaConductor:
    """Owns the library's system, the outlets and the series. `open` it first, `close` it; any thread may command.

    `stream_ports` are those of the modules; of fewer than there are modules the last one counts on, 0 takes free ones.
    `places` is where the modules lie, where the library does not tell or is to be overruled.
    """

    def __init__(
        self,
        *,
        library: str = "pyxsp",
        system: str = DEFAULT_SYSTEM,
        host: str = "127.0.0.1",
        stream_ports: Sequence[int] = (0,),
        places: Sequence[ModulePlace] = (),
        whole: tuple[int, int] | None = None,
        queue_bytes: int = 512 << 20,
        compression: str = "bslz4",
        curve_key: str = "",
    ) -> None:
        self.trouble = ""
        """Why there is no detector; "" when there is one."""
        self._library, self._path, self._host, self._key = library, system, host, curve_key
        self._stream_ports = tuple(stream_ports)
        self._places, self._whole = tuple(places), whole
        self._queue_bytes, self._encoding = queue_bytes, ENCODINGS[compression]
        self._working = threading.Lock()  # one command that changes something at a time
        self._system: LambdaSystem | None = None
        self._senders: list[ModuleSender] = []
        self._acquisition: Acquisition | None = None
        self._configured: tuple[SeriesPlan, SeriesSettings, Configured] | None = None
        self._series = self._next_msg_number = 0
        self._preparing = False
        self._ending = threading.Condition()  # guards the two below
        self._ends, self._closing = 0, False
        """So many wanted a series to end: one that is being armed must see it."""
        self._seen, self._seen_at = (State.IDLE, ""), 0.0
        """Of the detector without a series, and when."""

    @property
    def stream_ports(self) -> tuple[int, ...]:
        """Of the modules, in their order."""
        return tuple(sender.outlet.port for sender in self._senders)

    def open(self) -> None:
        """Bind the streams and reach the detector. Where there is none it says why, and `connect` tries again."""
        try:
            self._open()
        except (DetectorError, ConfigurationError) as error:
            self.trouble = str(error)
            log.warning("%s", error)
        if not self._senders:
            self._bind(len(self._stream_ports))

    def interrupt(self) -> None:
        """End the series, whatever it is doing, so that nobody waits for it."""
        self._called_off(closing=True)
        if self._acquisition is not None:
            self._acquisition.end(abort=True)

    def close(self) -> None:
        """Let go of the detector and of every port. Nobody may command any more. May be called twice."""
        self.interrupt()
        for sender in self._senders:
            sender.close()
        self._senders = []
        if self._system is not None:
            self._let_go(self._system)

    # ---- commands ----

    def connect(self) -> Identity:
        """See `protocol`."""
        with self._working:
            system = self._system
            if system is not None:
                try:
                    system.settings()
                    return system.identity()
                except DetectorError:
                    if self._is_running():
                        raise
                    self._let_go(system)
            return self._open().identity()

    def initialise(self) -> None:
        """See `protocol`."""
        with self._working:
            self._end(abort=True)
            self._the_system("initialise").initialise()
            self._seen_at = 0.0

    def settings(self) -> DetectorSettings:
        """See `protocol`."""
        return self._the_system("read settings").settings()

    def set(self, change: Change) -> DetectorSettings:
        """See `protocol`."""
        with self._working:
            system = self._the_system("change settings")
            self._must_rest("change settings")
            return system.apply(change)

    def configure(self, settings: SeriesSettings) -> Configured:
        """See `protocol`."""
        with self._working:
            system = self._the_system("configure")
            acquisition = self._acquisition
            if acquisition is not None and acquisition.is_acquiring:
                self._must_rest("configure")
            self._end(abort=True)
            self._preparing = True
            try:
                self._configured = None
                plan = plan_series(settings, system.settings(), self._path)
                exposure_s = system.prepare(plan.exposure_time_s, plan.exposures, plan.trigger, plan.frames_per_trigger)
                configured = describe(
                    plan,
                    system.settings(),
                    exposure_s=exposure_s,
                    ports=self.stream_ports,
                    shape=system.modules[0].shape(),
                    places=self._places or [module.place() for module in system.modules],
                    whole=self._whole,
                    of=self._path,
                )
                self._configured = (plan, settings, configured)
                return configured
            finally:
                self._preparing = False

    def arm(self) -> Armed:
        """See `protocol`."""
        ends = self._ends  # an end that comes while another command is waited for is meant for this series too
        with self._working:
            system = self._the_system("arm")
            self._must_rest("arm")
            if self._configured is None:
                raise DetectorRefused("arm", of=self._path, answer="no series is configured", accepted="configure")
            plan, settings, configured = self._configured
            self._end(abort=False)  # it is over; its last message number counts
            self._preparing = True
            try:
                self._await_ready(system, ends)
                system.discard_frames()
                self._series += 1
                acquisition = Acquisition(
                    self._series,
                    self._next_msg_number,
                    system,
                    self._senders,
                    plan,
                    configured.module_shape,
                    encoding=self._encoding,
                )
                acquisition.begin(settings.filename, headers(plan, settings, configured))
                self._acquisition = acquisition
            finally:
                self._preparing = False
            if self._is_called_off(ends):
                self._end(abort=True)
                raise self._refused_arm()
            return Armed(series=self._series, frame_count=plan.frame_count)

    def trigger(self) -> None:
        """See `protocol`."""
        acquisition = self._acquisition
        if acquisition is None or acquisition.is_over or not acquisition.trigger():
            if acquisition is None or acquisition.is_over:
                answer = "nothing is armed"
            elif not acquisition.plan.waits_for_software:
                answer = "edges begin the exposures of this series"
            else:
                answer = "a trigger is under way"
            raise DetectorRefused("trigger", of=self._path, answer=answer, accepted="see ReadyForSwTrigger")
        if acquisition.error:
            raise DetectorRefused("trigger", of=self._path, answer=acquisition.error)

    def stop(self) -> None:
        """See `protocol`."""
        self._interrupt(abort=False)

    def abort(self) -> None:
        """See `protocol`."""
        self._interrupt(abort=True)

    def health(self) -> Health:
        """See `protocol`."""
        return self._the_system("read temperatures").health()

    def status(self) -> Status:
        """See `protocol`."""
        acquisition = self._acquisition  # once: a series that is armed meanwhile has other counts
        state, message = self._look(acquisition)
        return Status(
            state=state,
            message=message,
            ready_for_trigger=state is State.ARMED and acquisition is not None and acquisition.ready_for_trigger,
            frames_acquired=acquisition.frames_acquired if acquisition is not None else 0,
            series=self._series,
            modules=acquisition.modules() if acquisition is not None else (),
        )

    # ---- inside ----

    def _open(self) -> LambdaSystem:
        system = LambdaSystem(load_library(self._library), self._path)
        try:
            system.initialise()
            if any(module.compresses() for module in system.modules):
                raise ConfigurationError(
                    "open the system",
                    of=self._path,
                    answer="its receivers compress frames in the vendor's own way",
                    accepted="a system.yml without compression; the streamer packs frames by itself",
                )
            self._bind(len(system.modules))
        except BaseException:
            self._let_go(system)
            raise
        self._system, self.trouble, self._seen_at = system, "", 0.0
        return system

    def _bind(self, count: int) -> None:
        given = self._stream_ports
        for sender in self._senders[count:]:  # ports were given for more modules than there are
            sender.close()
        del self._senders[count:]
        for sender in self._senders:  # bound before it was known how many share the memory
            sender.limit_bytes = self._queue_bytes // count
        for number in range(len(self._senders), count):
            port = given[number] if number < len(given) else given[-1] and given[-1] + number + 1 - len(given)
            outlet = StreamOutlet(self._host, port, key_file=self._key)
            sender = ModuleSender(number, outlet, self._queue_bytes // count)
            self._senders.append(sender)
            sender.start()

    def _let_go(self, system: LambdaSystem) -> None:
        self._system = None
        try:
            system.close()
        except DetectorError as error:
            log.warning("let go of the detector: %s", error)

    def _the_system(self, asked: str) -> LambdaSystem:
        if self._system is None:
            raise DetectorOffline(
                asked, of=self._path, answer=self.trouble or "the detector is not connected", accepted="connect"
            )
        return self._system

    def _is_running(self) -> bool:
        return self._acquisition is not None and not self._acquisition.is_over

    def _must_rest(self, asked: str) -> None:
        if self._is_running():
            raise DetectorRefused(
                asked, of=self._path, answer="a series is under way", accepted="stop or abort it, or wait for its end"
            )

    def _await_ready(self, system: LambdaSystem, ends: int) -> None:
        deadline = time.monotonic() + READY_S
        while (taken := any(sender.is_taken for sender in self._senders)) or not system.is_ready():
            if self._is_called_off(ends, LOOK_S):
                raise self._refused_arm()
            if time.monotonic() > deadline and taken:
                raise DetectorTimeout(
                    "arm",
                    of=self._path,
                    answer=f"after {READY_S:g} s the frames of the series before are still being taken",
                    accepted="an abort, which throws them away, or patience",
                )
            if time.monotonic() > deadline:
                raise DetectorTimeout(
                    "arm",
                    of=self._path,
                    answer=f"memory is not allocated or the voltage is not settled after {READY_S:g} s",
                    accepted="fewer frames, or a look at the high voltage",
                )

    def _interrupt(self, *, abort: bool) -> None:
        self._the_system("abort" if abort else "stop")
        self._called_off()
        self._end(abort=abort)
        if abort:
            for sender in self._senders:  # of a series that is over, frames may still wait for their receiver
                sender.drop(images_only=True)

    def _called_off(self, *, closing: bool = False) -> None:
        with self._ending:
            self._ends += 1
            self._closing = self._closing or closing
            self._ending.notify_all()

    def _is_called_off(self, ends: int, wait_s: float = 0.0) -> bool:
        """Somebody wants a series to end since there were `ends` who did."""
        with self._ending:
            return self._ending.wait_for(lambda: self._closing or self._ends != ends, wait_s)

    def _refused_arm(self) -> DetectorRefused:
        return DetectorRefused("arm", of=self._path, answer="ended meanwhile", accepted="arm again")

    def _end(self, *, abort: bool) -> None:
        acquisition = self._acquisition
        if acquisition is None:
            return
        if not acquisition.is_over:
            acquisition.end(abort=abort)
        acquisition.close()
        self._next_msg_number = max(self._next_msg_number, acquisition.next_msg_number)

    def _look(self, acquisition: Acquisition | None) -> tuple[State, str]:
        system = self._system
        if system is None:
            return State.OFFLINE, self.trouble or "the detector is not connected"
        if acquisition is not None and not acquisition.is_over:
            return (State.ACQUIRING if acquisition.is_acquiring else State.ARMED), self._waits()
        if self._preparing:
            return State.CONFIGURING, ""
        if time.monotonic() - self._seen_at > IDLE_LOOK_S:
            self._seen = _seen(system)
            self._seen_at = time.monotonic()
        state, message = self._seen
        if state is State.IDLE:
            if any(sender.is_taken for sender in self._senders):
                state = State.ACQUIRING  # who sees IDLE does not wait for more
            error = acquisition.error if acquisition is not None else ""
            message = "; ".join(filter(None, (error, self._waits())))
        return state, message

    def _waits(self) -> str:
        waiting = {sender.number: sender.waiting for sender in self._senders if sender.waiting and not sender.is_taken}
        words = ", ".join(f"{count} frames of module {number}" for number, count in waiting.items())
        return words and f"{words} wait for a receiver, and none takes them"


def _seen(system: LambdaSystem) -> tuple[State, str]:
    try:
        system.is_busy()
    except DetectorOffline as error:
        return State.OFFLINE, str(error)
    except DetectorError as error:
        return State.ERROR, str(error)
    return State.IDLE, ""
