"""Our words into those of a Lambda's streamer; fulfils `DetectorDriver`.

The detector forgets its settings when it is switched off. The driver remembers what it was told, and gives it back to a
detector that has no thresholds when it connects; to one that has, it says nothing.
"""

from __future__ import annotations

import threading

from maxdaq_tango.detectors.contract import ArmedSeries, DetectorIdentity, DetectorReport, HardwareState, Range
from maxdaq_tango.detectors.xspectrum_lambda.client import LambdaClient
from maxdaq_tango.detectors.xspectrum_lambda.protocol import (
    DEFAULT_PORT,
    Change,
    Configured,
    DetectorSettings,
    Health,
    SeriesSettings,
    State,
    Status,
)
from maxdaq_tango.detectors.xspectrum_lambda.series import LONGEST_S, READOUT_S, SHORTEST_S
from maxdaq_tango.detectors.xspectrum_lambda.words import MOST_FRAMES
from maxdaq_tango.errors import DetectorError, DetectorOffline, DetectorRefused
from maxdaq_tango.model import AcquisitionSettings, StreamDescription, StreamFormat, TriggerMode

HARDWARE_STATES = {
    State.OFFLINE: HardwareState.OFFLINE,
    State.IDLE: HardwareState.IDLE,
    State.CONFIGURING: HardwareState.CONFIGURING,
    State.ARMED: HardwareState.ARMED,
    State.ACQUIRING: HardwareState.ACQUIRING,
    State.ERROR: HardwareState.ERROR,
}
HIGHEST_EV = 200_000.0
STEP_EV, STEP = 100.0, 0.02
"""What the detector makes of an energy may differ by so much, or by so much of it. Its steps are not documented."""


