"""The simulated ORCA: what every request answers and what every moment brings. No sockets, no threads.

Time comes in as an argument, in seconds of a monotonic clock. The owner (a server, or a test) calls

    reply = simulator.handle(request, now)
    shots = simulator.step(now)              # exposures that have ended
    parcel = simulator.develop(shot)         # their pixels, or None where they are lost

and holds one lock around every call but `develop`. Buffers are the library's matter; the camera knows whether there are
any, because the rules of access depend on it. A series, for faults and the account, begins when buffers are given.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from maxdaq_tango.detectors.orca.dcam_errors import DcamError
from maxdaq_tango.detectors.orca.properties import CaptureStatus, IdString, PixelType, Property
from maxdaq_tango.detectors.orca.simulator_capture import Capture, Signal
from maxdaq_tango.detectors.orca.simulator_faults import refuse_meaningless
from maxdaq_tango.detectors.orca.simulator_models import MODELS, SMALL_SENSOR, SMALL_STEP
from maxdaq_tango.detectors.orca.simulator_properties import OrcaProperties, Refusal
from maxdaq_tango.detectors.orca.simulator_wire import Op, Reply, Request, pack_attributes, pack_format
from maxdaq_tango.detectors.simulation.account import AccountBook
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.pattern import FramePattern
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.kernels.mono12p import pack_mono12, pack_mono12p

NO_FAULTS = Faults()
LARGEST_12_BIT = 4095


class OrcaOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulated camera is."""

    model: str = "lightning"
    rows: int = 2592
    columns: int = 4608
    """Of the sensor; any multiple of the sub-array's steps."""
    seed: int = 1
    serial_number: str = "S/N: 000001"

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ConfigurationError(f"simulate the model {self.model!r}", accepted=", ".join(MODELS))
        model = MODELS[self.model]
        step = model.column_step if self.columns >= SMALL_SENSOR else SMALL_STEP
        for name, value, most, by in (
            ("rows", self.rows, model.rows, model.row_step),
            ("columns", self.columns, model.columns, step),
        ):
            if not by <= value <= most or value % by:
                raise ConfigurationError(
                    f"simulate an {model.series} of {value} {name}", accepted=f"{by} to {most} in steps of {by}"
                )


class Shot(msgspec.Struct, frozen=True):
    """An exposure that has ended."""

    series: int
    number: int
    """Since buffers were given; the pixels are those of this number."""
    capture: int
    stamp: int
    """Since the capture began."""
    last: bool
    """The capture is over with it."""
    shape: tuple[int, int]
    pixel_type: PixelType
    bits: int


