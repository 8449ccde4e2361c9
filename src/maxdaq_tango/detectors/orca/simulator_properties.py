"""Properties of a simulated camera: limits that depend on each other, rules by state, values. Pure.

A refusal is a `Refusal` with DCAM's code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from maxdaq_tango.detectors.orca.dcam_errors import DcamError
from maxdaq_tango.detectors.orca.properties import (
    NEXT,
    PRIOR,
    Access,
    Attributes,
    CaptureStatus,
    PixelType,
    Property,
    Switch,
    TriggerActive,
    TriggerPolarity,
    VendorTriggerMode,
    row_nbytes,
)
from maxdaq_tango.detectors.orca.simulator_models import SMALL_SENSOR, SMALL_STEP, Model
from maxdaq_tango.detectors.orca.simulator_table import DERIVED, NAMES, SUBARRAY, TABLE, words

MONO_16 = (PixelType.MONO16,)
_Values = tuple[int, ...]


class Refusal(Exception):
    """What a call answers."""

    def __init__(self, code: DcamError) -> None:
        super().__init__(code.name)
        self.code = code


class OrcaProperties:
    """All properties of one camera."""

    def __init__(self, model: Model, rows: int, columns: int) -> None:
        self.model: Model = model
        self.rows: int = rows
        self.columns: int = columns
        self.column_step: int = model.column_step if columns >= SMALL_SENSOR else SMALL_STEP
        self._interval_s = 0.0
        """As written; a shorter one than the exposure takes does not count."""
        self._set: dict[int, float] = {}
        self._set = {
            number: attributes.default
            for number in self._tables()
            if number not in DERIVED and (attributes := self.attributes(number)).is_writable
        }

    def ids(self) -> list[int]:
        """All that there are, rising."""
        return sorted(self._tables())

    def name(self, number: int) -> str:
        """As the camera spells it."""
        if number not in self._tables():
            raise Refusal(DcamError.INVALIDPROPERTYID)
        return NAMES.get(Property(number), Property(number).name.replace("_", " "))

    def attributes(self, number: int) -> Attributes:
        """Limits and access now."""
        make = self._tables().get(number)
        if make is None:
            raise Refusal(DcamError.INVALIDPROPERTYID)
        return make()

    def value(self, number: int) -> float:
        """What it is now."""
        derived = DERIVED.get(number)
        if derived is not None and number in self._tables():
            return derived(self)
        if number in self._set:
            return self._set[number]
        return self.attributes(number).default

    def write(self, number: int, value: float, status: CaptureStatus) -> float:
        """Set it, and say what it became."""
        attributes = self.attributes(number)
        if not attributes.is_writable:
            raise Refusal(DcamError.NOTWRITABLE)
        if not attributes.writable_in(status):
            raise Refusal(DcamError.BUSY if status is CaptureStatus.BUSY else DcamError.NOTSTABLE)
        value = self._checked(number, attributes, value)
        if number == Property.INTERNAL_FRAME_INTERVAL:
            self._interval_s = value
        elif number == Property.INTERNAL_FRAME_RATE:
            self._interval_s = 1 / value
        else:
            self._set[number] = value
        if number == Property.HIGH_DYNAMIC_RANGE_MODE:
            if self.pixel_type not in self._pixel_types():
                self._set[Property.IMAGE_PIXEL_TYPE] = PixelType.MONO16
            self._set[Property.EXPOSURE_TIME] = max(self.exposure_s, self.exposure_min_s)
        return self.value(number)

    def _checked(self, number: int, attributes: Attributes, value: float) -> float:
        if not math.isfinite(value):
            raise Refusal(DcamError.INVALIDVALUE)
        slack = 1e-9 * max(1.0, abs(attributes.maximum))
        if not attributes.minimum - slack <= value <= attributes.maximum + slack:
            raise Refusal(DcamError.OUTOFRANGE)
        values = self.choices(number)
        if values and value not in values:
            raise Refusal(DcamError.INVALIDVALUE)
        if attributes.step and not values:
            steps = round((value - attributes.minimum) / attributes.step)
            nearest = min(attributes.minimum + steps * attributes.step, attributes.maximum)
            if Access.AUTO_ROUNDING not in attributes.access and abs(nearest - value) > 1e-6 * attributes.step:
                raise Refusal(DcamError.INVALIDVALUE)
            value = nearest
        self._fits(number, value)
        return value

    def _fits(self, number: int, value: float) -> None:
        for position, size, whole in (
            (Property.SUBARRAY_HPOS, Property.SUBARRAY_HSIZE, self.columns),
            (Property.SUBARRAY_VPOS, Property.SUBARRAY_VSIZE, self.rows),
        ):
            if number in (position, size) and value + self._set[size if number == position else position] > whole:
                raise Refusal(DcamError.INVALIDSUBARRAY)

    def choices(self, number: int) -> _Values:
        """Values of a mode, () for anything else."""
        model = self.model
        values: dict[int, _Values] = {
            Property.TRIGGER_SOURCE: model.sources,
            Property.TRIGGER_ACTIVE: tuple(TriggerActive),
            Property.TRIGGER_MODE: tuple(VendorTriggerMode),
            Property.TRIGGER_POLARITY: tuple(TriggerPolarity),
            Property.SENSOR_MODE: model.sensor_modes,
            Property.BINNING: model.binnings,
            Property.SUBARRAY_MODE: tuple(Switch),
            Property.HIGH_DYNAMIC_RANGE_MODE: tuple(Switch),
            Property.READOUT_SPEED: tuple(range(1, len(model.line_times_s) + 1)),
            Property.IMAGE_PIXEL_TYPE: self._pixel_types(),
            Property.FRAME_BUNDLE_MODE: (Switch.OFF,),
            Property.SENSOR_COOLER: (Switch.OFF, Switch.ON, 4),
            Property.OUTPUT_TRIGGER_KIND: (1, 2, 3, 4, 5, 6),
            Property.TRIGGER_GLOBAL_EXPOSURE: (3, 5),
            Property.SYSTEM_ALIVE: (1, 2),
        }
        return values.get(number, ())

    def text(self, number: int, value: float) -> str:
        """The word for a value of a mode."""
        choices = self.choices(number)
        if number not in self._tables():
            raise Refusal(DcamError.INVALIDPROPERTYID)
        if value not in choices:
            raise Refusal(DcamError.NOVALUETEXT)
        if number == Property.BINNING:
            return f"{int(value)}X{int(value)}"
        return words(number, int(value))

    def query(self, number: int, value: float, option: int) -> float:
        """The value after or before another."""
        attributes, choices = self.attributes(number), self.choices(number)
        if option & 0xFF000000 not in (NEXT, PRIOR):
            return self._checked(number, attributes, value)
        forward = option & 0xFF000000 == NEXT
        if choices:
            found = [
                item for item in sorted(choices, reverse=not forward) if (item > value) is forward and item != value
            ]
            if not found:
                raise Refusal(DcamError.OUTOFRANGE)
            return float(found[0])
        beside = value + (attributes.step if forward else -attributes.step)
        if not attributes.step or not attributes.minimum <= beside <= attributes.maximum:
            raise Refusal(DcamError.OUTOFRANGE)
        return beside

    # --- what follows from the settings ------------------------------------------------------------------------------

    @property
    def exposure_s(self) -> float:
        """Of one frame."""
        return self._set.get(Property.EXPOSURE_TIME, self.model.exposure_default_s)

    @property
    def is_deep(self) -> bool:
        """16 bits rather than 12."""
        return not self.model.has_high_dynamic_range or self._set.get(Property.HIGH_DYNAMIC_RANGE_MODE) == Switch.ON

    @property
    def bits(self) -> int:
        """That a pixel has."""
        return 8 if self.pixel_type is PixelType.MONO8 else 16 if self.is_deep else 12

    @property
    def pixel_type(self) -> PixelType:
        """Of a frame in the buffer."""
        return PixelType(int(self._set[Property.IMAGE_PIXEL_TYPE]))

    @property
    def image(self) -> tuple[int, int, int, int]:
        """(left, top, columns, rows) of a frame, after binning."""
        binning = int(self._set[Property.BINNING])
        left, columns, top, rows = 0, self.columns, 0, self.rows
        if self._set[Property.SUBARRAY_MODE] == Switch.ON:
            left, columns, top, rows = (int(self._set[key]) for key in SUBARRAY)
        return left // binning, top // binning, columns // binning, rows // binning

    @property
    def readout_s(self) -> float:
        """Time to read a frame."""
        rows = self._set[Property.SUBARRAY_VSIZE] if self._set[Property.SUBARRAY_MODE] == Switch.ON else self.rows
        return float(rows) * self._line_s()

    @property
    def interval_s(self) -> float:
        """Start to start in free running."""
        return max(self.exposure_s, self.readout_s, self._interval_s)

    @property
    def least_interval_s(self) -> float:
        """Start to start of two triggered frames."""
        return max(self.exposure_s, self.readout_s)

    def row_nbytes(self) -> int:
        """Of a frame in the buffer."""
        return row_nbytes(self.pixel_type, self.image[2])

    def _line_s(self) -> float:
        return self.model.line_times_s[int(self._set.get(Property.READOUT_SPEED, 1)) - 1]

    @property
    def exposure_min_s(self) -> float:
        """Shortest exposure; longer with 16 bits."""
        model = self.model
        return model.exposure_min_16_s if model.has_high_dynamic_range and self.is_deep else model.exposure_min_s

    def _pixel_types(self) -> _Values:
        return MONO_16 if self.model.has_high_dynamic_range and self.is_deep else self.model.pixel_types

    # --- tables ------------------------------------------------------------------------------------------------------

    def _tables(self) -> dict[int, Callable[[], Attributes]]:
        table = dict(TABLE)
        if not self.model.has_high_dynamic_range:
            del table[Property.HIGH_DYNAMIC_RANGE_MODE]
        if len(self.model.line_times_s) < 2:
            del table[Property.READOUT_SPEED]
        if not self.model.has_cooler_control:
            del table[Property.SENSOR_COOLER], table[Property.SENSOR_TEMPERATURE_TARGET]
        return {number: partial(make, self, number) for number, make in table.items()}
