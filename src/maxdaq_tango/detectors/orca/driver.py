"""Our words into those of an ORCA's streamer, which does the work beside the camera."""

from __future__ import annotations

from collections.abc import Mapping

from maxdaq_tango.detectors.contract import ArmedSeries, DetectorIdentity, DetectorReport, HardwareState, Range
from maxdaq_tango.detectors.orca.client import OrcaClient
from maxdaq_tango.detectors.orca.protocol import Configured, Connected, PropertyState, Region, Status
from maxdaq_tango.errors import DetectorError, DetectorOffline, DetectorRefused
from maxdaq_tango.model import AcquisitionSettings, StreamDescription, StreamFormat


class OrcaDriver:
    """One camera behind one streamer; fulfils `DetectorDriver`.

    `stop`, `abort` and `report` may be called from any thread at any time, the rest by one thread at a time. An
    INTERNAL series waits for one `trigger()` after `arm()`. STINS has no series id: `arm` answers None.
    """

    takes_exposures = True

    def __init__(
        self, host: str, port: int, *, stream_host: str = "", settings: Mapping[str, float | str] | None = None
    ) -> None:
        """`stream_host` is the streamer's address as the receiver sees it; "" = the same. `settings` are DCAM
        properties that `connect` sets where the camera has others.
        """
        self._client = OrcaClient(host, port)
        self._stream_host = stream_host or host
        self._settings = dict(settings or {})
        self._connected: Connected | None = None
        self._configured: Configured | None = None
        self._burst_frames = 1

    def connect(self) -> DetectorIdentity:
        """Find out who is there; the streamer opens the camera where it has not. A series under way goes on."""
        try:
            self._connected = self._client.connect()
            self._set_up()
        except BaseException:
            self._client.close()
            self._connected = None
            raise
        identity = self._connected.identity
        return DetectorIdentity(
            model=f"{identity.series} {identity.model}".strip(),
            serial_number=identity.serial_number,
            firmware=identity.camera_version,
            api_version=identity.api_version,
        )

    def _set_up(self) -> None:
        if self._settings and self._client.status().state is not HardwareState.IDLE:
            return  # a series under way goes on as it is
        for name, value in self._settings.items():
            before = self._client.property(name)
            same = before.value == value or (isinstance(value, str) and (before.word or "").upper() == value.upper())
            if not same:
                self._client.set_property(name, value)

    def _known(self, asked: str) -> Connected:
        if self._connected is None:
            raise DetectorOffline(asked, of=self._client.url, answer="not connected", accepted="connect first")
        return self._connected

    def limits(self) -> dict[str, Range]:
        """As the camera stated them when it was connected or configured."""
        limits = self._known("limits").exposure_time_s
        return {"exposure_time_s": Range(limits.minimum, limits.maximum)}

    def readout_time_s(self) -> float:
        """Time to read a frame; exposures overlap it, so that with longer ones nothing is lost between frames."""
        return self._known("readout time").readout_time_s

    def configure(self, settings: AcquisitionSettings) -> StreamDescription:
        """Apply the settings, and say what will be sent. A series left armed is taken back."""
        self._known("configure")
        self._configured = None
        done = self._client.configure(settings)
        self._connected = self._client.connect()  # limits and times depend on settings
        self._configured = done
        internal = settings.trigger_mode == "INTERNAL"
        self._burst_frames = settings.frame_count if internal else settings.frames_per_trigger
        return StreamDescription(
            sources=(f"tcp://{self._stream_host}:{done.stream_port}",),
            stream_format=StreamFormat.STINS,
            frame_count=done.frame_count,
            frame_period_s=done.frame_period_s,
            shape=(done.format.rows, done.format.columns),
            dtype=done.format.dtype,
            metadata=done.metadata,
        )

    def arm(self) -> ArmedSeries:
        """Begin a series; its header leaves now."""
        self._known("arm")
        return ArmedSeries(series=None, frame_count=self._client.arm())

    def trigger(self, exposure_time_s: float | None = None) -> None:
        """One burst; returns when it is exposed, or quietly when the series is ended."""
        self._known("trigger")
        if self._configured is None:
            raise DetectorRefused("trigger", of=self._client.url, answer="nothing is armed", accepted="arm first")
        exposure_s = exposure_time_s or float(self._configured.metadata.get("exptime", 0.0))
        period_s = max(self._configured.frame_period_s, exposure_s)
        self._client.trigger(exposure_s + self._burst_frames * period_s, exposure_time_s)

    def stop(self) -> None:
        """End after the running frame. Harmless when idle."""
        self._known("stop")
        self._client.stop()

    def abort(self) -> None:
        """End at once. Harmless when idle."""
        self._known("abort")
        self._client.abort()

    def report(self) -> DetectorReport:
        """One look; a streamer that does not answer within 2 s is OFFLINE, as is one whose camera has gone."""
        if self._connected is None:
            return DetectorReport(state=HardwareState.OFFLINE, message="not connected")
        try:
            status = self._client.status()
        except DetectorRefused as error:
            return DetectorReport(state=HardwareState.ERROR, message=str(error))
        except DetectorError as error:
            return DetectorReport(state=HardwareState.OFFLINE, message=str(error))
        return DetectorReport(
            state=status.state,
            message=status.message,
            ready_for_trigger=status.ready_for_trigger,
            frames_acquired=status.counts.acquired,
        )

    def close(self) -> None:
        """Let go of the connections; streamer and camera are left as they are."""
        self._connected = None
        self._client.close()

    # --- what only an ORCA has ---------------------------------------------------------------------------------------

    def status(self) -> Status:
        """The streamer's own look, with the counts of lost frames."""
        self._known("status")
        return self._client.status()

    def properties(self) -> dict[int, PropertyState]:
        """All DCAM properties of the camera."""
        self._known("properties")
        return {state.id: state for state in self._client.properties()}

    def selected(self, names: list[str]) -> dict[int, PropertyState]:
        """Some of them, without those that the camera lacks."""
        self._known("properties")
        return {state.id: state for state in self._client.selected(names)}

    def region(self) -> Region:
        """The part of the sensor that is read."""
        self._known("region")
        return self._client.region()

    def set_property(self, name: str, value: float | str) -> PropertyState:
        """Write one, by our name or by number; a word is one of the camera's own for a mode."""
        self._known(f"set {name}")
        return self._client.set_property(name, value)

    def set_region(self, region: Region) -> Region:
        """Read a part of the sensor."""
        self._known("set the region")
        return self._client.set_region(region)
