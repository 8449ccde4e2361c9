"""The simulated camserver: who may command, what it answers, which image is due. No sockets, no files, no clock.

What a test can rely on, because clients trip over it: one connection is in control, the first; replies end with 0x18
and may come together; a command takes its time and the next ones wait behind it; trimming resets NImages and GapFill;
while it exposes, any input of the controlling client that holds a k kills the exposure.

Source: see `protocol.py`. `docs/reference/pilatus.md` says what it does and does not imitate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from maxdaq_tango.detectors.pilatus import protocol
from maxdaq_tango.detectors.pilatus.protocol import Code, Reply, RequestReader, command_named
from maxdaq_tango.detectors.pilatus.simulator_exposure import SENTENCES, Exposure, ExposurePlan, Start
from maxdaq_tango.detectors.pilatus.simulator_faults import refuse_meaningless
from maxdaq_tango.detectors.pilatus.simulator_files import WRITABLE, ImageText
from maxdaq_tango.detectors.pilatus.simulator_settings import (
    LINES_EV,
    CamserverSettings,
    Refusal,
    acknowledged,
    with_slash,
)
from maxdaq_tango.detectors.pilatus.simulator_work import Placing, SimulatorOptions, Work
from maxdaq_tango.detectors.simulation.account import AccountBook
from maxdaq_tango.detectors.simulation.delivery import Item
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.pattern import FramePattern

NO_FAULTS = Faults()
VERSION = "tvx-7.3.13-121212 (simulated)"
KILL_TIME_S = 0.02
"""From the kill to the word that it is done."""
_ASKS = frozenset({"Version", "CamSetup", "THread", "Df", "ExpEnd", "Telemetry", "ShowPID"})


class PilatusSimulator:
    """One camserver. `now` is monotonic and may start anywhere. Connections are numbers that the owner gives."""

    def __init__(
        self,
        options: SimulatorOptions,
        *,
        make_folder: Callable[[str], str] = lambda path: "",
        utc_now: Callable[[], datetime] = lambda: datetime.now(UTC),
        faults: Faults = NO_FAULTS,
    ) -> None:
        refuse_meaningless(faults)
        self.options, self.utc_now = options, utc_now
        self.faults = faults
        self.settings = CamserverSettings(options.generation, options.image_path, make_folder)
        self.pattern = FramePattern(options.seed, (options.rows, options.columns), "int32")
        self.accounts = AccountBook()
        self.outbox: deque[tuple[int, bytes]] = deque()
        """(connection, bytes) to send."""
        self.exposure: Exposure | None = None
        self.series = 0
        self.master: int | None = None
        """The connection in control."""
        self.last_image = ""
        self.error = faults.error_state
        self.signals_ignored = 0
        self._readers: dict[int, RequestReader] = {}
        self._waiting: deque[tuple[int, str]] = deque()
        self._busy: tuple[float, int, Callable[[float], Reply]] | None = None
        """(until, for whom, what then)."""
        self._in_work = False

    def set_faults(self, faults: Faults) -> None:
        """Break or mend it. Those of images count from the next start, the others at once."""
        refuse_meaningless(faults)
        self.faults = faults
        self.error = faults.error_state

    # --- connections --------------------------------------------------------------------------------------------------

    def connected(self, connection: int) -> None:
        """Somebody has called; the first gets control."""
        self._readers[connection] = RequestReader()
        if self.master is None:
            self.master = connection

    def disconnected(self, connection: int) -> None:
        """Control is free for the next who calls; an exposure goes on."""
        self._readers.pop(connection, None)
        if self.master == connection:
            self.master = None
        self._waiting = deque(item for item in self._waiting if item[0] != connection)

    def received(self, connection: int, data: bytes, now: float) -> None:
        """Bytes of a client. WireError: so many without an end that the line should be cut."""
        if self.exposure is not None and connection == self.master and protocol.kills(data):
            self._readers[connection] = RequestReader()  # a kill is all that this input achieves
            self._kill(now)
            return
        for line in self._readers[connection].feed(data):
            self._waiting.append((connection, line))
        self._work_off(now)

    # --- time ---------------------------------------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """When `step` should be called at the latest; None = not before something comes in."""
        times = [self._busy[0]] if self._busy else []
        exposure = self.exposure
        if exposure is not None and not self._in_work:
            due = exposure.killed_s if exposure.killed_s is not None else exposure.next_ready_s()
            times += [due] if due is not None else []
        return min(times, default=None)

    def step(self, now: float) -> Work | None:
        """Do what is due; an image that has to be made comes back as work, one at a time."""
        self._work_off(now)
        exposure = self.exposure
        if exposure is None or self._in_work:
            return None
        if exposure.killed_s is not None:
            if now >= exposure.killed_s:
                self._finish(exposure)
            return None
        due = exposure.next_ready_s()
        if due is None or now < due:
            return None
        number = exposure.take()
        deliveries = tuple(exposure.delivery.frame(number))
        if exposure.complete:
            deliveries += tuple(exposure.delivery.end())
        self.accounts.made(exposure.plan.series)
        for delivery in deliveries:
            if delivery.item is Item.IMAGE:
                self.accounts.offered(exposure.plan.series)
        self._in_work = True
        return Work(exposure, number, deliveries, self.pattern, self.utc_now())

    def placed(self, work: Work, placing: Placing) -> None:
        """A file is in its folder."""
        self.accounts.sent(work.exposure.plan.series, placing.delivery)
        if not placing.delivery.wrong_series:
            self.last_image = work.exposure.placed = placing.path

    def done(self, work: Work, now: float) -> None:
        """All files of a piece of work are there."""
        self._in_work = False
        exposure, plan = work.exposure, work.exposure.plan
        if any(delivery.item is Item.END for delivery in work.deliveries):
            self._tell(Reply(Code.EXPOSURE_FINISHED, True, exposure.placed))
        every = plan.acknowledge_every
        if every and not exposure.complete and (work.number + 1) % every == 0:
            self._tell(Reply(Code.EXPOSURE_FINISHED, True, exposure.placed))
        if exposure.killed_s is None and exposure.complete and not exposure.stuck:
            self._finish(exposure)

    def run_due(self, now: float) -> list[Placing]:
        """Everything that is due at `now`; the files that would be written."""
        files = []
        while (work := self.step(now)) is not None:
            for placing in work.placings():
                self.placed(work, placing)
                files.append(placing)
            self.done(work, now)
        return files

    # --- signals ------------------------------------------------------------------------------------------------------

    def edges(self, now: float, count: int, spacing_s: float) -> int:
        """Rising edges on the trigger input; how many were of use."""
        exposure = self._open_exposure()
        return sum(exposure.edge(now + n * spacing_s) for n in range(count)) if exposure else 0

    def gates(self, now: float, count: int, width_s: float, spacing_s: float) -> int:
        """Gates on the enable input; how many were of use."""
        exposure = self._open_exposure()
        return sum(exposure.gate(now + n * spacing_s, width_s) for n in range(count)) if exposure else 0

    def _open_exposure(self) -> Exposure | None:
        return self.exposure if self.exposure is not None and self.exposure.killed_s is None else None

    # --- commands -----------------------------------------------------------------------------------------------------

    def _work_off(self, now: float) -> None:
        while True:
            if self._busy is not None:
                until, connection, then = self._busy
                if now < until:
                    return
                self._busy = None
                self._say(connection, then(now))
            if not self._waiting:
                return
            connection, line = self._waiting.popleft()
            try:
                reply = self._command(connection, line, now)
            except Refusal as refusal:
                reply = refusal.reply
            if reply is not None:
                self._say(connection, reply)

    def _command(self, connection: int, line: str, now: float) -> Reply | None:
        """The answer; None when it comes later."""
        word, _, argument = line.partition(" ")
        name, argument = command_named(word), argument.strip()
        if name is None:
            raise Refusal(f"*** Unrecognized command: {word}", Code.UNKNOWN_COMMAND)
        if name in self.faults.failing_keys:
            raise Refusal(f"*** {name} failed (asked for)")
        if name in _ASKS:
            return self._ask(name)
        changes = bool(argument) or name in ("K", "camcmd", "ResetCam", "ResetModulePower", *LINES_EV)
        if changes and connection != self.master:
            raise Refusal("*** access denied", Code.NO_ACCESS)
        if name in ("K", "camcmd"):
            return Reply(Code.KILLED, False, "kill") if name == "K" else acknowledged(f"camcmd {argument}")
        if changes and self.exposure is not None:
            raise Refusal(f"*** {name}: not while exposing")
        if name == "ResetCam":
            self.error = ""
            return acknowledged("camera reset")
        if name in protocol.STARTS and argument:
            return self._start(Start(name), argument, connection, now)
        if name in protocol.SLOW and (argument or name in LINES_EV):
            self._trim(name, argument, connection, now)
            return None
        if name == "SetThreshold":
            return self.settings.threshold_told()
        if name == "SetEnergy":
            return self.settings.energy_told()
        return self.settings.answer(name, argument)

    def _trim(self, name: str, argument: str, connection: int, now: float) -> None:
        wanted = self.settings.checked_energy(name, argument)

        def done(now: float) -> Reply:
            self.settings.trim(*wanted)
            return acknowledged("/tmp/setthreshold.cmd")

        self._busy = (now + self.options.trim_time_s, connection, done)

    def _start(self, start: Start, typed: str, connection: int, now: float) -> Reply | None:
        reason = self.faults.refuse_arm or self.error
        if reason:
            raise Refusal(f"*** {reason}")
        self.settings.check_start()
        plan = self._plan(start, typed)
        if plan.name(0)[plan.name(0).rindex(".") :] not in WRITABLE:
            raise Refusal(f"*** {typed}: the simulator writes {', '.join(WRITABLE)}")
        if not self.faults.arm_delay_s:
            return self._begin(plan, now)
        self._busy = (now + self.faults.arm_delay_s, connection, lambda then: self._begin(plan, then))
        return None

    def _begin(self, plan: ExposurePlan, now: float) -> Reply:
        self.series = plan.series
        self.accounts.begin(self.series, plan.typed, restarted=plan.faults.restart_at)
        self.exposure = Exposure(plan, now)
        date = self.utc_now().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        sentence = SENTENCES.get(plan.start, f" Starting {plan.exposure_s:.7f} second background")
        return acknowledged(f"{sentence}: {date}")

    def _plan(self, start: Start, typed: str) -> ExposurePlan:
        settings = self.settings
        folder, _, name = typed.rpartition("/")
        text = ImageText(
            detector=self.options.detector,
            exposure_s=settings.exposure_s,
            period_s=settings.period_s,
            threshold_ev=settings.threshold_ev or 0.0,
            energy_ev=settings.energy_ev or 0.0,
            gain=settings.gain,
            image_path=settings.image_path,
            header_string=settings.header_string,
            mx=dict(settings.mx),
        )
        return ExposurePlan(
            series=self.series + 1,
            start=start,
            typed=name,
            folder=with_slash(folder)
            if folder.startswith("/")
            else settings.image_path + (f"{folder}/" if folder else ""),
            images=settings.images,
            exposure_s=settings.exposure_s,
            period_s=settings.period_s,
            delay_s=settings.delay_s,
            readout_s=settings.readout_s,
            gap_fill=settings.gap_fill,
            flag_bad_pixels=bool(settings.texts.get("LdBadPixMap", "")),
            acknowledge_every=settings.acknowledge_every,
            text=text,
            faults=self.faults,
        )

    def _ask(self, name: str) -> Reply:
        match name:
            case "Version":
                return Reply(Code.VERSION, True, f" Code release:  {VERSION}")
            case "CamSetup":
                return Reply(Code.CAMERA_SETUP, True, self._camera_setup())
            case "THread":
                if self.exposure is not None:
                    raise Refusal("*** THread: not while exposing", Code.TEMPERATURES)
                lines = (f"Channel {n}: Temperature = {t}C, Rel. Humidity = {h}%;" for n, t, h in _CHANNELS)
                return Reply(Code.TEMPERATURES, True, " " + "\n".join(lines))
            case "Df":
                return Reply(Code.DISK_FREE, True, " 104857600")
            case "ExpEnd":
                return Reply(Code.LAST_IMAGE, True, f" {self.last_image}")
            case "Telemetry":
                return Reply(Code.TELEMETRY, True, f" === Telemetry ===\n{self._camera_setup()}")
        return Reply(Code.PROCESS_ID, True, " PID = 4123")

    def _camera_setup(self) -> str:
        state = "exposing" if self.exposure is not None else f"error: {self.error}" if self.error else "idle"
        settings = self.settings
        return (
            f"Camera definition:\n {self.options.detector}\nCamera name: {self.options.detector}\n"
            f"Camera state: {state}\nTarget file: {self.last_image}\nControlling PID is: {self.master}\n"
            f"Exposure time: {settings.exposure_s:.7f}\nExposure period: {settings.period_s:.7f}\n"
            f"Image path: {settings.image_path}"
        )

    # --- ending -------------------------------------------------------------------------------------------------------

    def _kill(self, now: float) -> None:
        exposure = self.exposure
        assert exposure is not None
        if exposure.killed_s is None:
            exposure.killed_s = now + KILL_TIME_S
            self._tell(Reply(Code.KILLED, False, "kill"))
            if self.options.generation == 3:
                self._tell(Reply(Code.EXPOSURE_FINISHED, False, "*** killing exposure..."))

    def _finish(self, exposure: Exposure) -> None:
        self.exposure = None
        self.signals_ignored += exposure.signals_ignored
        self.accounts.finished(exposure.plan.series)
        faults = exposure.plan.faults
        if not faults.missing_end or exposure.killed_s is not None:
            for _ in range(2 if faults.duplicate_end else 1):
                self._tell(Reply(Code.EXPOSURE_FINISHED, True, exposure.placed))

    def _tell(self, reply: Reply) -> None:
        """An event, to whoever is in control now."""
        if self.master is not None:
            self._say(self.master, reply)

    def _say(self, connection: int, reply: Reply) -> None:
        if connection in self._readers:
            self.outbox.append((connection, reply.encode()))


_CHANNELS = ((0, 31.4, 22.1), (1, 27.9, 18.5), (2, 25.2, 3.1))
__all__ = ["NO_FAULTS", "PilatusSimulator", "Placing", "SimulatorOptions", "Start", "Work"]