class LambdaDriver:
    """One Lambda behind one streamer.

    `stop`, `abort` and `report` may be called from any thread at any time, the rest by one thread at a time. INTERNAL
    series wait for one `trigger()` after `arm()`.
    """

    def __init__(
        self,
        host: str,
        port: int = DEFAULT_PORT,
        *,
        stream_host: str = "",
        initial: Change = Change(),  # noqa: B008 - frozen
    ) -> None:
        """Nothing is sent before `connect`. `stream_host` "" means the same host; `initial` is for a detector that was
        switched off, until it is told otherwise.
        """
        self._client = LambdaClient(host, port)
        self._stream_host = stream_host or host
        self._remembered = initial
        self._settings: DetectorSettings | None = None
        self._configured: Configured | None = None
        self._burst_s = 0.0
        self._connected = False
        self._ends = 0
        """Stops and aborts: an arm that is under way must see them."""
        self._lock = threading.Lock()  # guards what is remembered

    # --- getting to know it -------------------------------------------------------------------------------------------

    def connect(self) -> DetectorIdentity:
        """Reach the streamer and the detector behind it; a cold one gets back what it was told last."""
        identity = self._client.connect()
        self._connected = True
        try:
            self._settings = settings = self._client.settings()
            if not settings.thresholds_ev and self._remembered != Change():
                self._settings = self._client.set(self._remembered)
        except BaseException:
            self.close()
            raise
        return DetectorIdentity(
            model=identity.model,
            serial_number=identity.serial_number,
            firmware=identity.firmware,
            api_version=identity.library_version,
        )

    def initialise(self) -> None:
        """The detector's own initialisation: the way out of its error state."""
        self._client.initialise()

    def close(self) -> None:
        """Let go of the streamer; it keeps the detector."""
        self._connected = False
        self._client.close()

    def limits(self) -> dict[str, Range]:
        """By our names. The library tells none; those of exposures follow from published frame rates."""
        depth = self._known().bit_depth
        return {
            "exposure_time_s": Range(SHORTEST_S[depth], LONGEST_S),
            "frame_period_s": Range(SHORTEST_S[depth] + READOUT_S.get(depth, 0.0), None),
            "trigger_count": Range(1, MOST_FRAMES),
            "frames_per_trigger": Range(1, MOST_FRAMES),
            "energy_ev": Range(0.0, HIGHEST_EV),
            "threshold_ev": Range(0.0, HIGHEST_EV),
        }

    def readout_time_s(self) -> float:
        """Nothing is lost between two exposures but at 24 bit, which take both counters of a pixel."""
        return READOUT_S.get(self._known().bit_depth, 0.0)

    @property
    def remembered(self) -> Change:
        """What a detector that was switched off gets back."""
        with self._lock:
            return self._remembered

    @property
    def configured(self) -> Configured | None:
        """Of the last series."""
        return self._configured

    def settings(self) -> DetectorSettings:
        """As the detector has them now."""
        self._must_be_connected("read settings")
        self._settings = settings = self._client.settings()
        return settings

    def set(self, change: Change) -> DetectorSettings:
        """Change some settings; DetectorRefused when the detector makes something else of them than its steps can be.
        What it made is what is remembered.
        """
        self._must_be_connected("change settings")
        self._settings = settings = self._client.set(change)
        for name in ("bit_depth", "charge_summing", "counter_mode", "gating"):
            asked, got = getattr(change, name), getattr(settings, name)
            if asked is not None and asked != got:
                raise DetectorRefused(f"set {name} to {asked}", of=self._client.url, answer=f"it is {got}")
        self._compare("thresholds_ev", change.thresholds_ev or (), settings.thresholds_ev)
        self._compare("energy_ev", (change.energy_ev,) if change.energy_ev is not None else (), (settings.energy_ev,))
        given = {
            name: getattr(settings, name, value)  # of the voltage there is only what was asked
            for name in change.__struct_fields__
            if (value := getattr(change, name)) is not None
        }
        with self._lock:
            before = self._remembered
            told = {name: getattr(before, name) for name in before.__struct_fields__}
            self._remembered = Change(**(told | given))
        return settings

    def health(self) -> Health:
        """Temperatures and the like."""
        self._must_be_connected("read temperatures")
        return self._client.health()

    def status(self) -> Status:
        """The streamer's own account of the present or last series."""
        self._must_be_connected("read the status")
        return self._client.status()

    # --- the series ---------------------------------------------------------------------------------------------------

    def configure(self, settings: AcquisitionSettings) -> StreamDescription:
        """Apply, read back, and say what will be sent. A series left armed is taken back first."""
        self._must_be_connected("configure")
        self._configured = None
        configured = self._client.configure(
            SeriesSettings(
                exposure_time_s=settings.exposure_time_s,
                latency_time_s=settings.latency_time_s,
                frames_per_trigger=settings.frames_per_trigger,
                trigger_count=settings.trigger_count,
                trigger_mode=settings.trigger_mode,
            )
        )
        self._configured, self._settings = configured, configured.settings
        internal = settings.trigger_mode is TriggerMode.INTERNAL
        exposures = settings.frame_count if internal else settings.frames_per_trigger
        self._burst_s = exposures * configured.frame_period_s
        detector = configured.settings
        return StreamDescription(
            sources=tuple(f"tcp://{self._stream_host}:{port}" for port in configured.ports),
            stream_format=StreamFormat.LAMBDA_MODULES,
            frame_count=configured.frame_count,
            frame_period_s=configured.frame_period_s,
            shape=(len(configured.ports), *configured.module_shape),
            dtype=configured.dtype,
            metadata={
                "exposure_time": configured.exposure_time_s,
                "frame_period": configured.frame_period_s,
                "energy": detector.energy_ev,
                "thresholds": list(detector.thresholds_ev),
                "bit_depth": int(detector.bit_depth),
                "charge_summing": str(detector.charge_summing),
                "counter_mode": str(detector.counter_mode),
                "gating": str(detector.gating),
                "notes": list(configured.notes),
            },
        )

    def arm(self) -> ArmedSeries:
        """The headers leave. A Lambda's messages carry no identity of their series."""
        self._must_be_connected("arm")
        ends = self._ends
        armed = self._client.arm()
        if self._ends != ends:  # a stop may have overtaken the arm on its way to the streamer
            self._client.abort()
            raise DetectorRefused("arm", of=self._client.url, answer="ended meanwhile", accepted="arm again")
        return ArmedSeries(series=None, frame_count=armed.frame_count)

    def trigger(self) -> None:
        """One burst; returns when the detector has finished with it, or quietly when somebody ended the series."""
        self._must_be_connected("trigger")
        self._client.trigger(self._burst_s)

    def stop(self) -> None:
        """What was exposed is sent, and the end; the exposure under way is lost. Harmless when idle."""
        self._must_be_connected("stop")
        self._note_end()
        self._client.stop()

    def abort(self) -> None:
        """What has not left is thrown away; the end is sent. Harmless when idle."""
        self._must_be_connected("abort")
        self._note_end()
        self._client.abort()

    def report(self) -> DetectorReport:
        """Never raises."""
        if not self._connected:
            return DetectorReport(state=HardwareState.OFFLINE, message="not connected")
        try:
            status = self._client.status()
        except DetectorError as error:
            return DetectorReport(state=HardwareState.OFFLINE, message=str(error))
        under_way = status.state in (State.ARMED, State.ACQUIRING)
        return DetectorReport(
            state=HARDWARE_STATES[status.state],
            message=status.message or status.state,
            ready_for_trigger=status.ready_for_trigger,
            # The streamer keeps the count of the last series, which would be taken for that of the next.
            frames_acquired=status.frames_acquired if under_way else None,
        )

    # --- inside -------------------------------------------------------------------------------------------------------

    def _compare(self, name: str, asked: tuple[float, ...], got: tuple[float, ...]) -> None:
        """A detector may have more thresholds than were asked for, but those it must have."""
        steps = [max(STEP_EV, STEP * ev) for ev in asked]
        near = [abs(one - other) <= step for one, other, step in zip(asked, got, steps, strict=False)]
        if len(got) < len(asked) or not all(near):
            raise DetectorRefused(f"set {name} to {list(asked)}", of=self._client.url, answer=f"it is {list(got)}")

    def _note_end(self) -> None:
        with self._lock:
            self._ends += 1

    def _must_be_connected(self, asked: str) -> None:
        if not self._connected:
            raise DetectorOffline(asked, of=self._client.url, answer="not connected", accepted="connect first")

    def _known(self) -> DetectorSettings:
        self._must_be_connected("tell limits")
        assert self._settings is not None
        return self._settings
