"""JungfrauDetector: a PSI Jungfrau through slsdet. Only what differs from every other detector."""

from __future__ import annotations

import re
import time
from typing import Any

import msgspec
from tango.server import command, device_property

from maxdaq_tango.detectors.base_device import DetectorDevice
from maxdaq_tango.detectors.jungfrau.attributes import FAMILY, FamilyAttribute, JungfrauAttributes
from maxdaq_tango.detectors.jungfrau.driver import JungfrauDriver
from maxdaq_tango.errors import ConfigurationError, DetectorOffline, DetectorRefused, MaxdaqError, StateError
from maxdaq_tango.model.conversion import Conversion, ConvertTo
from maxdaq_tango.tango_support.failures import tells_failures
from maxdaq_tango.tango_support.server import run_server

FAMILY_LOOK_S = 2.0
BUSY_FAMILY_LOOK_S = 10.0
"""In a series only what can damage something is looked at."""
WATCHED = ("TemperatureEvent", "PowerChip", "HighVoltage")
WRITE_WAIT_S = 2.0
"""A high voltage may take longer; the value reads back when it is done."""


class JungfrauDetector(JungfrauAttributes, DetectorDevice):
    """A PSI Jungfrau: slsdet for the detector and its receiver program, whose stream a StreamReceiver takes."""

    Host = device_property(
        dtype=str,
        default_value="",
        doc="Address of the detector, name or name:port; of several modules joined by +. Not with ConfigFile.",
    )
    ConfigFile = device_property(
        dtype=str,
        default_value="",
        doc="Configuration file of the detector package, which names the host and all else.",
    )
    ReceiverHost = device_property(
        dtype=str, default_value="", doc="Where slsReceiver runs, name or name:port. Empty: as ConfigFile says."
    )
    StreamHost = device_property(
        dtype=str, default_value="", doc="Address of the streams as the receiver sees them. Empty: that of slsReceiver."
    )
    Library = device_property(
        dtype=str,
        default_value="slsdet",
        doc="Python module that speaks to the detector; maxdaq_tango.detectors.jungfrau.simulated_slsdet for a "
        "simulated one.",
    )
    SharedMemoryNumber = device_property(dtype=int, default_value=0, doc="slsdet's number of the detector.")
    SharedMemoryName = device_property(
        dtype=str,
        default_value="",
        doc="slsdet's SLSDETNAME. Empty: the name of this device, so no two disturb each other.",
    )
    AllowFixG0 = device_property(
        dtype=bool,
        default_value=False,
        doc="True: gain mode FIX_G0 may be used. It never switches the gain, and strong light can damage the detector.",
    )
    PowerAtConnect = device_property(
        dtype=bool,
        default_value=False,
        doc="True: the chip is powered when the detector is first reached, unless heat has switched it off.",
    )
    DeadTime = device_property(
        dtype=float, default_value=0.0, doc="Shortest time from the end of one exposure to the next, s."
    )

    def init_device(self) -> None:
        """See the base; family values are empty until the detector was reached."""
        self.family_values: dict[str, Any] = {}
        self.conversion = Conversion()
        self._next_family_look_s = 0.0
        super().init_device()

    def make_driver(self) -> JungfrauDriver:
        """From the properties."""
        host, config_file = self.Host.strip(), self.ConfigFile.strip()
        if bool(host) == bool(config_file):
            answer = "both Host and ConfigFile are set" if host else "properties Host and ConfigFile are empty"
            raise ConfigurationError("connect to the detector", answer=answer, accepted="one of the two")
        if not 0 <= self.DeadTime < 60:
            raise ConfigurationError(f"set property DeadTime to {self.DeadTime} s", accepted="0 to 60 s")
        if not 0 <= self.SharedMemoryNumber <= 1000:
            raise ConfigurationError(
                f"set property SharedMemoryNumber to {self.SharedMemoryNumber}", accepted="0 to 1000"
            )
        return JungfrauDriver(
            host,
            config_file=config_file,
            receiver_host=self.ReceiverHost.strip(),
            stream_host=self.StreamHost.strip(),
            library=self.Library.strip(),
            memory_number=self.SharedMemoryNumber,
            memory_name=self.SharedMemoryName.strip() or re.sub(r"[^A-Za-z0-9_]", "_", self.get_name()),
            allow_fix_g0=self.AllowFixG0,
            power_at_connect=self.PowerAtConnect,
            dead_time_s=self.DeadTime,
        )

    @property
    def driver(self) -> JungfrauDriver:
        """Of this device."""
        driver = self.session.hardware.driver
        assert isinstance(driver, JungfrauDriver)
        return driver

    def driver_told(self, name: str) -> Any:
        """A list that the driver keeps; None before there is anything in it."""
        return getattr(self.session.hardware.driver, name, None) or None

    def look_at_family(self, busy: bool) -> None:
        """Every few seconds."""
        now_s = time.monotonic()
        if now_s < self._next_family_look_s:
            return
        self._next_family_look_s = now_s + (BUSY_FAMILY_LOOK_S if busy else FAMILY_LOOK_S)
        self.driver.watch()
        for item in FAMILY:
            if not busy or item.name in WATCHED:
                self._look_at(item)

    def _look_at(self, item: FamilyAttribute) -> None:
        try:
            self.family_values[item.name] = item.dtype(self.driver.parameter(item.key))
        except (DetectorRefused, TypeError, ValueError):
            self.family_values.pop(item.name, None)
        except MaxdaqError:
            self.family_values.pop(item.name, None)
            raise

    def set_family(self, item: FamilyAttribute, value: Any) -> None:
        """Write one setting. Waits a moment for the detector's opinion; a slow one follows in the read value."""
        asked = f"set {item.name} to {value}"
        self._must_be_idle(asked)

        def write() -> None:
            self.family_values[item.name] = item.dtype(self.driver.set_parameter(item.key, value))

        self.session.steps.run(asked, write, WRITE_WAIT_S)

    def set_conversion(self, **changes: Any) -> None:
        """From the next Arm on; what is checked then is checked as a whole."""
        if "to" in changes:
            word = str(changes["to"]).strip().lower()
            if word not in tuple(ConvertTo):
                raise ConfigurationError(f"set Conversion to '{changes['to']}'", accepted=", ".join(ConvertTo))
            changes["to"] = ConvertTo(word)
        self.conversion = msgspec.structs.replace(self.conversion, **changes)
        driver = self.session.hardware.driver
        if isinstance(driver, JungfrauDriver):
            driver.conversion = self.conversion

    @command
    @tells_failures
    def ClearTemperatureEvent(self) -> None:
        """Acknowledge that the chip was switched off by heat. It stays off until PowerChip is written."""
        self._must_work("ClearTemperatureEvent")
        self._must_be_idle("clear the temperature event")

        def clear() -> None:
            self.driver.clear_temperature_event()
            self._next_family_look_s = 0.0

        self.session.steps.run("clear the temperature event", clear, WRITE_WAIT_S)

    def _must_be_idle(self, asked: str) -> None:
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


def main() -> None:
    """Entry point of the server."""
    run_server(JungfrauDetector)


if __name__ == "__main__":
    main()
