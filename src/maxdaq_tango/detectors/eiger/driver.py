"""Our words into SIMPLON's: one driver for Eiger, Eiger2 and Pilatus4, whose differences are found from their keys.

What published simulators get wrong and this driver puts up with is listed here and nowhere else:

1. No version endpoint (tickit-devices): the version is proved by the state it serves (`SimplonClient.connect`).
2. The end message comes twice (tickit-devices, after `cancel` and again after `disarm`): the receiver's matter.
3. `arm` answers with an id that the stream does not carry (tickit-devices says 2 for ever): `trust_series_id=False`.
4. `ready` is said for `idle` (eiger-simulator, from `initialize` on): noticed by its being ready after `initialize` or
   `disarm`; from then on it counts as armed only if this driver armed it.
5. A `trigger` that is cancelled or aborted is never answered (tickit-devices): its connection is shut after a while.

Source: SIMPLON API reference 1.6 and 1.8, see `protocol.py` for the grammar.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from maxdaq_tango.detectors.contract import ArmedSeries, DetectorIdentity, DetectorReport, HardwareState, Range
from maxdaq_tango.detectors.eiger import protocol
from maxdaq_tango.detectors.eiger.client import SimplonClient
from maxdaq_tango.detectors.eiger.configuration import EigerConfiguration
from maxdaq_tango.detectors.eiger.protocol import DetectorCommand, Module, Parameter, State, Task
from maxdaq_tango.errors import DetectorError, DetectorOffline, DetectorRefused, DetectorTimeout
from maxdaq_tango.model import AcquisitionSettings, StreamDescription, StreamFormat

TRIGGER_GRACE_S = 1.0
"""How long an ended trigger may take to come back by itself."""
POLL_S = 0.02
ABORT_PATIENCE_S = 5.0
"""How long an abort insists on a detector that does not answer."""
ABORT_AGAIN_S = 0.2
REPORT_TIMEOUT_S = 2.0
"""A look at the hardware that takes longer says OFFLINE; panels poll it."""
HARDWARE_STATES: dict[str, HardwareState] = {
    State.NA: HardwareState.NOT_INITIALISED,
    State.INITIALIZE: HardwareState.CONFIGURING,
    State.IDLE: HardwareState.IDLE,
    State.CONFIGURE: HardwareState.CONFIGURING,
    State.READY: HardwareState.ARMED,
    State.ACQUIRE: HardwareState.ACQUIRING,
    State.TEST: HardwareState.CONFIGURING,
    State.ERROR: HardwareState.ERROR,
}

_FREE = "state 'idle': stop or abort first, connect when it is 'na'"


class EigerDriver:
    """One SIMPLON detector at one address; fulfils `DetectorDriver`.

    `stop`, `abort` and `report` may be called from any thread at any time, the rest by one thread at a time. INTERNAL
    series are `ints` with a single trigger: the detector waits for one `trigger()` after `arm()`. Series with an
    exposure for each trigger are `inte`.
    """

    takes_exposures = True

    def __init__(
        self,
        host: str,
        port: int = 80,
        *,
        api_version: str = "auto",
        stream_format: StreamFormat | str = "auto",
        stream_host: str = "",
        legacy_port: int = protocol.LEGACY_STREAM_PORT,
        cbor_port: int = protocol.CBOR_STREAM_PORT,
        header_detail: str = "all",
        monitor: bool | None = None,
        trust_series_id: bool = True,
    ) -> None:
        """Nothing is sent before `connect`.

        `stream_format` auto takes v2 where the detector has it; `stream_host` "" means the same host as HTTP;
        `monitor` None leaves the preview module as it is found; `trust_series_id` False believes the first series that
        the stream announces instead of the answer to `arm`.
        """
        self._client = SimplonClient(host, port, api_version)
        self._configuration = EigerConfiguration(self._client)
        self._wanted_format = None if stream_format == "auto" else StreamFormat(stream_format)
        self._format = StreamFormat.DECTRIS_V1
        self._stream_host = stream_host or host
        self._stream_ports = {StreamFormat.DECTRIS_V1: legacy_port, StreamFormat.DECTRIS_V2: cbor_port}
        self._header_detail = header_detail
        self._monitor = monitor
        self._trust_series_id = trust_series_id
        self._ready_means_idle = False
        self._arming = False
        self._armed = False
        self._triggers_left = 0
        self._ended = threading.Event()  # somebody ended the armed series; the next arm clears it
        self._trigger_free = threading.Lock()

    # --- getting to know it -------------------------------------------------------------------------------------------

    def connect(self) -> DetectorIdentity:
        """Find the API version, initialise if the state is `na` (up to minutes), and switch on the stream alone.

        A series under way goes on, but a `trigger` that waits for it in another thread is broken off.
        """
        self._client.connect()
        try:
            state = self._client.state()
            if state == State.INITIALIZE:
                # Somebody else's, or that of our own device before its restart. What is asked meanwhile is refused,
                # and would be remembered as not existing.
                raise self._wrong_state("connect", state, "any other state; it is tried again")
            if state == State.NA:
                self.initialise()
            self._use_stream()
            self._configuration.everything()  # finds out which keys this model lacks, so that no Arm waits for that
            value = self._configuration.value
            return DetectorIdentity(
                model=str(value("description", "")),
                serial_number=str(value("detector_number", "")),
                firmware=str(value("eiger_fw_version") or value("software_version", "")),
                api_version=self._client.version,
            )
        except BaseException:
            self._client.close()
            raise

    def initialise(self) -> None:
        """Run the detector's own `initialize`: every setting gets its default, a running series is lost."""
        self._client.command(DetectorCommand.INITIALIZE)
        self._armed = False
        self._ready_means_idle = self._client.state() == State.READY

    def close(self) -> None:
        """Let go of the connections; the detector is left as it is."""
        self._client.close()

    def limits(self) -> dict[str, Range]:
        """Limits by our names, as the detector stated them when they were last read or changed."""
        return self._configuration.limits()

    def readout_time_s(self) -> float:
        """Dead time between two frames, 0 where the detector states none."""
        return self._configuration.number("detector_readout_time")

    def parameters(self) -> tuple[str, ...]:
        """Names for `parameter` and `set_parameter`: SIMPLON's own, those of other modules as `<module>/<key>`."""
        return self._configuration.names()

    def parameter(self, name: str) -> Parameter:
        """A parameter as the detector has it now: value, type, limits, unit. `energy_ev` and the like work as well."""
        return self._configuration.read(name)

    def set_parameter(self, name: str, value: Any) -> Any:
        """Set one parameter and return what the detector made of it.

        Energies and thresholds are left alone when they would hardly change, because setting them takes seconds. A dict
        for `stream/header_appendix` travels as JSON text, as MAX IV's clients send `{"filename": ..., "rotate": ...}`.
        `stream/header_detail` is the one of the next series as well.
        """
        made = self._configuration.set(name, value)
        if name == "stream/header_detail":
            self._header_detail = str(made)
        return made

    def remembered(self, name: str) -> Parameter:
        """As `parameter`, from memory when nothing that this driver did can have changed it."""
        return self._configuration.remembered(name)

    def status(self, key: str) -> Parameter:
        """A status value of the detector, `temperature` for one, or of another module, `stream/state` for one;
        `DetectorRefused` where it has none of that name."""
        return self._client.read(*self._configuration.resolve_status(key))

    def monitor_image(self, timeout_s: float = 0.5) -> bytes:
        """The newest frame of the preview module as TIFF; `DetectorTimeout` when none came."""
        return self._client.monitor_image(timeout_s)

    # --- the series ---------------------------------------------------------------------------------------------------

    def configure(self, settings: AcquisitionSettings) -> StreamDescription:
        """Apply the settings, read them back, and say what will be sent. A series left armed is disarmed first."""
        self._leave_ready()
        configuration = self._configuration
        configuration.apply(settings)
        self._use_stream()  # another client may have switched it off, or to another format, since the last series
        return StreamDescription(
            sources=(f"tcp://{self._stream_host}:{self._stream_ports[self._format]}",),
            stream_format=self._format,
            frame_count=settings.frame_count,
            frame_period_s=configuration.number("frame_time"),
            shape=configuration.image_shape(self._format),
            dtype=configuration.pixel_type(),
            metadata=configuration.everything(),
        )

    def _use_stream(self) -> None:
        self._format = self._configuration.use_stream(self._wanted_format, self._header_detail, monitor=self._monitor)

    def _leave_ready(self) -> None:
        if self._trigger_free.locked():  # the one thing that eiger-simulator's state does not show
            raise DetectorRefused("configure", of=self._client.base_url, answer="a trigger is running", accepted=_FREE)
        state = self._client.state()
        if state == State.READY:
            self._client.command(DetectorCommand.DISARM)
            self._armed = False
            state = self._client.state()
            self._ready_means_idle = state == State.READY
        if state != State.IDLE and not (state == State.READY and self._ready_means_idle):
            raise self._wrong_state("configure", state, _FREE)

    def arm(self) -> ArmedSeries:
        """Arm; the start message leaves before this returns. Refused while a series is under way."""
        state = self._client.state()
        if state != State.IDLE and not (state == State.READY and self._ready_means_idle and not self._armed):
            raise self._wrong_state("arm", state, _FREE)
        nimages, ntrigger = (round(self._configuration.number(key)) for key in ("nimages", "ntrigger"))
        self._ended.clear()
        self._arming = True
        try:
            answer = self._client.command(DetectorCommand.ARM)
            self._armed, self._triggers_left = True, ntrigger
        finally:
            self._arming = False
        if self._ended.is_set():
            self._finish(0)  # the detector may have taken the abort before the arm
            raise DetectorRefused("arm", of=self._client.base_url, answer="ended meanwhile", accepted="arm again")
        return ArmedSeries(series=self._series(answer), frame_count=nimages * ntrigger)

    def _series(self, answer: bytes) -> str | None:
        """Identity on the wire: the number that arm tells for v1, the unique id that only the status tells for v2."""
        if not self._trust_series_id:
            return None
        if self._format is StreamFormat.DECTRIS_V1:
            number = protocol.decode_sequence_id(answer)
            return None if number is None else str(number)
        if not self._client.exists(Module.DETECTOR, "series_unique_id", Task.STATUS):
            return None
        return str(self.status("series_unique_id").value) or None

    def trigger(self, exposure_time_s: float | None = None) -> None:
        """One software trigger; returns after its last frame, or quietly when the series is stopped or aborted.

        In `inte` it takes an exposure; None is the count_time that was configured.
        """
        client, number = self._client, self._configuration.number
        mode = self._configuration.value("trigger_mode")
        if mode not in protocol.SOFTWARE_MODES:
            raise DetectorRefused(
                "trigger", of=client.base_url, answer=f"trigger_mode is {mode!r}", accepted="ints, inte"
            )
        if not self._trigger_free.acquire(blocking=False):
            raise DetectorRefused("trigger", of=client.base_url, answer="an earlier trigger still runs")
        try:
            state = client.state()
            if state != State.READY or (self._ready_means_idle and not self._armed):
                raise self._wrong_state("trigger", state, "'ready': arm first")
            delay_s = number("trigger_start_delay")
            longest_s = max(number("frame_time"), exposure_time_s or 0.0)
            timeout_s = protocol.trigger_timeout_s(longest_s, round(number("nimages")), delay_s)
            deadline = time.monotonic() + timeout_s
            try:
                self._fire(mode, exposure_time_s, delay_s, timeout_s)
                # Before 2020.2.4 ints answered early with a start delay.
                self._wait_while_acquiring("trigger", deadline)
            except DetectorError:
                if not self._ended.is_set():
                    raise
            self._triggers_left -= 1
            self._armed = self._armed and self._triggers_left > 0
        finally:
            self._trigger_free.release()

    def _fire(self, mode: str, exposure_time_s: float | None, delay_s: float, timeout_s: float) -> None:
        if mode != protocol.VendorTriggerMode.INTE:
            self._client.command(DetectorCommand.TRIGGER, timeout_s=timeout_s)
            return
        seconds = self._configuration.number("count_time") if exposure_time_s is None else exposure_time_s
        over_s = time.monotonic() + delay_s + seconds
        self._client.command(DetectorCommand.TRIGGER, argument=seconds, timeout_s=timeout_s)
        # inte may answer before it exposes, and its state is then not yet `acquire`.
        self._ended.wait(max(0.0, over_s - time.monotonic()))

    def stop(self) -> None:
        """End after the running frame; returns when the detector has finished with it. Harmless when idle."""
        state = self._client.state()
        if not self._has_series(state) and not self._arming:
            return
        self._ended.set()
        frame_time_s = self._configuration.number("frame_time")
        if state == State.ACQUIRE:
            self._end(DetectorCommand.CANCEL)
            self._wait_while_acquiring("stop", time.monotonic() + frame_time_s + protocol.TRIGGER_MARGIN_S)
        self._finish(frame_time_s + TRIGGER_GRACE_S)

    def abort(self) -> None:
        """End at once, whatever the detector is doing. Harmless when idle.

        One that was armed here and cannot be reached is tried again for `ABORT_PATIENCE_S`: nobody else would come to
        disarm it later.
        """
        deadline, pause = time.monotonic() + ABORT_PATIENCE_S, threading.Event()
        while True:
            try:
                self._abort()
            except DetectorOffline:
                if not self._armed or time.monotonic() > deadline:
                    raise
                pause.wait(ABORT_AGAIN_S)
            else:
                return

    def _abort(self) -> None:
        state = self._client.state()
        if not self._has_series(state) and not self._arming and state != State.ERROR:
            return
        self._ended.set()
        self._end(DetectorCommand.ABORT)
        self._finish(TRIGGER_GRACE_S)

    def _has_series(self, state: str) -> bool:
        if state == State.READY and self._ready_means_idle:
            return self._armed
        return state in protocol.BUSY_STATES

    def _end(self, command: DetectorCommand) -> None:
        """Give the command. A refusal does not matter when the series has ended meanwhile, by itself or otherwise."""
        try:
            self._client.command(command)
        except DetectorRefused:
            if self._has_series(self._client.state()):
                raise

    def _finish(self, patience_s: float) -> None:
        """Disarm what cancel or abort left armed, and see to it that a waiting trigger comes back."""
        if self._client.state() in protocol.BUSY_STATES:
            self._end(DetectorCommand.DISARM)
        self._armed = False
        if self._trigger_free.acquire(timeout=patience_s):
            self._trigger_free.release()
        else:
            self._client.interrupt()

    def _wait_while_acquiring(self, asked: str, deadline: float) -> None:
        pause = threading.Event()  # never set: SIMPLON announces nothing, its state must be asked for
        while (state := self._client.state()) == State.ACQUIRE:
            if time.monotonic() > deadline:
                raise DetectorTimeout(asked, of=self._client.base_url, answer=f"its state is still {state!r}")
            pause.wait(POLL_S)

    def _wrong_state(self, asked: str, state: str, accepted: str) -> DetectorRefused:
        return DetectorRefused(asked, of=self._client.base_url, answer=f"its state is {state!r}", accepted=accepted)

    # --- looking ------------------------------------------------------------------------------------------------------

    def report(self) -> DetectorReport:
        """One look at the state; a detector that does not answer within 2 s is OFFLINE."""
        try:
            return self._look()
        except DetectorRefused as error:
            return DetectorReport(state=HardwareState.ERROR, message=str(error))
        except DetectorError as error:
            return DetectorReport(state=HardwareState.OFFLINE, message=str(error))

    def _look(self) -> DetectorReport:
        state = self._client.state(REPORT_TIMEOUT_S)
        hardware = HARDWARE_STATES.get(state, HardwareState.ERROR)
        if hardware is HardwareState.ARMED and not self._has_series(state):
            hardware = HardwareState.IDLE
        ready = hardware is HardwareState.ARMED and not self._trigger_free.locked()
        ready = ready and self._configuration.value("trigger_mode") in protocol.SOFTWARE_MODES
        message = state
        if hardware is HardwareState.ERROR and self._client.exists(Module.DETECTOR, "error", Task.STATUS):
            message = f"{state}: {self.status('error').value}"
        return DetectorReport(state=hardware, message=message, ready_for_trigger=ready)
