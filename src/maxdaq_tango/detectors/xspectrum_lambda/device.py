"""LambdaDetector: a Lambda of X-Spectrum behind its streamer. Only what differs from every other detector."""

from __future__ import annotations

import time

from tango.server import device_property

from maxdaq_tango.detectors.base_device import DetectorDevice
from maxdaq_tango.detectors.xspectrum_lambda.attributes import LambdaAttributes, bit_depth
from maxdaq_tango.detectors.xspectrum_lambda.driver import LambdaDriver
from maxdaq_tango.detectors.xspectrum_lambda.protocol import (
    DEFAULT_PORT,
    Change,
    DetectorSettings,
    Health,
    ModuleStatus,
)
from maxdaq_tango.errors import ConfigurationError, DetectorOffline, MaxdaqError, StateError
from maxdaq_tango.model.hardware import HardwareState
from maxdaq_tango.tango_support.server import run_server

SOUND = (HardwareState.IDLE, HardwareState.ARMED, HardwareState.ACQUIRING)
FAMILY_LOOK_S = 2.0
BUSY_LOOK_S = 0.5
"""In a series only the streamer's own account is looked at: the library has other things to do."""
WRITE_WAIT_S = 2.0
"""A new operation mode takes a while; the write then returns, and the value reads back when it is done."""


class LambdaDetector(LambdaAttributes, DetectorDevice):
    """An X-Spectrum Lambda: its library lives in a streamer beside the detector."""

    Host = device_property(dtype=str, default_value="", doc="Address of the streamer's control.")
    Port = device_property(dtype=int, default_value=DEFAULT_PORT, doc="Its HTTP port.")
    StreamHost = device_property(
        dtype=str, default_value="", doc="Address of the streams as the receiver sees it. Empty: Host."
    )
    InitialThresholds = device_property(
        dtype=(float,),
        default_value=[],
        doc="Thresholds in eV for a detector that has none, as after it was switched off. Empty: set Threshold before "
        "the first Arm.",
    )
    InitialEnergy = device_property(
        dtype=float, default_value=0.0, doc="Photon energy in eV for a detector that has no thresholds; 0: leave it."
    )
    InitialBitDepth = device_property(
        dtype=int, default_value=0, doc="1, 6, 12 or 24, for a detector that has no thresholds; 0: leave it."
    )

    def init_device(self) -> None:
        """See the base; family values are empty until the detector was reached."""
        self.settings: DetectorSettings | None = None
        self.health = Health()
        self.module_statuses: tuple[ModuleStatus, ...] = ()
        self._next_look_s = 0.0
        super().init_device()

    def make_driver(self) -> LambdaDriver:
        """From the properties."""
        if not self.Host.strip():
            raise ConfigurationError(
                "connect to the detector", answer="property Host is empty", accepted="the streamer's address"
            )
        if not 0 < self.Port < 65536:
            raise ConfigurationError(f"set property Port to {self.Port}", accepted="1 to 65535")
        if any(not ev > 0 for ev in self.InitialThresholds):
            raise ConfigurationError(
                f"set property InitialThresholds to {list(self.InitialThresholds)}", accepted="energies above 0 eV"
            )
        initial = Change(
            bit_depth=bit_depth(self.InitialBitDepth) if self.InitialBitDepth else None,
            thresholds_ev=tuple(self.InitialThresholds) or None,
            energy_ev=self.InitialEnergy or None,
        )
        return LambdaDriver(self.Host.strip(), self.Port, stream_host=self.StreamHost.strip(), initial=initial)

    def recover(self) -> None:
        """The library's `initialize` brings the detector out of its error state."""
        self.driver.initialise()
        self.driver.connect()
        self.session.hardware.refresh()

    def dev_status(self) -> str:
        """As of every detector; and what the streamer has to say, such as that frames wait and nobody takes them."""
        status = super().dev_status()
        report = self.session.hardware.last_report if not self._trouble else None
        if report is None or report.state not in SOUND or report.message == report.state.value:
            return status
        return f"{status}\nThe streamer says: {report.message}"

    @property
    def driver(self) -> LambdaDriver:
        """Of this device."""
        driver = self.session.hardware.driver
        assert isinstance(driver, LambdaDriver)
        return driver

    @property
    def module_count(self) -> int | None:
        """None before the first series."""
        configured = self.driver.configured if not self._trouble else None
        return len(configured.ports) if configured is not None else None

    @property
    def series_notes(self) -> tuple[str, ...]:
        """Of the series that was configured last."""
        configured = self.driver.configured if not self._trouble else None
        return configured.notes if configured is not None else ()

    def look_at_family(self, busy: bool) -> None:
        """Every few seconds; in a series at the streamer alone."""
        now_s = time.monotonic()
        if now_s < self._next_look_s or self.session.hardware.last_report.state is HardwareState.ERROR:
            return
        self._next_look_s = now_s + (BUSY_LOOK_S if busy else FAMILY_LOOK_S)
        self.module_statuses = self.driver.status().modules
        if not busy:
            try:
                self.settings = self.driver.settings()
                self.health = self.driver.health()
            except MaxdaqError:
                self.settings, self.health = None, Health()
                raise

    def change_threshold(self, ev: float) -> None:
        """The lowest one."""
        others = self.settings.thresholds_ev[1:] if self.settings is not None else ()
        self.change("Threshold", Change(thresholds_ev=(ev, *others)))

    def change(self, name: str, change: Change) -> None:
        """Write settings. Waits a moment for the detector's opinion; a slow one follows in the read value."""
        session, asked = self.session, f"set {name}"
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
            self.settings = self.driver.set(change)
            if change.voltage_v is not None:
                self.health = self.driver.health()
            session.hardware.refresh()

        session.steps.run(asked, write, WRITE_WAIT_S)


def main() -> None:
    """Entry point of the server."""
    run_server(LambdaDetector)


if __name__ == "__main__":
    main()
