"""The vendor's library `pyxsp`, and the only place that touches it: its names, its units and its errors end here.

Sources: libxsp 2.1.0, `libxsp.h`, and two public users of pyxsp 3.1, LiberTEM-live c8433dc and Pierre Thibault's
labcontrol. **Never met a detector**: pyxsp itself is not public. How its names are found is in `library.py`.

Inside times are ms, energies keV, modules count from 1; outside s, eV, and modules count from 0.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from maxdaq_tango.detectors.xspectrum_lambda.geometry import ModulePlace, nearest_turn
from maxdaq_tango.detectors.xspectrum_lambda.library import Library, found, knows, member, spelling, value
from maxdaq_tango.detectors.xspectrum_lambda.protocol import Change, DetectorSettings, Health, Identity
from maxdaq_tango.detectors.xspectrum_lambda.words import BitDepth, CounterMode, FrameStatus, Switch, XspTrigger
from maxdaq_tango.errors import ConfigurationError, DetectorError, DetectorOffline, DetectorRefused, MaxdaqError

T = TypeVar("T")

UNREACHABLE = ("BAD_COMMUNICATION_ERROR", "BAD_DEVICE_NOT_CONNECTED", "BAD_RESOURCE_UNAVAILABLE")
UNREACHABLE_CODES = (0x80040000, 0x80050000, 0x80100000)
MS_PER_S, EV_PER_KEV = 1000.0, 1000.0
MOST_LEFT = 1 << 20
"""Frames of an earlier acquisition; without an end a library that makes frames by itself would hold up arm for ever."""


class TakenFrame(msgspec.Struct, frozen=True):
    """One module's frame. Its pixels lie in memory of the library until the frame is given back."""

    nr: int
    """From 1, modulo 2^24."""
    subframe: int
    status: str
    pixels: npt.NDArray[Any]
    """As they came, one dimension."""

    @property
    def is_whole(self) -> bool:
        """The library has nothing to say against it."""
        return self.status == FrameStatus.FRAME_OK


class ModuleReceiver:
    """The library's receiver of one module. One thread takes frames."""

    def __init__(self, system: LambdaSystem, receiver: Any, number: int) -> None:
        self.number = number
        """From 0."""
        self._system, self._receiver = system, receiver

    @contextmanager
    def frame(self, timeout_s: float) -> Iterator[TakenFrame | None]:
        """The oldest frame, or None when none came in time. It is given back at the end of the block, whatever
        happens in it: the library has a fixed number of places for frames.
        """
        ask, receiver = self._system.ask, self._receiver
        frame = ask("take a frame", lambda: found(receiver, "get_frame")(timeout_s * MS_PER_S))
        if frame is None:
            yield None
            return
        try:
            yield ask("read a frame", lambda: _taken(frame))
        finally:
            ask("release a frame", lambda: found(receiver, "release_frame")(frame))

    def shape(self) -> tuple[int, int]:
        """(rows, columns)"""
        receiver = self._receiver
        return self._system.ask(
            "read the frame's size", lambda: (int(value(receiver, "frame_height")), int(value(receiver, "frame_width")))
        )

    def is_allocated(self) -> bool:
        """There is memory for frames."""
        return bool(self._system.ask("read ram_allocated", lambda: value(self._receiver, "ram_allocated")))

    def compresses(self) -> bool:
        """The library packs frames by itself, in ways that no HDF5 filter of ours reads."""
        receiver = self._receiver
        if not knows(receiver, "compression"):
            return False
        return bool(self._system.ask("read compression", lambda: value(receiver, "compression")))

    def place(self) -> ModulePlace | None:
        """Where the module lies; None where the library does not tell."""
        receiver = self._receiver
        if not knows(receiver, "position"):
            return None

        def read() -> ModulePlace:
            position = value(receiver, "position")
            rotation = value(receiver, "rotation") if knows(receiver, "rotation") else None
            turn = nearest_turn(float(rotation.gamma)) if rotation is not None else 0
            return ModulePlace(round(position.x), round(position.y), turn)

        return self._system.ask(f"read the place of module {self.number}", read)


