"""OrcaDetector: Hamamatsu ORCA cameras through their streamer. Only what differs from every other detector."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from tango.server import device_property

from maxdaq_tango.detectors.base_device import DetectorDevice
from maxdaq_tango.detectors.orca.attributes import FAMILY, FamilyAttribute, OrcaAttributes
from maxdaq_tango.detectors.orca.driver import OrcaDriver
from maxdaq_tango.detectors.orca.protocol import Counts, Region, parse_settings
from maxdaq_tango.errors import ConfigurationError, DetectorOffline, StateError
from maxdaq_tango.model.hardware import HardwareState
from maxdaq_tango.tango_support.server import run_server

FAMILY_LOOK_S = 2.0
BUSY_FAMILY_LOOK_S = 15.0
"""In a series the camera has other things to do."""
WRITE_WAIT_S = 2.0


class OrcaDetector(OrcaAttributes, DetectorDevice):
    """A Hamamatsu ORCA (Lightning, Quest, Fusion, Flash) behind a streamer of ours."""

    Host = device_property(dtype=str, default_value="", doc="Address of the streamer's control.")
    Port = device_property(dtype=int, default_value=9998, doc="Port of the streamer's control.")
    StreamHost = device_property(
        dtype=str, default_value="", doc="Address of the stream as the receiver sees it. Empty: Host."
    )
    CameraSettings = device_property(
        dtype=(str,),
        default_value=[],
        doc="DCAM properties to set when the camera is connected, NAME=VALUE, such as IMAGE_PIXEL_TYPE=MONO12P.",
    )

    def init_device(self) -> None:
        """See the base; family values are empty until the camera was reached."""
        self.family_values: dict[str, Any] = {}
        self.counts: Counts | None = None
        self.region: list[int] | None = None
        self.capture_status: str | None = None
        self._next_family_look_s = 0.0
        super().init_device()

    def make_driver(self) -> OrcaDriver:
        """From the properties."""
        if not self.Host.strip():
            raise ConfigurationError(
                "connect to the streamer", answer="property Host is empty", accepted="the streamer's address"
            )
        if not 0 < self.Port < 65536:
            raise ConfigurationError(f"set property Port to {self.Port}", accepted="1 to 65535")
        return OrcaDriver(
            self.Host.strip(),
            self.Port,
            stream_host=self.StreamHost.strip(),
            settings=parse_settings(self.CameraSettings),
        )

    def recover(self) -> None:
        """The way out of an error is to open the camera again."""
        self.driver.connect()
        self.session.hardware.refresh()

    @property
    def driver(self) -> OrcaDriver:
        """Of this device."""
        driver = self.session.hardware.driver
        assert isinstance(driver, OrcaDriver)
        return driver

    def look_at_family(self, busy: bool) -> None:
        """The account at each look, the properties every few seconds."""
        if self.session.hardware.last_report.state is HardwareState.OFFLINE:
            self.family_values.clear()
            self.counts = self.region = self.capture_status = None
            self._next_family_look_s = 0.0
            return
        status = self.driver.status()
        self.counts, self.capture_status = status.counts, status.capture_status
        now_s = time.monotonic()
        if now_s < self._next_family_look_s:
            return
        self._next_family_look_s = now_s + (BUSY_FAMILY_LOOK_S if busy else FAMILY_LOOK_S)
        self._look_at_properties()

    def _look_at_properties(self) -> None:
        found = self.driver.selected([item.property.name for item in FAMILY])
        values = {item.name: item.of(found[item.property]) for item in FAMILY if item.property in found}
        self.family_values = {name: value for name, value in values.items() if value is not None}
        region = self.driver.region()
        self.region = [region.left, region.top, region.columns, region.rows]

    def set_family(self, item: FamilyAttribute, value: Any) -> None:
        """Write one setting."""
        self._write(f"set {item.name} to {value}", lambda: self.driver.set_property(item.property.name, value))

    def set_region(self, value: Sequence[int]) -> None:
        """Write the region."""
        words = [int(word) for word in value]
        if len(words) != 4:
            raise ConfigurationError(f"set Roi to {words}", accepted="four numbers: left, top, columns, rows")
        self._write(f"set Roi to {words}", lambda: self.driver.set_region(Region(*words)))

    def _write(self, asked: str, work: Any) -> None:
        session = self.session
        if session.busy:
            raise StateError(
                asked,
                of=self.get_name(),
                answer="an acquisition is under way",
                accepted="set it when State has left RUNNING",
            )
        if not session.hardware.reachable:
            raise DetectorOffline(asked, of=self.get_name(), answer=session.hardware.last_report.message)

        def write() -> None:
            work()
            self._look_at_properties()  # others may have followed it; a client reads them right after its write
            session.hardware.refresh()

        session.steps.run(asked.split(" to ")[0], write, WRITE_WAIT_S)


def main() -> None:
    """Entry point of the server."""
    run_server(OrcaDetector)


if __name__ == "__main__":
    main()
