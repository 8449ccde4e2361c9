"""PilatusDetector: Pilatus 2 and 3 over camserver. Only what differs from every other detector."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
from tango.server import device_property

from maxdaq_tango.detectors.base_device import DetectorDevice
from maxdaq_tango.detectors.pilatus.attributes import PilatusAttributes
from maxdaq_tango.detectors.pilatus.configuration import PilatusConfiguration
from maxdaq_tango.detectors.pilatus.driver import PilatusDriver
from maxdaq_tango.detectors.pilatus.protocol import DEFAULT_PORT, MOST_IMAGES
from maxdaq_tango.detectors.pilatus.streamer_words import StreamerStatus
from maxdaq_tango.errors import ConfigurationError, DetectorOffline, StateError
from maxdaq_tango.tango_support.server import run_server

TEMPERATURE_LOOK_S = 10.0
WRITE_WAIT_S = 2.0
"""Trimming takes a minute; the write then returns, HardwareState says CONFIGURING, and the value follows."""


class PilatusDetector(PilatusAttributes, DetectorDevice):
    """A DECTRIS Pilatus 2 or 3, driven through camserver; a streamer beside it makes a stream of its files."""

    Host = device_property(dtype=str, default_value="", doc="Computer on which camserver runs.")
    Port = device_property(
        dtype=int, default_value=DEFAULT_PORT, doc="camserver's TCP port; 8888 for MAX IV's pilatus-streamer before it."
    )
    StreamerHost = device_property(
        dtype=str, default_value="", doc="Computer of the streamer, as this device sees it. Empty: Host."
    )
    StreamerPort = device_property(
        dtype=int,
        default_value=0,
        doc="HTTP port of the streamer. 0: there is none of ours, but MAX IV's own pilatus-streamer (Port 8888).",
    )
    StreamHost = device_property(
        dtype=str, default_value="", doc="Address of the stream as the receiver sees it. Empty: StreamerHost."
    )
    StreamPort = device_property(
        dtype=int, default_value=0, doc="ZeroMQ port of the stream. 0: as the streamer says; 9999 without one of ours."
    )
    ImageFolder = device_property(
        dtype=str,
        default_value="",
        doc="Image folder as camserver names it, such as a RAM disk. Empty: as the streamer names its folder.",
    )
    FileFormat = device_property(dtype=str, default_value="cbf", doc="cbf (packed by camserver) or tif.")
    GapFill = device_property(dtype=int, default_value=-1, doc="Value of pixels between modules: -1 or 0.")
    Generation = device_property(
        dtype=int, default_value=0, doc="2 or 3: how it is stopped, and its dead time. 0: as the detector's name says."
    )

    def init_device(self) -> None:
        """See the base; family values are empty until the detector was reached."""
        self.family_values: dict[str, Any] = {}
        self._next_temperature_look_s = 0.0
        super().init_device()
        self.set_points.live_frames = MOST_IMAGES

    def make_driver(self) -> PilatusDriver:
        """From the properties."""
        if not self.Host.strip():
            raise ConfigurationError(
                "connect to the detector", answer="property Host is empty", accepted="the computer of camserver"
            )
        for name, least in (("Port", 1), ("StreamerPort", 0), ("StreamPort", 0)):
            if not least <= getattr(self, name) < 65536:
                raise ConfigurationError(f"set property {name} to {getattr(self, name)}", accepted=f"{least} to 65535")
        return PilatusDriver(
            self.Host.strip(),
            self.Port,
            streamer_host=self.StreamerHost.strip(),
            streamer_port=self.StreamerPort,
            stream_host=self.StreamHost.strip(),
            stream_port=self.StreamPort,
            image_path=self.ImageFolder.strip(),
            file_format=self.FileFormat.strip().lower(),
            gap_fill=self.GapFill,
            generation=self.Generation or None,
        )

    def recover(self) -> None:
        """camserver's own reset."""
        self.driver.recover()

    @property
    def driver(self) -> PilatusDriver:
        """Of this device."""
        driver = self.session.hardware.driver
        assert isinstance(driver, PilatusDriver)
        return driver

    @property
    def driver_settings(self) -> PilatusConfiguration | None:
        """None before the detector was reached."""
        driver = self.session.hardware.driver
        return driver.settings if isinstance(driver, PilatusDriver) and self.session.hardware.identity else None

    @property
    def streamer_status(self) -> StreamerStatus | None:
        """Of the newest look."""
        driver = self.session.hardware.driver
        return driver.streamer_status if isinstance(driver, PilatusDriver) else None

    @property
    def streamer_trouble(self) -> str | None:
        """None without a streamer of ours."""
        status = self.streamer_status
        return None if status is None else status.trouble or status.last_trouble

    @property
    def image_path(self) -> str | None:
        """None before the first Arm where it is not a property."""
        status = self.streamer_status
        return self.ImageFolder.strip() or (status.folder if status is not None else None)

    @property
    def camserver_state(self) -> str | None:
        """None when nothing answers."""
        hardware = self.session.hardware
        return hardware.last_report.message if hardware.reachable else None

    @property
    def mx_text(self) -> str | None:
        """JSON."""
        settings = self.driver_settings
        return None if settings is None else msgspec.json.encode(settings.mx).decode()

    def look_at_family(self, busy: bool) -> None:
        """Temperatures; camserver must not be asked while it exposes."""
        now_s = time.monotonic()
        if busy or now_s < self._next_temperature_look_s or not self.driver.is_idle:
            return
        self._next_temperature_look_s = now_s + TEMPERATURE_LOOK_S
        channels = self.driver.settings.temperatures()
        if channels:
            self.family_values["Temperature"] = max(celsius for celsius, _ in channels)
            self.family_values["Humidity"] = max(humidity for _, humidity in channels)

    def set_mx(self, text: str) -> None:
        """Write MX settings, a JSON object."""
        try:
            settings = msgspec.json.decode(text, type=dict[str, str | int | float])
        except msgspec.MsgspecError as error:
            raise ConfigurationError(
                "set MXSettings", of=self.get_name(), answer=str(error), accepted='{"Wavelength": 1.0332, ...}'
            ) from None
        self.set_setting("MXSettings", lambda: self.driver.settings.set_mx(settings))

    def set_setting(self, name: str, act: Callable[[], object]) -> None:
        """Write one. Waits a moment for camserver's opinion; of one that trims the chips the value follows later."""
        session = self.session
        if session.busy:
            raise StateError(
                f"set {name}",
                of=self.get_name(),
                answer="an acquisition is under way",
                accepted="set it when State has left RUNNING",
            )
        if not session.hardware.reachable:
            raise DetectorOffline(f"set {name}", of=self.get_name(), answer=session.hardware.last_report.message)
        session.steps.run(f"set {name}", act, WRITE_WAIT_S)


def main() -> None:
    """Entry point of the server."""
    run_server(PilatusDetector)


if __name__ == "__main__":
    main()