class OrcaSimulator:
    """One camera."""

    def __init__(self, options: OrcaOptions, faults: Faults = NO_FAULTS) -> None:
        self.options = options
        self.model = MODELS[options.model]
        self.faults = faults
        self.accounts = AccountBook()
        self.series = 0
        """Times that buffers were given."""
        self.ignored_triggers = 0
        self._patterns: dict[tuple[tuple[int, int], str], FramePattern] = {}
        self.reset()
        self.set_faults(faults)

    def reset(self) -> None:
        """As after power-on: default settings, no buffers."""
        self.properties = OrcaProperties(self.model, self.options.rows, self.options.columns)
        self.capture: Capture | None = None
        self.live_capture = 0
        """Number of the capture whose frames are still wanted; 0 = none."""
        self.error = ""
        self.signals: list[Signal] = []
        self._buffers = False
        self._exposures = 0

    @property
    def status(self) -> CaptureStatus:
        """As far as the camera knows it."""
        if self.error:
            return CaptureStatus.ERROR
        if self.capture is not None:
            return CaptureStatus.BUSY
        return CaptureStatus.READY if self._buffers else CaptureStatus.STABLE

    def set_faults(self, faults: Faults) -> None:
        """Break or mend the camera. An error state stays until the camera is opened anew.

        ConfigurationError for a fault that would do nothing.
        """
        refuse_meaningless(faults)
        self.faults = faults
        if faults.error_state:
            self.error = faults.error_state
            self.capture, self.live_capture = None, 0

    # --- requests ----------------------------------------------------------------------------------------------------

    def handle(self, request: Request, now: float) -> Reply:
        """One question. Never raises for what the library can send."""
        try:
            return self._handle(request, now)
        except Refusal as refusal:
            return Reply(refusal.code)

    def _handle(self, request: Request, now: float) -> Reply:
        properties, number = self.properties, request.id
        if request.op in (Op.GET, Op.SET, Op.ATTRIBUTES) and self._is_failing(number):
            raise Refusal(DcamError.FAILREADCAMERA if request.op != Op.SET else DcamError.FAILWRITECAMERA)
        match request.op:
            case Op.HELLO:
                return Reply()
            case Op.ATTRIBUTES:
                return Reply(payload=pack_attributes(properties.attributes(number)))
            case Op.GET:
                properties.attributes(number)
                return Reply(value=properties.value(number))
            case Op.SET:
                return Reply(value=properties.write(number, request.value, self.status))
            case Op.QUERY:
                return Reply(value=properties.query(number, request.value, request.option & 0xFFFFFFFF))
            case Op.NEXT:
                later = [known for known in properties.ids() if known > number]
                if not later:
                    raise Refusal(DcamError.NOPROPERTY)
                return Reply(value=later[0])
            case Op.NAME:
                return Reply(payload=properties.name(number).encode())
            case Op.VALUE_TEXT:
                return Reply(payload=properties.text(number, request.value).encode())
            case Op.STRING:
                return Reply(payload=self._text(number).encode())
            case Op.BUFFERS:
                return self._give(bool(number))
            case Op.START:
                return self._start(number, request.option, now)
            case Op.STOP:
                self.capture = None
                self.live_capture = 0
                return Reply()
            case Op.STATUS:
                return Reply(value=self.status)
            case Op.TRIGGER:
                if self.capture is None:
                    raise Refusal(DcamError.NOTBUSY)
                self.ignored_triggers += not self.capture.software_trigger(now)
                return Reply()
        raise Refusal(DcamError.NOTSUPPORT)

    def _is_failing(self, number: int) -> bool:
        keys = self.faults.failing_keys
        return bool(keys) and (Property(number).name in keys if number in set(Property) else str(number) in keys)

    def _text(self, number: int) -> str:
        texts = {
            IdString.BUS: "simulated",
            IdString.CAMERA_ID: self.options.serial_number,
            IdString.VENDOR: "Hamamatsu",
            IdString.MODEL: self.model.name,
            IdString.CAMERA_VERSION: "1.00.simulated",
            IdString.DRIVER_VERSION: "1.0.0.0",
            IdString.MODULE_VERSION: "1.0.0.0",
            IdString.API_VERSION: "4.00",
            IdString.SERIES_NAME: self.model.series,
        }
        if number not in texts:
            raise Refusal(DcamError.INVALIDPARAM)
        return texts[IdString(number)]

    def _give(self, given: bool) -> Reply:
        if not given:
            if self.capture is not None:
                raise Refusal(DcamError.BUSY)
            if self._buffers:
                self.accounts.finished(self.series)
            self._buffers = False
            return Reply()
        if self.error:
            raise Refusal(DcamError.UNSTABLE)
        if self.status is not CaptureStatus.STABLE:
            raise Refusal(DcamError.NOTSTABLE)
        self._buffers, self._exposures = True, 0
        self.series += 1
        self.accounts.begin(self.series, restarted=self.faults.restart_at)
        left, top, columns, rows = self.properties.image
        row_nbytes = self.properties.row_nbytes()
        return Reply(
            payload=pack_format(
                frame_nbytes=row_nbytes * rows,
                row_nbytes=row_nbytes,
                pixel_type=self.properties.pixel_type,
                width=columns,
                height=rows,
                left=left,
                top=top,
            )
        )

    def _start(self, capture: int, limit: int, now: float) -> Reply:
        if self.faults.refuse_arm:
            raise Refusal(DcamError.NORESOURCE)
        if self.error:
            raise Refusal(DcamError.UNSTABLE)
        if self.status is not CaptureStatus.READY:
            raise Refusal(DcamError.BUSY if self.capture else DcamError.NOTREADY)
        self.capture = Capture(self.properties, capture, limit, now)
        self.live_capture = capture
        return Reply()

    # --- time --------------------------------------------------------------------------------------------------------

    def signal(self, now: float, *, count: int = 1, period_s: float = 0.0, width_s: float = 0.0) -> None:
        """Edges (or gates of `width_s`) on the trigger input; without a period as fast as they are listened to."""
        if not period_s:
            period_s = max(self.properties.least_interval_s, width_s) * 1.05 + 1e-3
        for index in range(count):
            heapq.heappush(self.signals, Signal(now + index * period_s, width_s))

    def next_due(self) -> float | None:
        """When `step` should be called at the latest; None = not before the next request."""
        times = [self.signals[0].at] if self.signals else []
        due = None if self.faults.never_start or self.capture is None else self.capture.next_due()
        if due is not None:
            times.append(due)
        return min(times, default=None)

    def step(self, now: float) -> list[Shot]:
        """What has happened by now."""
        capture = self.capture
        while self.signals and self.signals[0].at <= now:
            given = heapq.heappop(self.signals)
            taken = capture is not None and (
                capture.gate(given.at, given.width_s) if given.width_s else capture.edge(given.at)
            )
            self.ignored_triggers += not taken
        if capture is None or self.faults.never_start:
            return []
        shots = [self._shot(capture, stamp) for stamp in capture.step(now)]
        if capture.is_over:
            self.capture = None
        return shots

    def _shot(self, capture: Capture, stamp: int) -> Shot:
        number, self._exposures = self._exposures, self._exposures + 1
        self.accounts.made(self.series)
        _, _, columns, rows = self.properties.image
        last = bool(capture.limit) and stamp + 1 == capture.limit
        return Shot(
            self.series,
            number,
            capture.number,
            stamp,
            last,
            (rows, columns),
            self.properties.pixel_type,
            self.properties.bits,
        )

    def develop(self, shot: Shot) -> bytes:
        """The pixels of an exposure as they lie in a buffer. Takes time; one thread."""
        pixels = self.expected(shot.number, shot.shape, shot.bits)
        if shot.pixel_type is PixelType.MONO12P:
            return pack_rows(pixels, pack_mono12p)
        if shot.pixel_type is PixelType.MONO12:
            return pack_rows(pixels, pack_mono12)
        return pixels.tobytes()

    def expected(self, number: int, shape: tuple[int, int], bits: int) -> np.ndarray:
        """What a receiver has to find: the shared pattern, cut off at 12 bits where there are no more."""
        dtype = "uint8" if bits == 8 else "uint16"
        pattern = self._patterns.get((shape, dtype))
        if pattern is None:
            if len(self._patterns) >= 4:
                self._patterns.clear()
            pattern = self._patterns[shape, dtype] = FramePattern(self.options.seed, shape, dtype)
        frame = pattern.frame(number)
        return np.minimum(frame, LARGEST_12_BIT, out=frame) if bits == 12 else frame


def pixels_of(settings: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Callable[[int], np.ndarray]:
    """Frame number > the frame as a camera with these settings sends it, in its default depth."""
    rows, columns = shape
    pattern = FramePattern(settings.seed, (rows, columns), dtype.name)
    shallow = MODELS[settings.model].has_high_dynamic_range and dtype.itemsize > 1

    def pixels(number: int) -> np.ndarray:
        frame = pattern.frame(number)
        return np.minimum(frame, LARGEST_12_BIT) if shallow else frame

    return pixels


def pack_rows(pixels: np.ndarray, pack: object) -> bytes:
    """Every row for itself where a row has an odd number of pixels: it ends at a whole byte."""
    return b"".join(pack(row) for row in pixels) if pixels.shape[1] % 2 else pack(pixels)  # type: ignore[operator]
