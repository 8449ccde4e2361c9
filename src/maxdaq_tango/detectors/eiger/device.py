"""EigerDetector: Eiger, Eiger2 and Pilatus4 over SIMPLON. Only what differs from every other detector."""

from __future__ import annotations

import time
from typing import Any

from tango.server import device_property

from maxdaq_tango.detectors.base_device import DetectorDevice
from maxdaq_tango.detectors.eiger.attributes import FAMILY, EigerAttributes, FamilyAttribute
from maxdaq_tango.detectors.eiger.collection_attributes import COLLECTION, CollectionAttributes
from maxdaq_tango.detectors.eiger.driver import EigerDriver
from maxdaq_tango.errors import ConfigurationError, DetectorOffline, DetectorRefused, MaxdaqError, StateError
from maxdaq_tango.model import StreamFormat
from maxdaq_tango.model.hardware import HardwareState
from maxdaq_tango.tango_support.server import run_server

FAMILY_LOOK_S = 2.0
COLLECTION_LOOK_S = 10.0
BUSY_FAMILY_LOOK_S = 15.0
"""In a series the control unit has other things to do."""
WRITE_WAIT_S = 2.0
"""A new energy takes seconds; the write then returns, State says RUNNING, and the value reads back when it is done."""


class EigerDetector(EigerAttributes, CollectionAttributes, DetectorDevice):
    """A DECTRIS detector with the SIMPLON interface: Eiger, Eiger2, Pilatus4."""

    Host = device_property(dtype=str, default_value="", doc="Address of the detector control unit (DCU).")
    Port = device_property(dtype=int, default_value=80, doc="Its HTTP port.")
    ApiVersion = device_property(
        dtype=str, default_value="auto", doc="SIMPLON version, 1.6.0 or 1.8.0; auto asks for it."
    )
    StreamFormat = device_property(
        dtype=str, default_value="auto", doc="dectris-v1, dectris-v2, or auto: v2 where the detector has it."
    )
    StreamHost = device_property(
        dtype=str, default_value="", doc="Address of the stream as the receiver sees it. Empty: Host."
    )
    StreamPort = device_property(dtype=int, default_value=9999, doc="ZeroMQ port of stream v1.")
    CborPort = device_property(dtype=int, default_value=31001, doc="ZeroMQ port of stream v2.")
    HeaderDetail = device_property(
        dtype=str,
        default_value="all",
        doc="How much the start message holds: all (with flat field and mask), basic, none.",
    )
    TrustSeriesId = device_property(
        dtype=bool, default_value=True, doc="False: believe the first series that comes, not the id that arm answers."
    )

    def init_device(self) -> None:
        """See the base; family values are empty until the detector was reached."""
        self.family_values: dict[str, Any] = {}
        self._absent: set[str] = set()
        self._next_family_look_s = self._next_collection_look_s = 0.0
        super().init_device()

    def make_driver(self) -> EigerDriver:
        """From the properties."""
        if not self.Host.strip():
            raise ConfigurationError(
                "connect to the detector", answer="property Host is empty", accepted="the DCU's address"
            )
        for name in ("Port", "StreamPort", "CborPort"):
            if not 0 < getattr(self, name) < 65536:
                raise ConfigurationError(f"set property {name} to {getattr(self, name)}", accepted="1 to 65535")
        formats = ("auto", StreamFormat.DECTRIS_V1, StreamFormat.DECTRIS_V2)
        if self.StreamFormat not in formats:
            raise ConfigurationError(f"set property StreamFormat to '{self.StreamFormat}'", accepted=", ".join(formats))
        return EigerDriver(
            self.Host.strip(),
            self.Port,
            api_version=self.ApiVersion,
            stream_format=self.StreamFormat,
            stream_host=self.StreamHost.strip(),
            legacy_port=self.StreamPort,
            cbor_port=self.CborPort,
            header_detail=self.HeaderDetail,
            trust_series_id=self.TrustSeriesId,
        )

    def recover(self) -> None:
        """The only way out of SIMPLON's error state is `initialize`; stream and settings have to be set up again."""
        self.driver.initialise()
        self.driver.connect()
        self.session.hardware.refresh()
        # Every setting has its default now: nobody may take the old values for what will happen.
        self.family_values.clear()
        self._look_at_all(FAMILY + COLLECTION)

    @property
    def simplon_state(self) -> str | None:
        """The vendor's word; None when nothing answers."""
        hardware = self.session.hardware
        return hardware.last_report.message.split(":")[0] if hardware.reachable else None

    @property
    def driver(self) -> EigerDriver:
        """Of this device."""
        driver = self.session.hardware.driver
        assert isinstance(driver, EigerDriver)
        return driver

    def look_at_family(self, busy: bool) -> None:
        """Every few seconds; a key that the model refuses is not asked for again until the next initialisation."""
        if self.session.hardware.last_report.state in (HardwareState.NOT_INITIALISED, HardwareState.CONFIGURING):
            self._absent.clear()  # a detector that is initialising refuses everything
            return
        now_s = time.monotonic()
        if now_s < self._next_family_look_s:
            return
        self._next_family_look_s = now_s + (BUSY_FAMILY_LOOK_S if busy else FAMILY_LOOK_S)
        self._look_at_all(FAMILY)
        if not busy and now_s >= self._next_collection_look_s:
            self._next_collection_look_s = now_s + COLLECTION_LOOK_S
            self._look_at_all(COLLECTION)

    def _look_at_all(self, items: tuple[FamilyAttribute, ...]) -> None:
        for item in items:
            if item.name not in self._absent:
                self._look_at(item)

    def _look_at(self, item: FamilyAttribute, *, remembered: bool = False) -> None:
        driver = self.driver
        try:
            look = driver.status if item.status else driver.remembered if remembered else driver.parameter
            self.family_values[item.name] = _as_told(look(item.key).value, item)
        except DetectorRefused:
            self._absent.add(item.name)
        except (TypeError, ValueError):
            self.family_values.pop(item.name, None)
        except MaxdaqError:
            self.family_values.pop(item.name, None)
            raise

    def set_family(self, item: FamilyAttribute, value: Any) -> None:
        """Write one setting. Waits a moment for the detector's opinion; a slow one follows in the read value."""
        session = self.session
        if session.busy:
            raise StateError(
                f"set {item.name} to {value}",
                of=self.get_name(),
                answer="an acquisition is under way",
                accepted="set it when State has left RUNNING",
            )
        if not session.hardware.reachable:
            raise DetectorOffline(
                f"set {item.name} to {value}", of=self.get_name(), answer=session.hardware.last_report.message
            )

        def write() -> None:
            self.family_values[item.name] = item.dtype(self.driver.set_parameter(item.key, value))
            # Others may have followed it, as Threshold follows Energy; a client reads them right after its write.
            for other in FAMILY + COLLECTION:
                if not other.status and other is not item and other.name not in self._absent:
                    self._look_at(other, remembered=not other.writable or other in COLLECTION)
            session.hardware.refresh()

        session.steps.run(f"set {item.name}", write, WRITE_WAIT_S)


def _as_told(value: Any, item: FamilyAttribute) -> Any:
    """A list, as of errors, is a text with one a line."""
    return item.dtype("\n".join(map(str, value)) if isinstance(value, list) else value)


def main() -> None:
    """Entry point of the server."""
    run_server(EigerDetector)


if __name__ == "__main__":
    main()
