"""The behaviour of a simulated Lambda, its receivers and its library, with an injected clock. No sockets, no threads.

It does what libxsp's header and its public users say, and where they are silent what is hardest on the driver: settings
are forgotten at every start (no thresholds, so nothing can be acquired), memory is allocated anew after every change of
depth or length, a frame that is not released keeps its place in that memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from maxdaq_tango.detectors.simulation.account import AccountBook
from maxdaq_tango.detectors.simulation.delivery import Damage, Delivery, DeliveryPlan
from maxdaq_tango.detectors.simulation.faults import Faults, refuse_those_of
from maxdaq_tango.detectors.simulation.pattern import FramePattern
from maxdaq_tango.detectors.xspectrum_lambda.geometry import ModulePlace, windmill
from maxdaq_tango.detectors.xspectrum_lambda.simulator_acquisition import Exposures, ModuleMemory, Waiting
from maxdaq_tango.detectors.xspectrum_lambda.simulator_settings import Refusal, SimulatedSettings, StatusCode
from maxdaq_tango.detectors.xspectrum_lambda.words import NUMBER_MODULUS, BitDepth, CounterMode, XspTrigger, pixel_type
from maxdaq_tango.errors import ConfigurationError

MEANINGLESS: dict[str, str] = {
    **dict.fromkeys(("vanish_at", "vanish_s", "thief_at"), "the streamer has the sockets, and it is a program of ours"),
    **dict.fromkeys(
        ("missing_header", "missing_end", "duplicate_end", "end_at", "filename", "second_header_at", "interleave_at"),
        "the library has no such messages; the streamer makes them",
    ),
    **dict.fromkeys(
        ("wrong_series_frames", "wrong_series_fraction"), "frames of the library belong to no series by name"
    ),
    **dict.fromkeys(("block_length_frames", "block_length_fraction"), "the library hands out pixels, not packed blobs"),
    **dict.fromkeys(("bomb_at", "bomb_depth"), "the library hands out no JSON"),
}
"""Fields of `Faults` that cannot happen before the streamer, and why."""
NO_FAULTS = Faults()
READOUT_24_S = 0.001
"""Between two exposures at 24 bit, where nothing is counted while pixels are read."""


class SimulatorOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulated Lambda is."""

    modules: int = 4
    rows: int = 516
    columns: int = 1556
    """Of one module."""
    seed: int = 1
    room_frames: int = 512
    """That the memory of each receiver holds."""
    allocate_s: float = 0.05
    """How long `ram_allocated` is false after a change."""
    settle_s: float = 0.05
    """How long `voltage_settled` is false after `initialize` and a new voltage."""
    first_number: int = 1
    """`nr` of the first frame of the first acquisition. The real library says 1."""
    numbers_run_on: bool = False
    """Do not begin again with every acquisition."""

    def __post_init__(self) -> None:
        if not 1 <= self.modules <= 64:
            raise ConfigurationError(f"simulate {self.modules} modules", accepted="1 to 64")
        if not 1 <= self.rows <= 16384 or not 1 <= self.columns <= 16384:
            raise ConfigurationError(f"simulate {self.rows} x {self.columns} pixels", accepted="1 to 16384 each")
        if self.room_frames < 1:
            raise ConfigurationError(f"simulate memory for {self.room_frames} frames", accepted="1 or more")

    @property
    def places(self) -> tuple[ModulePlace, ...]:
        """Where the modules lie."""
        return windmill(self.modules, (self.rows, self.columns))


