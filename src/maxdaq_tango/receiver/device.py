"""StreamReceiver: takes one detector's stream into a file and accounts for every frame.

The device holds no pixels but those of a small preview. It owns an engine process and serves what the engine tells; if
the engine dies the device says FAULT with the reason, and the next Prepare gets a new engine.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import msgspec
import tango
from tango.server import Device, command
from tango.utils import PyTangoThread

from maxdaq_tango.engine.client import EngineClient
from maxdaq_tango.engine.homecomer import Homecomer
from maxdaq_tango.engine.preview_memory import Previews
from maxdaq_tango.engine.protocol import Told
from maxdaq_tango.engine.recoverer import Recoverer
from maxdaq_tango.errors import ConfigurationError, MaxdaqError, StateError
from maxdaq_tango.files import refuse_taken
from maxdaq_tango.model import BUSY_STATES, Counters, Receipt, ScanMaster, StreamFormat
from maxdaq_tango.model import AcquisitionState as State
from maxdaq_tango.receiver.attributes import ReceiverAttributes
from maxdaq_tango.receiver.called_off import CalledOff
from maxdaq_tango.receiver.configuration import ReceiverConfiguration
from maxdaq_tango.receiver.disk_room import DiskRoom
from maxdaq_tango.receiver.health import EngineHealth, judge
from maxdaq_tango.receiver.outlook import Outlook
from maxdaq_tango.receiver.preview_attributes import PreviewAttributes, smaller
from maxdaq_tango.receiver.properties import ReceiverProperties
from maxdaq_tango.receiver.rates import RateMeter
from maxdaq_tango.receiver.requests import by_attributes, decoded, stream_format
from maxdaq_tango.receiver.status import last_run, missing_frames, running
from maxdaq_tango.tango_support.attributes import show_set_point, tellable
from maxdaq_tango.tango_support.event_pump import PUMP
from maxdaq_tango.tango_support.failures import tells_failures
from maxdaq_tango.tango_support.retirement import predecessor, retire
from maxdaq_tango.tango_support.server import run_server
from maxdaq_tango.tango_support.state import is_alarming, tango_state
from maxdaq_tango.tango_support.steps import Steps
from maxdaq_tango.tango_support.version import VersionAttribute
from maxdaq_tango.transaction.ports import ReceiverView
from maxdaq_tango.transaction.words import ExpectFields, PlaceFields, PrepareFields

log = logging.getLogger(__name__)

STEP_WAIT_S = 0.05  # enough to raise what is refused at once


class StreamReceiver(ReceiverProperties, ReceiverAttributes, PreviewAttributes, VersionAttribute, Device):
    """Receives one detector's stream, writes the file, and gives a receipt for every run."""

    # ---- life ----

    def init_device(self) -> None:
        """Read and check the properties; the engine is started in the background."""
        self._configuration: ReceiverConfiguration | None = None
        self._trouble = ""
        self._source, self._format, self._destination, self._expected_frames = "", StreamFormat.DECTRIS_V1.value, "", 0
        self._rates, self._run_id = RateMeter(), ""
        self._failure, self._called_off = "", CalledOff()
        self._triggered = False
        self._receipt: Receipt | None = None
        self._starting = True
        self._steps = Steps(PyTangoThread)
        self._predecessor = predecessor(self.get_name())
        wanted = self.previews.settings if hasattr(self, "_engine") else None  # Init does not write memorised values
        self._engine = EngineClient(self.get_name(), self._hear)
        if wanted is not None:
            self.previews.settings = wanted
        self._recoverer, self._recovery_seen = Recoverer(self.get_name()), False
        self._disk_room, self._outlook = DiskRoom(), Outlook()
        self._homecomer = Homecomer(self.get_name())
        try:
            super().init_device()
            self._configuration = self.read_properties()
        except (MaxdaqError, tango.DevFailed, ValueError, TypeError) as error:
            text = error.args[0].desc if isinstance(error, tango.DevFailed) else str(error)
            self._trouble = f"The properties of this device cannot work: {text}"
            self._starting = False
            log.error("%s: %s", self.get_name(), self._trouble)
        for name, value in (
            ("Source", ""),
            ("Format", self._format),
            ("DestinationFilename", ""),
            ("ExpectedFrames", 0),
            ("PreviewSize", self.previews.settings.size_px),
            ("PreviewMethod", self.previews.settings.method.value),
        ):
            show_set_point(self, name, value)
        PUMP.watch(self, self._measure)
        if self._configuration is not None:
            self._disk_room.start(self._configuration.roots)
            self._steps.run("start the engine", self._begin, 0.0)

    def delete_device(self) -> None:
        """End the engine; a run under way is closed in order."""
        PUMP.forget(self)
        engine, steps, disk_room = self._engine, self._steps, self._disk_room
        recoverer, homecomer = self._recoverer, self._homecomer

        def end() -> None:
            disk_room.close()
            homecomer.close()
            recoverer.close()
            engine.close()
            steps.close()

        retire(self.get_name(), end)

    def _begin(self) -> None:
        try:
            self._start_engine()
        finally:
            if (configuration := self._configuration) is not None:
                spill = configuration.spill_directory
                if configuration.recover_at_start:
                    self._recoverer.start((*configuration.roots, *([spill] if spill else [])))
                if spill:
                    self._homecomer.start(spill, configuration.roots)

    def _start_engine(self) -> None:
        try:
            self._predecessor()
            self._engine.start()
        except MaxdaqError as error:
            self._failure = str(error)
            raise
        finally:
            self._starting = False

    # ---- plain state, read by attributes and by the event pump ----

    @property
    def counters(self) -> Counters:
        """The engine's live account, from shared memory."""
        return self._engine.counters()

    @property
    def previews(self) -> Previews:
        """Small pictures of the newest frame, from shared memory."""
        return self._engine.previews

    def set_preview(self, **changes: Any) -> None:
        """From the next picture on."""
        self.previews.settings = msgspec.structs.replace(self.previews.settings, **changes)

    @property
    def acquisition_state(self) -> State:
        """The engine's; CONFIGURING while a Prepare is still on its way to it."""
        state = self._engine.state
        if self._trouble:
            return State.FAULT
        if state not in BUSY_STATES and self._steps.is_running("Prepare"):
            return State.CONFIGURING
        return state

    def dev_state(self) -> tango.DevState:
        """From the table in tango_support/state.py."""
        alarmed = bool(self._failure) or is_alarming(self._receipt.verdict if self._receipt else None)
        stalled = self.acquisition_state in BUSY_STATES and self.counters.stalled_ms > 0 and not self._triggered
        stalled = stalled or self._engine.silent_s > 0
        return tango_state(self.acquisition_state, starting=self._starting, alarmed=alarmed, stalled=stalled)

    @tellable
    def dev_status(self) -> str:
        """One sentence, the reasons after it."""
        if self._trouble:
            return self._trouble
        if self._starting:
            return "Starting the receiver engine"
        state, message = self.acquisition_state, self._engine.message
        if state in BUSY_STATES:
            return running(
                state,
                message,
                self.counters,
                triggered=self._triggered,
                silent_s=self._engine.silent_s,
                warnings=self._outlook.warnings,
            )
        if self._failure:
            return self._failure
        if state is State.FAULT:
            return message or "The receiver engine failed"
        return "\n".join(
            [*last_run(self._receipt, self._outlook.warnings), *self._recovery_lines(), *self._homecomer.problems]
        )

    def _recovery_lines(self) -> list[str]:
        """Until somebody has acknowledged it, or the next run begins."""
        told = not self._recovery_seen and self._recoverer.is_over and self._recoverer.is_worth_telling
        return [f"At start-up: {self._recoverer.text}"] if told else []

    def _recovery(self) -> str:
        configuration = self._configuration
        if configuration is not None and not configuration.recover_at_start:
            return "Off: property RecoverAtStart is false"
        return self._recoverer.text

    def _missing_frames(self) -> str:
        return missing_frames(self._receipt, self.counters)

    def _hear(self, told_: Told) -> None:
        # From the engine's reader thread: plain Python only, the pump tells Tango.
        if told_.receipt is not None:
            self._receipt = told_.receipt
            self._outlook.learn(told_.receipt, self.counters)
            if told_.receipt.data_files_spilled:
                self._homecomer.look()

    def _measure(self) -> None:
        self._rates.update(self.counters, time.monotonic())

    def _health(self) -> str:
        engine = self._engine
        health = judge(
            trouble=self._trouble,
            starting=self._starting,
            preparing=self._steps.is_running("Prepare"),
            state=self.acquisition_state,
            failure=self._failure or (engine.message if engine.state is State.FAULT else ""),
            engine=EngineHealth(alive=engine.is_alive, pid=engine.pid or 0, silent_s=int(engine.silent_s)),
            roots=self._disk_room.rooms(),
        )
        return msgspec.json.encode(health).decode()

    def _view(self) -> str:
        # State before counters: a run that looks finished then has its final counts.
        state, message = self.acquisition_state, self._engine.message
        view = ReceiverView(
            state=state,
            run_id=self._run_id,
            message=message,
            warnings=self._outlook.warnings,
            need=self._outlook.need,
            counters=self.counters,
        )
        return msgspec.json.encode(view).decode()

    def _set(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def _set_format(self, text: str) -> None:
        self._format = stream_format(text, self.get_name()).value

    # ---- commands ----

    @command(
        dtype_in=str,
        doc_in=f"JSON: {', '.join(PrepareFields.__struct_fields__)}. Empty text: take the attributes.",
        dtype_out="int64",
        doc_out="Number of the step; its outcome is in StepResults when it takes longer than PrepareWait.",
    )
    @tells_failures
    def Prepare(self, text: str) -> int:
        """Make the file and connect to the source. When this returns within PrepareWait, both are done."""
        configuration = self._working()
        fields = self._fields(text)
        if self.acquisition_state in BUSY_STATES:
            raise StateError(
                "Prepare",
                of=self.get_name(),
                answer=f"a run is under way ({self.acquisition_state.value})",
                accepted="Prepare when State has left RUNNING; Stop or Abort end the run",
            )
        request = fields.request(**configuration.own_fields())
        self._run_id, self._receipt, self._failure = request.run_id, None, ""
        self._recovery_seen = self._recoverer.is_over
        self._triggered = request.triggered
        self._called_off.begin()

        def prepare() -> None:
            try:
                self._outlook.judge(request, configuration.policies)
                self._called_off.prepare(self._engine, request)
            except MaxdaqError as error:
                self._failure = str(error)
                raise

        return self._steps.run("Prepare", prepare, configuration.prepare_wait_s)

    @command(
        display_level=tango.DispLevel.EXPERT,
        dtype_in=str,
        doc_in=f"JSON: {', '.join(PlaceFields.__struct_fields__)}.",
        dtype_out="int64",
        doc_out="Number of the step; its outcome is in StepResults.",
    )
    @tells_failures
    def CheckDestination(self, text: str) -> int:
        """Is anything in the way of these files? For whoever arms: makes nothing, and is asked before all else."""
        configuration, places = self._working(), decoded("CheckDestination", text, PlaceFields, self.get_name())
        return self._steps.run("CheckDestination", lambda: refuse_taken(**configuration.files_of(places)), STEP_WAIT_S)

    @command(
        display_level=tango.DispLevel.EXPERT,
        dtype_in=str,
        doc_in=f"JSON: {', '.join(ScanMaster.__struct_fields__)}.",
        dtype_out="int64",
        doc_out="Number of the step; its outcome is in StepResults.",
    )
    @tells_failures
    def WriteScanMaster(self, text: str) -> int:
        """For DAQController, when a run is over: write the file that links those of all detectors."""
        configuration, master = self._working(), decoded("WriteScanMaster", text, ScanMaster, self.get_name())
        roots = configuration.roots
        return self._steps.run("WriteScanMaster", lambda: self._engine.link(master, roots), STEP_WAIT_S)

    @command(dtype_in=str, doc_in='JSON {"series": text or null, "frames": number or null}')
    @tells_failures
    def Expect(self, text: str) -> None:
        """Tell what the armed detector said it will send."""
        self._working()
        fields = decoded("Expect", text or "{}", ExpectFields, self.get_name())
        self._engine.expect(fields.series, fields.frames, timeout_s=2.5)

    @command
    @tells_failures
    def Stop(self) -> None:
        """The source has been stopped: take what still comes, then close the file. Harmless when idle."""
        self._engine.stop(timeout_s=2.5)

    @command(
        display_level=tango.DispLevel.EXPERT,
        dtype_in=str,
        doc_in="Why no more will come; it goes into the receipt.",
    )
    @tells_failures
    def Finish(self, reason: str) -> None:
        """For whoever watches the detector: it sends no more, and nobody stopped it. As Stop, but never ABORTED."""
        self._engine.stop(timeout_s=2.5, finished=reason or "the source has finished")

    @command(dtype_in=str, doc_in="The reason; it goes into the receipt. May be empty.")
    @tells_failures
    def Abort(self, reason: str) -> None:
        """Close the file now with what is there. Harmless when idle."""
        told = reason or "Abort was asked of the receiver"
        self._called_off.abort(self._engine, told, lambda: self._steps.is_running("Prepare"))

    @command(
        dtype_in=int,
        doc_in="Largest side in pixels, 16 to 1024",
        dtype_out=(float,),
        doc_out="Frame number, rows, columns, then the pixels row by row; empty before the first frame.",
    )
    @tells_failures
    def PreviewOf(self, size: int) -> Any:
        """Preview made smaller, by max, for one viewer: what others see stays as it is."""
        return smaller(self.previews, size, self.get_name())

    @command
    @tells_failures
    def Reset(self) -> None:
        """Acknowledge a failure."""
        self._working()
        if self.acquisition_state in BUSY_STATES:
            raise StateError("Reset", of=self.get_name(), answer="a run is under way", accepted="Stop or Abort first")
        self._failure, self._receipt, self._recovery_seen = "", None, self._recoverer.is_over
        self._engine.reset()

    @command(display_level=tango.DispLevel.EXPERT)
    @tells_failures
    def RestartEngine(self) -> None:
        """Kill the engine process and start another: the way out of a hang. A run under way is lost as it stands."""
        self._working()
        self._engine.kill("was killed by signal 9, as RestartEngine was asked")
        self._failure = ""
        self._starting = True
        self._steps.run("restart the engine", self._restart, 0.0)

    def _restart(self) -> None:
        self._engine.wait_gone(5.0)
        self._start_engine()
        self._engine.reset()

    def _working(self) -> ReceiverConfiguration:
        if self._configuration is None:
            raise ConfigurationError(
                "use the receiver", of=self.get_name(), answer=self._trouble, accepted="Init after that"
            )
        return self._configuration

    def _fields(self, text: str) -> PrepareFields:
        if not text.strip():
            return by_attributes(self._source, self._format, self._destination, self._expected_frames, self.get_name())
        return decoded("Prepare", text, PrepareFields, self.get_name())


def main() -> None:
    """Entry point of the server."""
    run_server(StreamReceiver)


if __name__ == "__main__":
    main()
