"""A simulated Jungfrau with its receiver program: what they do, without sockets, threads or a clock of their own.

The time comes in with every call, monotonic seconds. The detector makes exposures from `start` on; the receiver program
catches them between `rx_start` and `rx_stop` and streams those that `rx_zmqfreq` lets pass. Frames that nobody catches
are gone, and the detector goes on counting them: a stream does not begin with number 1.

Not imitated: temperatures that change, storage cells, the time interval of rx_zmqfreq 0 (one frame in a hundred then).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from maxdaq_tango.detectors.jungfrau.protocol import (
    BUSY,
    HIGHEST_HIGH_VOLTAGE,
    LOWEST_HIGH_VOLTAGE,
    PACKETS_A_MODULE,
    ZMQ_PORT,
    DetectorSettings,
    DetectorType,
    FrameDiscardPolicy,
    GainMode,
    RunStatus,
    SpeedLevel,
    TimingMode,
)
from maxdaq_tango.detectors.jungfrau.simulator_pixels import JungfrauPixels
from maxdaq_tango.detectors.jungfrau.simulator_stream import (
    NO_RECEIVER_FAULTS,
    Acquisition,
    JungfrauOptions,
    Outgoing,
    ReceiverFaults,
    Shot,
)
from maxdaq_tango.detectors.simulation.account import AccountBook
from maxdaq_tango.detectors.simulation.faults import Faults

NO_FAULTS = Faults()
SPARSE = 100
"""One frame of so many is streamed with rx_zmqfreq 0."""
DEFAULTS: dict[str, Any] = {
    "exptime": 1e-5,
    "period": 2e-3,
    "delay": 0.0,
    "frames": 1,
    "triggers": 1,
    "timing": TimingMode.AUTO_TIMING,
    "gainmode": GainMode.DYNAMIC,
    "settings": DetectorSettings.GAIN0,
    "readoutspeed": SpeedLevel.HALF_SPEED,
    "highvoltage": 0,
    "powerchip": False,
    "temp_threshold": 65,
    "temp_control": 0,
    "temp_event": 0,
    "nextframenumber": 1,
    "rx_hostname": "",
    "rx_zmqstream": False,
    "rx_zmqport": [ZMQ_PORT],
    "rx_zmqfreq": 0,
    "rx_zmqstartfnum": 0,
    "rx_discardpolicy": FrameDiscardPolicy.NO_DISCARD,
    "fwrite": False,
}
COUNTS, TIMES = ("frames", "triggers", "nextframenumber"), ("exptime", "period", "delay")
LOCKED_WHILE_BUSY = frozenset({"exptime", "period", "frames", "triggers", "timing", "gainmode", "settings"})


class DetectorSaysNo(Exception):
    """The answer of detector or receiver program, in their words."""


class JungfrauSimulator:
    """Not thread-safe: its owner holds a lock."""

    def __init__(
        self, options: JungfrauOptions, faults: Faults = NO_FAULTS, own: ReceiverFaults = NO_RECEIVER_FAULTS
    ) -> None:
        self.options, self.faults, self.own = options, faults, own
        """Faults count from the next rx_start, those of the control at once."""
        self.accounts = AccountBook()
        self.pixels = JungfrauPixels(options.seed, (options.rows * options.modules, options.columns))
        self.beam = True
        """Light falls on it."""
        self.acquisition: Acquisition | None = None
        """The one that the receiver program takes."""
        self.number = 0
        """Of the newest acquisition, from 1."""
        self.values: dict[str, Any] = {**DEFAULTS, "numinterfaces": options.interfaces}
        self.work: deque[Callable[[], tuple[int, list[Outgoing]]]] = deque()
        """Messages to be made, in this order, by whoever owns this: acquisition and messages."""
        self._caught = 0
        self._status = RunStatus.IDLE
        self._bursts_left = 0
        self._burst_began: float | None = None
        self._burst_made = 0
        self._timing: tuple[float, float, int] = (0.0, 0.0, 0)

    # ---- what a client asks ----

    def get(self, name: str) -> Any:
        """The value of an attribute; DetectorSaysNo, or KeyError where there is none."""
        self._may_fail(name)
        ports = self.options.ports
        packets = PACKETS_A_MODULE // self.options.interfaces
        lost = len(self.own.packet_loss_frames) * min(self.own.packet_loss_count, packets)
        match name:
            case "status":
                return RunStatus.ERROR if self.faults.error_state else self._status
            case "rx_status":
                return RunStatus.RUNNING if self.acquisition is not None else RunStatus.IDLE
            case "rx_framescaught":
                return [0 if port == self.own.silent_port else self._caught for port in range(ports)]
            case "rx_missingpackets":
                return [lost if port == self.own.packet_loss_port else 0 for port in range(ports)]
            case "type":
                return DetectorType.JUNGFRAU
            case "nmod":
                return self.options.modules
            case "module_geometry":
                return [1, self.options.modules]
            case "detsize":
                return [self.options.columns, self.options.rows * self.options.modules]
            case "serialnumber":
                return f"{0x5100 + self.options.seed:#x}"
            case "detectorserverversion" | "rx_version":
                return self.options.server_version
            case "firmwareversion":
                return "simulated"
            case "chipversion":
                return 1.1
            case "powerchip":
                return self.values["powerchip"] and not self.own.overheated
            case "temp_event":
                return int(self.own.overheated)
        return self.values[name]

    def set(self, name: str, value: Any) -> None:
        """Set an attribute; DetectorSaysNo, or KeyError where there is none."""
        self._may_fail(name)
        if name not in self.values and name != "detsize":
            raise KeyError(name)
        if name in LOCKED_WHILE_BUSY and self._status in BUSY:
            raise DetectorSaysNo(f"Detector returned: Cannot set {name} when status is {self._status.name.lower()}")
        if name == "highvoltage":
            self._check_voltage(value)
        elif name == "powerchip" and value and self.own.overheated:
            raise DetectorSaysNo("Detector returned: Could not power on chip: temperature event occured")
        elif name == "temp_event":
            if value:
                raise DetectorSaysNo("Value needs to be 0 for reset. Setting not allowed")
            self.values["powerchip"] = self.values["powerchip"] and not self.own.overheated
            self.own = msgspec.structs.replace(self.own, overheated=False)
            return
        elif (name in COUNTS and value < 1) or (name in TIMES and value < 0):
            raise DetectorSaysNo(f"Detector returned: Invalid {name} {value}")
        elif name == "timing" and value not in tuple(TimingMode):
            raise DetectorSaysNo(f"Detector returned: timing mode {value} is not implemented for this detector")
        elif name == "settings" and value not in tuple(DetectorSettings):
            raise DetectorSaysNo(f"Detector returned: settings {value} are not defined for this detector")
        elif name == "numinterfaces" and value != self.options.interfaces:
            raise DetectorSaysNo("Detector returned: the number of interfaces of the simulator is fixed")
        self.values[name] = value

    def call(self, name: str, now: float) -> None:
        """A method: start, stop, rx_start, rx_stop."""
        self._may_fail(name)
        if self.faults.error_state and name in ("start", "rx_start"):
            raise DetectorSaysNo(f"Detector returned: {self.faults.error_state}")
        match name:
            case "start":
                self._start(now)
            case "stop":
                self.advance(now)
                self._status = RunStatus.STOPPED if self._status in BUSY else RunStatus.IDLE
                self._bursts_left, self._burst_began = 0, None
            case "rx_start":
                self._rx_start()
            case "rx_stop":
                self.advance(now)
                self._rx_stop()
            case _:
                raise KeyError(name)

    def edges(self, count: int, now: float) -> int:
        """Rising edges on the trigger input; returns how many began a burst."""
        self.advance(now)
        taken = 0
        for _ in range(count):
            if self._status is not RunStatus.WAITING or not self._bursts_left:
                break
            self._begin_burst(now)
            taken += 1
        return taken

    # ---- time ----

    def next_due(self) -> float | None:
        """When the next exposure is over; None when nothing is under way."""
        if self._burst_began is None or self.faults.never_start:
            return None
        exposure_s, period_s, _ = self._timing
        return self._burst_began + self._burst_made * period_s + exposure_s

    def advance(self, now: float) -> None:
        """Let exposures end that are over by now; what the receiver program streams of them is put into `work`."""
        while (due := self.next_due()) is not None and due <= now:
            self._expose(due)
            if self._burst_made >= self._timing[2]:
                self._end_burst()

    # ---- inside ----

    def _may_fail(self, name: str) -> None:
        if name in self.faults.failing_keys:
            raise DetectorSaysNo(f"Detector returned: internal error of {name}")

    def _check_voltage(self, value: int) -> None:
        if self.own.high_voltage_fails:
            raise DetectorSaysNo("Detector returned: Could not set high voltage. Device does not answer")
        if value != 0 and not LOWEST_HIGH_VOLTAGE <= value <= HIGHEST_HIGH_VOLTAGE:
            raise DetectorSaysNo(f"Detector returned: Invalid high voltage {value}. Options: 0, 60 - 200")

    def _start(self, now: float) -> None:
        if self._status in BUSY:
            raise DetectorSaysNo(f"Detector returned: Cannot start, status is {self._status.name.lower()}")
        if not self.get("powerchip"):
            raise DetectorSaysNo("Detector returned: Could not start acquisition: chip is not powered on")
        values = self.values
        period_s = max(values["period"], values["exptime"])
        self._timing = (values["exptime"], period_s, values["frames"])
        if values["timing"] == TimingMode.AUTO_TIMING:
            self._bursts_left = 1
            self._begin_burst(now)
        else:
            self._bursts_left = values["triggers"]
            self._status = RunStatus.WAITING

    def _begin_burst(self, now: float) -> None:
        self._bursts_left -= 1
        self._burst_began, self._burst_made = now + self.values["delay"], 0
        self._status = RunStatus.RUNNING

    def _end_burst(self) -> None:
        self._burst_began = None
        self._status = RunStatus.WAITING if self._bursts_left else RunStatus.IDLE

    def _expose(self, at: float) -> None:
        number = self.values["nextframenumber"]
        self.values["nextframenumber"] = number + 1
        self._burst_made += 1
        acquisition = self.acquisition
        if acquisition is None:
            return
        if acquisition.first_frame is None:
            acquisition.first_frame = number
        index = self._caught
        self._caught += 1
        self.accounts.made(acquisition.number)
        frequency = self.values["rx_zmqfreq"] or SPARSE
        if not self.values["rx_zmqstream"] or index % frequency:
            return
        mode = GainMode(self.values["gainmode"])
        shot = Shot(index, at, self._timing[0], mode, self.beam)
        self.work.append(lambda: (acquisition.number, acquisition.image(shot)))

    def _rx_start(self) -> None:
        if self.faults.refuse_arm:
            raise DetectorSaysNo(f"Receiver returned: {self.faults.refuse_arm}")
        if self.acquisition is not None:
            raise DetectorSaysNo("Receiver returned: Could not start receiver. Receiver is already running")
        self.number += 1
        self._caught = 0
        self.acquisition = Acquisition(self.number, self.options, self.pixels, self.faults, self.own)
        self.accounts.begin(self.number, restarted=self.faults.restart_at)

    def _rx_stop(self) -> None:
        acquisition, self.acquisition = self.acquisition, None
        if acquisition is None:
            return
        streams = self.values["rx_zmqstream"]
        self.work.append(lambda: (acquisition.number, acquisition.end() if streams else []))