class LambdaSimulator:
    """A detector and one receiver for each module. One thread at a time; `now` is seconds on any steady clock."""

    def __init__(self, options: SimulatorOptions, faults: Faults = NO_FAULTS) -> None:
        self.options = options
        self.accounts = AccountBook()
        self.settings = SimulatedSettings(options.modules)
        self.memories = [ModuleMemory(options.room_frames) for _ in range(options.modules)]
        self.series = 0
        """Number of the newest acquisition."""
        self.connected = self.initialised = False
        self._faults = NO_FAULTS
        self.faults = faults
        self._exposures: Exposures | None = None
        self._active_faults, self._plan = NO_FAULTS, DeliveryPlan(NO_FAULTS)
        self._seq = 0
        self._next_nr = options.first_number
        self._first_nr = self._next_nr
        self._allocated_at = self._settled_at = 0.0

    @property
    def faults(self) -> Faults:
        """Count from the next acquisition; an error state at once."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        check_faults(faults)
        self._faults = faults

    # ---- library calls ----

    def connect(self) -> None:
        """Of the whole system."""
        self.connected = True

    def disconnect(self) -> None:
        """The acquisition ends; what was taken is out of reach."""
        self._end()
        self.connected = self.initialised = False
        for memory in self.memories:
            memory.clear()
            memory.taken.clear()

    def initialize(self, now: float) -> None:
        """Also the way out of the error state."""
        self._must(self.connected, StatusCode.BAD_DEVICE_NOT_CONNECTED, "the detector is not connected")
        self._faults = msgspec.structs.replace(self._faults, error_state="")
        self._end()
        self.initialised = True
        self._settled_at = now + self.options.settle_s
        self._allocate(now)

    def power_cycle(self) -> None:
        """Everything that was set is forgotten."""
        self.disconnect()
        self.settings = SimulatedSettings(self.options.modules)

    def get(self, name: str, arguments: list[Any], now: float) -> Any:
        """A value of the detector."""
        self._must_work(now)
        if name in self.faults.failing_keys:
            raise Refusal(StatusCode.BAD_COMMAND_FAILED, f"reading {name} failed")
        match name:
            case "is_busy":
                return self.is_busy(now)
            case "is_ready":
                return self.initialised and not self.is_busy(now)
            case "voltage_settled":
                self.settings.module(arguments)
                return now >= self._settled_at
        return self.settings.get(name, arguments)

    def set(self, name: str, arguments: list[Any], value: Any, now: float) -> None:
        """A setting of the detector."""
        self._must_work(now)
        self._must(not self.is_busy(now), StatusCode.BAD_DEVICE_BUSY, f"{name} cannot be set in an acquisition")
        if name in self.faults.failing_keys:
            raise Refusal(StatusCode.BAD_COMMAND_FAILED, f"setting {name} failed")
        if self.settings.set(name, arguments, value):
            self._allocate(now)
        if name == "voltage":
            self._settled_at = now + self.options.settle_s

    def start(self, now: float) -> None:
        """`start_acquisition`."""
        self._must_work(now)
        settings = self.settings
        if self.faults.refuse_arm:
            raise Refusal(StatusCode.BAD_COMMAND_NOT_ACCEPTED, self.faults.refuse_arm)
        self._must(not self.is_busy(now), StatusCode.BAD_DEVICE_BUSY, "an acquisition is under way")
        self._must(bool(settings.thresholds), StatusCode.BAD_DEVICE_NOT_READY, "no thresholds are set")
        self._must(self.ram_allocated(now), StatusCode.BAD_DEVICE_NOT_READY, "memory is not allocated yet")
        period_s = settings.shutter_time / 1000
        if settings.bit_depth is BitDepth.DEPTH_24:
            period_s += READOUT_24_S
        self._active_faults, self._plan = self._faults, DeliveryPlan(self._faults)
        self.series += 1
        self.accounts.begin(self.series, restarted=self._faults.restart_at)
        self._first_nr = self._next_nr if self.options.numbers_run_on or self.series == 1 else 1
        self._seq = 0
        self._exposures = Exposures(
            XspTrigger(settings.trigger_mode),
            settings.number_of_frames,
            period_s,
            depth=settings.bit_depth,
            frames_per_trigger=settings.frames_per_trigger,
            now=now,
        )

    def stop(self, now: float) -> None:
        """`stop_acquisition`; frames that have been made can still be taken."""
        self.step(now)
        self._end()

    def edge(self, now: float) -> None:
        """An electrical edge at the trigger input."""
        self.step(now)
        if self._exposures is not None and not self._active_faults.never_start:
            self._exposures.edge(now)

    def is_busy(self, now: float) -> bool:
        """An acquisition is under way."""
        self.step(now)
        return self._exposures is not None

    def ram_allocated(self, now: float) -> bool:
        """Of all receivers."""
        return self.initialised and now >= self._allocated_at

    def take(self, module: int, now: float) -> tuple[int, Waiting] | None:
        """The oldest frame that a receiver has, and its handle."""
        self._must_work(now)
        self.step(now)
        return self.memories[module].take(now)

    def release(self, module: int, handle: int) -> None:
        """A frame that was taken; twice is an error."""
        self._must(
            self.memories[module].release(handle), StatusCode.BAD_ARG_INVALID, f"frame {handle} is not to be released"
        )

    # ---- time ----

    def step(self, now: float) -> None:
        """Make the exposures that have ended by now."""
        exposures = self._exposures
        if exposures is None or self._active_faults.never_start:
            return
        for number in exposures.due(now):
            self.accounts.made(self.series)
            for delivery in self._plan.frame(number):
                self._deliver(delivery, now)
        if exposures.is_over:
            self._end()

    def next_due(self, module: int, now: float) -> float | None:
        """When a receiver may have its next frame; None while nothing is going to happen by itself."""
        times = [self.memories[module].next_ready()]
        if self._exposures is not None and not self._active_faults.never_start:
            times.append(self._exposures.next_due())
        known = [time for time in times if time is not None]
        return max(now, min(known)) if known else None

    def _deliver(self, delivery: Delivery, now: float) -> None:
        self.accounts.offered(self.series)
        settings = self.settings
        nr = (self._first_nr + delivery.wire_number) % NUMBER_MODULUS
        for subframe in range(2 if settings.counter_mode is CounterMode.DUAL else 1):
            frame = Waiting(
                nr,
                subframe,
                delivery.number,
                self.series,
                settings.bit_depth,
                delivery.damage,
                now + delivery.delay_s,
            )
            for memory in self.memories:
                memory.put(frame)
        self.accounts.sent(self.series, delivery)

    def _end(self) -> None:
        exposures, self._exposures = self._exposures, None
        if exposures is None:
            return
        for delivery in self._plan.end():
            self._deliver(delivery, 0.0)
        self._next_nr = (self._first_nr + exposures.made) % NUMBER_MODULUS
        self.accounts.finished(self.series)

    # ---- inside ----

    def _allocate(self, now: float) -> None:
        for memory in self.memories:
            memory.clear()
        self._allocated_at = now + self.options.allocate_s

    def _must_work(self, now: float) -> None:
        self._must(self.connected, StatusCode.BAD_DEVICE_NOT_CONNECTED, "the detector is not connected")
        self._must(self.initialised, StatusCode.BAD_DEVICE_NOT_READY, "the detector is not initialised")
        if self._faults.error_state:
            self.step(now)
            self._end()
            raise Refusal(StatusCode.BAD_DEVICE_FAILURE, self._faults.error_state)

    @staticmethod
    def _must(fine: bool, code: StatusCode, message: str) -> None:
        if not fine:
            raise Refusal(code, message)


def check_faults(faults: Faults) -> None:
    """ConfigurationError for those that a simulated Lambda cannot have, with the reason."""
    refuse_those_of(MEANINGLESS, faults, "a simulated Lambda")


def expected_pixels(
    options: SimulatorOptions, module: int, exposure: int, depth: BitDepth, subframe: int = 0
) -> npt.NDArray[Any]:
    """What a module sees in an exposure: a pattern of its own, as far as its counters count."""
    pattern = _pattern(options.seed, module, options.rows, options.columns, pixel_type(depth), subframe)
    # A dead pixel counts nothing here: all bits set are what the receiver puts where a module is missing.
    pixels = pattern.frame(exposure)
    pixels[pixels > (1 << depth) - 1] = (1 << depth) - 1
    return pixels


def simulated_pixels(settings: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Callable[[int], npt.NDArray[Any]]:
    """See `detectors.simulation.pattern.pixels_of`. Of series of one acquisition, and of the first threshold."""
    modules, rows, columns = shape
    options = SimulatorOptions(modules=modules, rows=rows, columns=columns, seed=settings.seed)
    depth = {1: BitDepth.DEPTH_6, 2: BitDepth.DEPTH_12}.get(dtype.itemsize, BitDepth.DEPTH_24)
    return lambda number: np.stack([expected_pixels(options, module, number, depth) for module in range(modules)])


def pixels_of(options: SimulatorOptions, module: int, frame: Waiting) -> npt.NDArray[Any]:
    """What a receiver hands out, with what is wrong with it."""
    pixels = expected_pixels(options, module, frame.exposure, frame.depth, frame.subframe)
    match frame.damage:
        case Damage.TRUNCATED:
            pixels[len(pixels) // 2 :] = 0  # packets that were lost leave their place empty
        case Damage.BITS:
            pixels[len(pixels) // 2, 0] ^= 1
        case Damage.SIZE:
            return np.append(pixels.reshape(-1), pixels.dtype.type(0))
        case Damage.DTYPE:
            return pixels.astype("uint16" if pixels.dtype.itemsize == 4 else "uint32")
        case Damage.SHAPE:
            return pixels[: max(1, len(pixels) // 2)] if len(pixels) > 1 else np.repeat(pixels, 2, axis=0)
    return pixels


@functools.lru_cache(maxsize=64)
def _pattern(seed: int, module: int, rows: int, columns: int, dtype: str, subframe: int) -> FramePattern:
    return FramePattern(
        seed + 1000 * module, (rows, columns), dtype, channel=f"threshold_{subframe + 1}", masked_value=0
    )