class LambdaSystem:
    """An open system of the library: one detector and the receivers of its modules. Any thread may call.

    Raises DetectorRefused with the library's words, or DetectorOffline where it reaches nothing.
    """

    def __init__(self, library: ModuleType | Library, path: str) -> None:
        self._library, self._path = library, path
        self._lock = threading.Lock()  # settings are several calls each; whether the library locks is not known
        system = self.ask("open the system", lambda: library.System(path))
        if not system:
            raise DetectorOffline(
                "open the system", of=path, answer="the library made none of it", accepted="an existing system.yml"
            )
        self._system = system
        detectors = self.ask("list detectors", system.list_detectors)
        receivers = self.ask("list receivers", system.list_receivers)
        if len(detectors) != 1 or not receivers:
            raise ConfigurationError(
                "open the system",
                of=path,
                answer=f"{len(detectors)} detectors, {len(receivers)} receivers",
                accepted="one detector and a receiver for each of its modules",
            )
        self.ask("connect", system.connect)
        self._detector = self.ask("open the detector", lambda: system.open_detector(detectors[0]))
        self.modules = [
            ModuleReceiver(self, self.ask("open a receiver", partial(system.open_receiver, name)), number)
            for number, name in enumerate(receivers)
        ]
        """In the order in which the library lists their receivers."""

    def ask(self, asked: str, call: Callable[[], T]) -> T:
        """A call of the library; whatever it raises becomes one of our errors."""
        try:
            return call()
        except MaxdaqError:
            raise
        except Exception as error:  # what the binding raises is not public
            raise self._translated(asked, error) from error

    def initialise(self) -> None:
        """The detector's own initialisation; settings stay."""
        self.ask("initialise", self._system.initialize)

    def identity(self) -> Identity:
        """Who this is: without a serial number in the library, the chips of the first module are the identity."""
        detector = self._detector
        chips = self._maybe(lambda: detector.chip_ids(1))
        version = getattr(self._library, "library_version", None)
        return Identity(
            model=f"X-Spectrum Lambda, {len(self.modules)} modules"
            + (" (simulated)" if "simul" in str(getattr(self._library, "__name__", "")) else ""),
            serial_number=str(chips[0]) if chips else self._path,
            firmware=str(self._maybe(lambda: detector.firmware_version(1)) or ""),
            library_version=str(version() if callable(version) else getattr(self._library, "__version__", "")),
            modules=len(self.modules),
        )

    def settings(self) -> DetectorSettings:
        """As the detector has them."""
        return self.ask("read settings", self._read_settings)

    def apply(self, change: Change) -> DetectorSettings:
        """Change what is not None, in an order in which no step contradicts what is set; returns what is there then."""
        wanted = {name: item for name in change.__struct_fields__ if (item := getattr(change, name)) is not None}
        with self._lock:
            if change.bit_depth is not None:
                # 24 bits take both counters: so only one is asked for before, and whatever was there after.
                counters = change.counter_mode or self.settings().counter_mode
                if change.bit_depth is BitDepth.DEPTH_24 and counters is CounterMode.DUAL:
                    raise DetectorRefused(
                        "set 24 bit with both counters",
                        of=self._path,
                        answer="24 bit take both counters of a pixel",
                        accepted="CounterMode SINGLE, or 1, 6 or 12 bit",
                    )
                self._set("counter_mode", member(self._library, "CounterMode", CounterMode.SINGLE))
                self._set("bit_depth", member(self._library, "BitDepth", change.bit_depth.name))
                wanted["counter_mode"] = counters
            for name, item in wanted.items():
                self._apply_one(name, item)
            return self.settings()

    def prepare(self, exposure_time_s: float, frames: int, trigger: XspTrigger, frames_per_trigger: int) -> float:
        """Set up the next acquisition; returns the exposure time as read back, s."""
        with self._lock:
            self._set("shutter_time", exposure_time_s * MS_PER_S)
            self._set("trigger_mode", member(self._library, "TrigMode", trigger))
            if knows(self._detector, "frames_per_trigger"):
                self._set("frames_per_trigger", frames_per_trigger)
            elif trigger is XspTrigger.EXT_FRAMES and frames_per_trigger > 1:
                raise DetectorRefused(
                    f"take {frames_per_trigger} frames an edge",
                    of=self._path,
                    answer="this library has no frames_per_trigger",
                    accepted="nFramesPerTrigger 1, or nTriggers 1",
                )
            self._set("number_of_frames", frames)
            read = self.ask("read shutter_time", lambda: value(self._detector, "shutter_time"))
            return float(read) / MS_PER_S

    def is_ready(self) -> bool:
        """There is memory for frames, and the sensors have their voltage."""
        detector = self._detector
        return all(module.is_allocated() for module in self.modules) and all(
            self.ask("read voltage_settled", partial(detector.voltage_settled, nr)) for nr in self._numbers
        )

    def discard_frames(self) -> None:
        """Give back what an earlier acquisition has left in the library."""
        for module in self.modules:
            for _ in range(MOST_LEFT):
                with module.frame(0.0) as frame:
                    if frame is None:
                        break

    def start(self) -> None:
        """Begin an acquisition, or wait for its edges."""
        self.ask("start_acquisition", self._detector.start_acquisition)

    def stop(self) -> None:
        """End it. The exposure that is under way is lost: the library has no other stop."""
        self.ask("stop_acquisition", self._detector.stop_acquisition)

    def is_busy(self) -> bool:
        """An acquisition is under way."""
        return bool(self.ask("read is_busy", lambda: value(self._detector, "is_busy")))

    def health(self) -> Health:
        """What the library tells of temperatures, humidity and voltage."""
        detector, numbers = self._detector, self._numbers
        temperatures = self._maybe(lambda: [detector.temperature(nr) for nr in numbers]) or []
        humidities = self._maybe(lambda: [detector.humidity(nr) for nr in numbers]) or []
        voltages = self._maybe(lambda: [detector.voltage(nr) for nr in numbers]) or []
        return Health(
            temperatures_degc=tuple(_numbers(item) for item in temperatures),
            humidities_percent=tuple(float(number) for item in humidities for number in _numbers(item)[:1]),
            voltages_v=tuple(float(item) for item in voltages),
            voltages_settled=bool(self._maybe(lambda: all(detector.voltage_settled(nr) for nr in numbers))),
        )

    def close(self) -> None:
        """Let go of the detector."""
        self.ask("disconnect", self._system.disconnect)

    # ---- inside ----

    @property
    def _numbers(self) -> range:
        return range(1, len(self.modules) + 1)

    def _read_settings(self) -> DetectorSettings:
        detector = self._detector
        gating = value(detector, "gating_mode") if knows(detector, "gating_mode") else None
        return DetectorSettings(
            bit_depth=BitDepth[value(detector, "bit_depth").name],
            charge_summing=Switch(value(detector, "charge_summing").name),
            counter_mode=CounterMode(value(detector, "counter_mode").name),
            gating=Switch(gating.name) if gating is not None else Switch.OFF,
            thresholds_ev=tuple(float(kev) * EV_PER_KEV for kev in value(detector, "thresholds")),
            energy_ev=float(value(detector, "beam_energy")) * EV_PER_KEV,
        )

    def _apply_one(self, name: str, item: Any) -> None:
        match name:
            case "bit_depth":
                pass  # was first
            case "charge_summing":
                self._set("charge_summing", member(self._library, "ChargeSumming", item))
            case "counter_mode":
                self._set("counter_mode", member(self._library, "CounterMode", item))
            case "gating":
                self._set("gating_mode", member(self._library, "Gating", item))
            case "thresholds_ev":
                self._set("thresholds", [ev / EV_PER_KEV for ev in item])
            case "energy_ev":
                self._set("beam_energy", item / EV_PER_KEV)
            case "voltage_v":
                for nr in self._numbers:
                    self.ask(f"set voltage {item:g} V", partial(self._detector.set_voltage, nr, item))

    def _set(self, name: str, item: Any) -> None:
        shown = getattr(item, "name", item)
        spelt = spelling(self._detector, name)
        self.ask(f"set {name} to {shown}", lambda: setattr(self._detector, spelt, item))

    def _maybe(self, call: Callable[[], T]) -> T | None:
        """None where this version of the library does not tell it."""
        try:
            return self.ask("read what may not be there", call)
        except DetectorOffline:
            raise
        except DetectorError:
            return None

    def _translated(self, asked: str, error: Exception) -> DetectorError:
        words = str(error) or type(error).__name__
        lost = getattr(error, "code", None) in UNREACHABLE_CODES or words.startswith(UNREACHABLE)
        kind = DetectorOffline if lost else DetectorRefused
        return kind(asked, of=self._path, answer=words, accepted="see the library's own log")


def _taken(frame: Any) -> TakenFrame:
    status = value(frame, "status_code")
    return TakenFrame(
        nr=int(value(frame, "nr")),
        subframe=int(value(frame, "subframe")) if knows(frame, "subframe") else 0,
        status=str(getattr(status, "name", status)),
        pixels=np.asarray(frame.data).reshape(-1),
    )


def _numbers(item: Any) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in item)
    except TypeError:
        return (float(item),)
