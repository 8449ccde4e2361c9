"""Our words into slsdet's: one driver for a Jungfrau of any number of modules and its receiver program.

What a series is here: `rx_start` on the receiver program, exposures, `rx_stop`, which sends the end messages. Nothing
else does, so `rx_stop` is called when the detector has finished, by whoever notices it: `trigger`, or `report` after
external triggers.

    INTERNAL              AUTO_TIMING, all frames after one `start`
    SOFTWARE              AUTO_TIMING, one `start` for each trigger
    EXTERNAL_MULTI        TRIGGER_EXPOSURE, `start` at arm
    EXTERNAL_MULTI_GATE   refused: the exposure of a Jungfrau is not gated

The stream has no identity of a series; frames count on over all of them.

Source: slsDetectorPackage 9 and 10, see `protocol.py`.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import msgspec

from maxdaq_tango.detectors.contract import ArmedSeries, DetectorIdentity, DetectorReport, HardwareState, Range
from maxdaq_tango.detectors.jungfrau.adapter import LIBRARY, SlsAdapter
from maxdaq_tango.detectors.jungfrau.call_thread import CallsBusy
from maxdaq_tango.detectors.jungfrau.parameters import JungfrauParameters, sources_of
from maxdaq_tango.detectors.jungfrau.protocol import BUSY, FINISHED, DetectorType, RunStatus, TimingMode, joint_status
from maxdaq_tango.errors import ConfigurationError, DetectorError, DetectorOffline, DetectorRefused, DetectorTimeout
from maxdaq_tango.model import AcquisitionSettings, StreamDescription, StreamFormat, TriggerMode
from maxdaq_tango.model.conversion import RAW, Conversion

POLL_S = 0.02
REPORT_TIMEOUT_S = 2.0
TRIGGER_MARGIN_S = 10.0
STOP_S = 5.0
"""Longest time until a stopped detector says so."""
RX_STOP_S = 30.0
"""The receiver program waits for packets that are late, and empties its buffers."""
TIMING = {
    TriggerMode.INTERNAL: TimingMode.AUTO_TIMING,
    TriggerMode.SOFTWARE: TimingMode.AUTO_TIMING,
    TriggerMode.EXTERNAL_MULTI: TimingMode.TRIGGER_EXPOSURE,
}


class JungfrauDriver:
    """Fulfils `detectors.contract.DetectorDriver`."""

    takes_exposures = True

    def __init__(
        self,
        host: str,
        *,
        config_file: str = "",
        receiver_host: str = "",
        stream_host: str = "",
        library: str = LIBRARY,
        memory_number: int = 0,
        memory_name: str = "",
        allow_fix_g0: bool = False,
        power_at_connect: bool = False,
        dead_time_s: float = 0.0,
    ) -> None:
        """Of the adapter: `host`, `config_file`, `library`, `memory_number` and `memory_name`.

        `receiver_host` is set as `rx_hostname` where given; `stream_host` is where the receiver sees the stream, else
        it is what the detector has as `rx_hostname`. `power_at_connect`: the chip is powered when the detector is first
        reached, unless heat has switched it off. `dead_time_s` lies at least between two exposures.
        """
        self._adapter = SlsAdapter(
            host, config_file=config_file, library=library, memory_number=memory_number, memory_name=memory_name
        )
        self._parameters = JungfrauParameters(self._adapter, allow_fix_g0=allow_fix_g0)
        self._receiver_host, self._stream_host = receiver_host, stream_host
        self._power_at_connect, self._dead_time_s = power_at_connect, dead_time_s
        self.conversion: Conversion = RAW
        """What receivers shall make of the next series."""
        self._lock = threading.RLock()  # guards what follows, and what begins and ends a series
        self._armed: AcquisitionSettings | None = None
        self._configured: AcquisitionSettings | None = None
        self._started = False
        self._triggers_left = 0
        self._delay_s = 0.0
        self._trigger_free = threading.Lock()
        self._ended = threading.Event()
        self._overheated = ""
        self._seen = DetectorReport(state=HardwareState.OFFLINE)
        self.frames_caught: list[int] = []
        """Of each port, in the last series that has ended."""
        self.packets_missing: list[int] = []

    # --- getting to know it -------------------------------------------------------------------------------------------

    def connect(self) -> DetectorIdentity:
        """Attach, unless it is attached and answers. A series under way goes on."""
        adapter = self._adapter
        try:
            attached = self._answers()
            if not attached:
                adapter.connect()
                self._armed, self._started = None, False  # of a detector that was gone meanwhile
                self._seen = DetectorReport(state=HardwareState.IDLE, message="connected")
                if self._receiver_host:
                    adapter.set("rx_hostname", self._receiver_host)
            kind = adapter.get("type")
            if kind is not DetectorType.JUNGFRAU:
                raise DetectorRefused("connect", of=adapter.host, answer=f"it is of type {kind}", accepted="JUNGFRAU")
            self.watch()
            if self._power_at_connect and not attached and not self._overheated:
                self._parameters.set("powerchip", True)
            versions = {name: str(self._parameters.told(name)) for name in ("detectorserverversion", "clientversion")}
            return DetectorIdentity(
                model="JUNGFRAU",
                serial_number=str(self._parameters.told("serialnumber")),
                firmware=str(self._parameters.told("firmwareversion")),
                api_version=f"server {versions['detectorserverversion']}, client {versions['clientversion']}",
            )
        except CallsBusy:
            raise  # a call of ours is under way on a detector that is there
        except BaseException:
            adapter.close()
            raise

    def close(self) -> None:
        """Let go of the library; the detector is left as it is."""
        self._adapter.close()
        self._armed, self._started = None, False

    def limits(self) -> dict[str, Range]:
        """The package states none for times."""
        self._must_be_connected("read the limits")
        return {"exposure_time_s": Range(), "trigger_count": Range(1), "frames_per_trigger": Range(1)}

    def readout_time_s(self) -> float:
        """The package does not tell it: what this driver was told."""
        return self._dead_time_s

    def parameter(self, name: str) -> Any:
        """A setting as the detector has it now, JSON values; members of enums by name."""
        return self._parameters.read(name)

    def set_parameter(self, name: str, value: Any) -> Any:
        """Set one and return what reads back. DetectorRefused for FIX_G0, unless this driver was told to allow it."""
        return self._parameters.set(name, value)

    def watch(self) -> None:
        """Look at what can switch the chip off: `report` says ERROR from then on, until it is cleared."""
        event = self._parameters.told("temp_event")
        self._overheated = "" if not event else "temperature event: the chip is switched off"

    def clear_temperature_event(self) -> None:
        """Acknowledge it; the chip stays off until `powerchip` is set."""
        self._adapter.set("temp_event", 0)
        self.watch()

    # --- the series ---------------------------------------------------------------------------------------------------

    def configure(self, settings: AcquisitionSettings) -> StreamDescription:
        """Apply the settings, read them back, and say what will be sent. A series left armed is taken back first."""
        adapter = self._adapter
        self._must_be_connected("configure")
        try:
            self.conversion.check()
        except ConfigurationError as error:
            raise DetectorRefused(error.asked, of=adapter.host, answer=error.answer, accepted=error.accepted) from None
        timing = TIMING.get(settings.trigger_mode)
        if timing is None:
            accepted = ", ".join(TIMING)
            raise DetectorRefused(f"configure trigger mode {settings.trigger_mode}", of=adapter.host, accepted=accepted)
        with self._lock:
            self._must_be_free("configure")
            if self._armed is not None:
                self._end_series()
            self._must_not_expose("configure")
            self._parameters.must_be_harmless()
            bursts = settings.trigger_mode is TriggerMode.EXTERNAL_MULTI
            internal = settings.trigger_mode is TriggerMode.INTERNAL
            frames = settings.frame_count if internal else settings.frames_per_trigger
            self._parameters.apply(
                timing=timing,
                frames=frames,
                triggers=settings.trigger_count if bursts else 1,
                exposure_s=settings.exposure_time_s,
                period_s=self._period_s(settings),
            )
            self._configured = settings
        metadata = self._parameters.everything()
        self._delay_s = float(metadata.get("delay") or 0.0)
        sources, shape = sources_of(metadata, self._stream_host, adapter.host)
        return StreamDescription(
            sources=sources,
            stream_format=StreamFormat.SLS_JSON,
            frame_count=settings.frame_count,
            frame_period_s=float(metadata["period"]),
            shape=shape,
            dtype="uint16" if shape else "",
            conversion=self.conversion,
            metadata=metadata,
        )

    def arm(self) -> ArmedSeries:
        """Start the receiver program; with external triggers the detector as well. Refused while a series lasts."""
        adapter = self._adapter
        self._must_be_connected("arm")
        with self._lock:
            settings = self._configured
            if settings is None:
                raise DetectorRefused(
                    "arm", of=adapter.host, answer="it was not configured", accepted="configure first"
                )
            if self._armed is not None:
                raise DetectorRefused(
                    "arm", of=adapter.host, answer="a series is armed", accepted="stop it, or let it end"
                )
            self._must_not_expose("arm")
            self._parameters.must_be_ready()
            self._parameters.must_be_harmless()
            self._ended.clear()
            if adapter.get("rx_status") is not RunStatus.IDLE:
                adapter.call("rx_stop", RX_STOP_S)  # somebody has left it running
            adapter.call("rx_start", RX_STOP_S)
            self._armed, self._started = settings, False
            external = settings.trigger_mode is TriggerMode.EXTERNAL_MULTI
            self._triggers_left = settings.trigger_count if settings.trigger_mode is TriggerMode.SOFTWARE else 1
            try:
                if external:
                    adapter.call("start")
                    self._started, self._triggers_left = True, 0
            except DetectorError:
                self._end_series()
                raise
        return ArmedSeries(series=None, frame_count=settings.frame_count)

    def trigger(self, exposure_time_s: float | None = None) -> None:
        """One software trigger; returns after its last frame, or quietly when the series is stopped or aborted."""
        adapter = self._adapter
        self._must_be_connected("trigger")
        if not self._trigger_free.acquire(blocking=False):
            raise DetectorRefused("trigger", of=adapter.host, answer="an earlier trigger still runs")
        try:
            with self._lock:
                settings = self._armed
                if settings is None or not self._triggers_left:
                    answer = "no trigger is left" if settings is not None else "it is not armed"
                    raise DetectorRefused("trigger", of=adapter.host, answer=answer, accepted="arm first")
                if exposure_time_s is not None and exposure_time_s != settings.exposure_time_s:
                    settings = msgspec.structs.replace(settings, exposure_time_s=exposure_time_s)
                    self._parameters.expose(exposure_s=exposure_time_s, period_s=self._period_s(settings))
                    self._armed = settings
                adapter.call("start")
                self._triggers_left -= 1
            self._wait_for_burst(settings)
            with self._lock:
                if not self._triggers_left and self._armed is settings and not self._ended.is_set():
                    self._end_series()
        finally:
            self._trigger_free.release()

    def stop(self) -> None:
        """End the exposures; what was exposed is streamed, and the end. Harmless when idle."""
        self._must_be_connected("stop")
        self._end()

    def abort(self) -> None:
        """The same as `stop`: the package knows only one way to end. Harmless when idle."""
        self._must_be_connected("abort")
        self._end()

    # --- looking ------------------------------------------------------------------------------------------------------

    def report(self) -> DetectorReport:
        """One look at the status; a detector that does not answer within 2 s is OFFLINE.

        Where another call of ours is the reason, which the library makes one after the other, the last look counts.
        """
        try:
            self._seen = self._look()
        except CallsBusy as busy:
            message = f"busy with {busy.running}"
            return msgspec.structs.replace(self._seen, message=message, ready_for_trigger=False)
        except DetectorRefused as error:
            self._seen = DetectorReport(state=HardwareState.ERROR, message=str(error))
        except DetectorError as error:
            self._seen = DetectorReport(state=HardwareState.OFFLINE, message=str(error))
        return self._seen

    def _look(self) -> DetectorReport:
        status = self._status(REPORT_TIMEOUT_S)
        if self._started and status in FINISHED:
            # External triggers: nobody else notices that all of them have come.
            status = self._end_if_finished()
        word = status.name if isinstance(status, RunStatus) else str(status)
        settings, running = self._armed, self._trigger_free.locked()
        if status is RunStatus.ERROR or not isinstance(status, RunStatus):
            return DetectorReport(state=HardwareState.ERROR, message=word)
        if self._overheated:
            return DetectorReport(state=HardwareState.ERROR, message=f"{word}: {self._overheated}")
        if settings is None:
            state = HardwareState.ACQUIRING if status in BUSY else HardwareState.IDLE
            return DetectorReport(state=state, message=word)
        if running or status in (RunStatus.RUNNING, RunStatus.TRANSMITTING):
            return DetectorReport(state=HardwareState.ACQUIRING, message=word)
        return DetectorReport(state=HardwareState.ARMED, message=word, ready_for_trigger=self._triggers_left > 0)

    def _end_if_finished(self) -> RunStatus | str:
        """End the series, unless another one was started since the status was read; the status that it has now."""
        if not self._lock.acquire(timeout=REPORT_TIMEOUT_S):
            busy = CallsBusy("look at the series", of=self._adapter.host, answer="another thread begins or ends it")
            busy.running = "the series"
            raise busy
        try:
            status = self._status(REPORT_TIMEOUT_S)
            if self._started and status in FINISHED and not self._overheated:
                self._end_series()
            return status
        finally:
            self._lock.release()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _status(self, timeout_s: float = STOP_S) -> RunStatus | str:
        return joint_status(self._adapter.get("status", timeout_s))

    def _answers(self) -> bool:
        if not self._adapter.is_connected:
            return False
        try:
            self._status(REPORT_TIMEOUT_S)
        except CallsBusy:
            raise
        except DetectorError:
            return False
        return True

    def _must_be_connected(self, asked: str) -> None:
        if not self._adapter.is_connected:
            raise DetectorOffline(asked, of=self._adapter.host, answer="not connected", accepted="connect first")

    def _must_be_free(self, asked: str) -> None:
        if self._trigger_free.locked():
            raise DetectorRefused(
                asked, of=self._adapter.host, answer="a trigger is running", accepted="stop it, or let it end"
            )

    def _must_not_expose(self, asked: str) -> None:
        status = self._status()
        if status in BUSY or status is RunStatus.ERROR:
            answer = f"its status is {status.name if isinstance(status, RunStatus) else status}"
            raise DetectorRefused(asked, of=self._adapter.host, answer=answer, accepted="IDLE, STOPPED or RUN_FINISHED")

    def _period_s(self, settings: AcquisitionSettings) -> float:
        return max(settings.frame_period_s, settings.exposure_time_s + self._dead_time_s)

    def _wait_for_burst(self, settings: AcquisitionSettings) -> None:
        """Until the detector has finished, or somebody ends the series."""
        internal = settings.trigger_mode is TriggerMode.INTERNAL
        frames = settings.frame_count if internal else settings.frames_per_trigger
        deadline = time.monotonic() + self._delay_s + frames * self._period_s(settings) + TRIGGER_MARGIN_S
        while not self._ended.is_set():
            try:
                status = self._status()
            except DetectorError:
                if self._ended.is_set():
                    return
                raise
            if status not in BUSY:
                return
            if time.monotonic() > deadline:
                raise DetectorTimeout("trigger", of=self._adapter.host, answer=f"its status is still {status}")
            self._ended.wait(POLL_S)

    def _end(self) -> None:
        with self._lock:
            if self._armed is None:
                return
            self._ended.set()
            self._end_series()
        if self._trigger_free.acquire(timeout=STOP_S):
            self._trigger_free.release()

    def _end_series(self) -> None:
        """Exposures first, then the receiver program. Called with the lock held, while a series is armed."""
        adapter = self._adapter
        if self._status() in BUSY:
            adapter.call("stop")
            deadline, pause = time.monotonic() + STOP_S, threading.Event()
            while self._status() in BUSY:
                if time.monotonic() > deadline:
                    raise DetectorTimeout("stop", of=adapter.host, answer="it still exposes")
                pause.wait(POLL_S)
        adapter.call("rx_stop", RX_STOP_S)
        self._armed, self._started, self._triggers_left = None, False, 0
        self.frames_caught = self._parameters.numbers("rx_framescaught")
        self.packets_missing = self._parameters.numbers("rx_missingpackets")
