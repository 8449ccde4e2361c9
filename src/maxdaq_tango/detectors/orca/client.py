"""Speaks to the streamer of an ORCA: its commands with their types and deadlines."""

from __future__ import annotations

from maxdaq_tango.detectors.orca.protocol import (
    Configured,
    Connected,
    Named,
    PropertyState,
    Region,
    Selection,
    SetProperty,
    Status,
    TriggerWish,
)
from maxdaq_tango.detectors.streaming.link import StreamerLink
from maxdaq_tango.model import AcquisitionSettings

CONNECT_TIMEOUT_S = 90.0
"""Loading the library looks for cameras on every bus."""
CONFIGURE_TIMEOUT_S = 30.0
ARM_TIMEOUT_S = 60.0
END_TIMEOUT_S = 20.0
LOOK_TIMEOUT_S = 2.0
TRIGGER_MARGIN_S = 30.0


class OrcaClient:
    """One streamer. Raises DetectorRefused, DetectorTimeout and DetectorOffline, nothing else; any thread may call."""

    def __init__(self, host: str, port: int) -> None:
        """Nothing is sent before the first call."""
        self._link = StreamerLink(host, port)

    @property
    def url(self) -> str:
        """Of the streamer's control."""
        return self._link.url

    def connect(self) -> Connected:
        """Open the camera where it is not open."""
        return self._link.call("connect", Connected, timeout_s=CONNECT_TIMEOUT_S)

    def configure(self, settings: AcquisitionSettings) -> Configured:
        """Apply settings."""
        return self._link.call("configure", Configured, settings, timeout_s=CONFIGURE_TIMEOUT_S)

    def arm(self) -> int:
        """Number of frames of the series that begins."""
        return self._link.call("arm", int, timeout_s=ARM_TIMEOUT_S)

    def trigger(self, burst_s: float, exposure_time_s: float | None = None) -> None:
        """One burst that takes about so long."""
        wish = TriggerWish(exposure_time_s)
        self._link.call("trigger", type(None), wish, timeout_s=burst_s + TRIGGER_MARGIN_S)

    def stop(self) -> None:
        """End in order."""
        self._link.call("stop", type(None), timeout_s=END_TIMEOUT_S)

    def abort(self) -> None:
        """End at once."""
        self._link.call("abort", type(None), timeout_s=END_TIMEOUT_S)

    def status(self) -> Status:
        """A look."""
        return self._link.call("status", Status, timeout_s=LOOK_TIMEOUT_S)

    def properties(self) -> list[PropertyState]:
        """All DCAM properties of the camera."""
        return self._link.call("properties", list[PropertyState], timeout_s=CONFIGURE_TIMEOUT_S)

    def selected(self, names: list[str]) -> list[PropertyState]:
        """Some of them, without those that the camera lacks."""
        return self._link.call("selected", list[PropertyState], Selection(names), timeout_s=CONFIGURE_TIMEOUT_S)

    def region(self) -> Region:
        """The part of the sensor that is read."""
        return self._link.call("region", Region)

    def property(self, name: str) -> PropertyState:
        """One of them, by our name or by number."""
        return self._link.call("property", PropertyState, Named(name))

    def set_property(self, name: str, value: float | str) -> PropertyState:
        """Write one; a word is one of the camera's own for a mode."""
        return self._link.call("set_property", PropertyState, SetProperty(name, value), timeout_s=CONFIGURE_TIMEOUT_S)

    def set_region(self, region: Region) -> Region:
        """Read a part of the sensor."""
        return self._link.call("set_region", Region, region, timeout_s=CONFIGURE_TIMEOUT_S)

    def close(self) -> None:
        """Let go of the connections."""
        self._link.close()
