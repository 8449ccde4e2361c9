"""The table of a simulated camera's properties: limits and access of each, what is computed, words for values. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from maxdaq_tango.detectors.orca.properties import (
    Access,
    Attributes,
    CoolerStatus,
    Kind,
    PixelType,
    Property,
    SensorMode,
    Switch,
    TriggerActive,
    TriggerPolarity,
    TriggerSource,
    Unit,
    VendorTriggerMode,
)

if TYPE_CHECKING:
    from maxdaq_tango.detectors.orca.simulator_properties import OrcaProperties

ANYWHERE = Access.READABLE | Access.WRITABLE | Access.ACCESS_READY | Access.ACCESS_BUSY
READY = Access.READABLE | Access.WRITABLE | Access.ACCESS_READY
STABLE = Access.READABLE | Access.WRITABLE
READ = Access.READABLE
EXPOSURE_STEP_S = 1e-7
NAMES = {
    Property.BITS_PER_CHANNEL: "BIT PER CHANNEL",
    Property.TRIGGER_SOURCE: "TRIGGER SOURCE",
    Property.INTERNAL_FRAME_RATE: "INTERNAL FRAME RATE",
    Property.IMAGE_ROW_BYTES: "IMAGE ROWBYTES",
    Property.IMAGE_FRAME_BYTES: "IMAGE FRAMEBYTES",
    Property.IMAGE_TOP_OFFSET_BYTES: "IMAGE TOP OFFSET BYTES",
    Property.BUFFER_ROW_BYTES: "BUFFER ROWBYTES",
    Property.BUFFER_FRAME_BYTES: "BUFFER FRAMEBYTES",
}
"""Where the camera's name is not ours with blanks."""


def words(number: int, value: int) -> str:
    """The camera's word for a value of a mode."""
    kinds = {
        Property.TRIGGER_SOURCE: TriggerSource,
        Property.TRIGGER_ACTIVE: TriggerActive,
        Property.TRIGGER_MODE: VendorTriggerMode,
        Property.TRIGGER_POLARITY: TriggerPolarity,
        Property.SENSOR_MODE: SensorMode,
        Property.IMAGE_PIXEL_TYPE: PixelType,
    }
    kind = kinds.get(Property(number))
    if kind is not None:
        return kind(value).name.replace("_", " ")
    others = {
        Property.SENSOR_COOLER: {1: "OFF", 2: "ON", 4: "MAX"},
        Property.READOUT_SPEED: {1: "SLOWEST", 2: "FASTEST"},
        Property.TRIGGER_GLOBAL_EXPOSURE: {3: "DELAYED", 5: "GLOBAL RESET"},
        Property.SYSTEM_ALIVE: {1: "OFFLINE", 2: "ONLINE"},
        Property.OUTPUT_TRIGGER_KIND: dict(
            enumerate(("LOW", "GLOBAL EXPOSURE", "PROGRAMMABLE", "TRIGGER READY", "HIGH", "ANY ROW EXPOSURE"), 1)
        ),
    }
    return others.get(Property(number), {1: "OFF", 2: "ON"})[value]


Make = Callable[["OrcaProperties", int], Attributes]


def _mode(access: Access, default: float) -> Make:
    def make(camera: OrcaProperties, number: int) -> Attributes:
        values = camera.choices(number)
        return Attributes(
            access | Access.HAS_RANGE | Access.HAS_STEP | Access.HAS_DEFAULT | Access.HAS_VALUE_TEXT,
            Kind.MODE,
            Unit.NONE,
            min(values),
            max(values),
            1,
            default if default in values else values[0],
        )

    return make


def _number(
    kind: Kind,
    access: Access,
    limits: Callable[[OrcaProperties], tuple[float, float, float, float]],
    unit: Unit = Unit.NONE,
) -> Make:
    """`limits` gives (minimum, maximum, step, default)."""

    def make(camera: OrcaProperties, number: int) -> Attributes:
        minimum, maximum, step, default = limits(camera)
        has = Access.HAS_RANGE | Access.HAS_DEFAULT | (Access.HAS_STEP if step else Access(0))
        return Attributes(access | has, kind, unit, minimum, maximum, step, default)

    return make


def _read(kind: Kind, unit: Unit = Unit.NONE, *, volatile: bool = False) -> Make:
    access = READ | Access.VOLATILE if volatile else READ
    return lambda camera, number: Attributes(access, kind, unit)


def _frame_interval(camera: OrcaProperties, number: int) -> Attributes:
    rate = number == Property.INTERNAL_FRAME_RATE
    unit = Unit.PER_SECOND if rate else Unit.SECOND
    if not camera.model.interval_is_writable:
        return Attributes(READ, Kind.REAL, unit)
    shortest = camera.least_interval_s
    low, high = (1 / 3600, 1 / shortest) if rate else (shortest, 3600.0)
    access = READY | Access.HAS_RANGE | Access.AUTO_ROUNDING
    return Attributes(access, Kind.REAL, unit, low, high, 0.0, high if rate else low)


SUBARRAY = (
    Property.SUBARRAY_HPOS,
    Property.SUBARRAY_HSIZE,
    Property.SUBARRAY_VPOS,
    Property.SUBARRAY_VSIZE,
)
TABLE: dict[int, Make] = {
    Property.TRIGGER_SOURCE: _mode(ANYWHERE, TriggerSource.INTERNAL),
    Property.TRIGGER_ACTIVE: _mode(READY, TriggerActive.EDGE),
    Property.TRIGGER_MODE: _mode(READY, VendorTriggerMode.NORMAL),
    Property.TRIGGER_POLARITY: _mode(READY, TriggerPolarity.NEGATIVE),
    Property.TRIGGER_TIMES: _number(Kind.LONG, READY, lambda camera: (1, 10_000, 1, 1)),
    Property.TRIGGER_DELAY: _number(
        Kind.REAL, READY | Access.AUTO_ROUNDING, lambda camera: (0, 10, 1e-6, 0), Unit.SECOND
    ),
    Property.OUTPUT_TRIGGER_CONNECTORS: _read(Kind.LONG),
    Property.OUTPUT_TRIGGER_KIND: _mode(READY, 1),
    Property.EXPOSURE_TIME: _number(
        Kind.REAL,
        ANYWHERE | Access.AUTO_ROUNDING,
        lambda camera: (
            camera.exposure_min_s,
            camera.model.exposure_max_s,
            EXPOSURE_STEP_S,
            camera.model.exposure_default_s,
        ),
        Unit.SECOND,
    ),
    Property.TRIGGER_GLOBAL_EXPOSURE: _mode(READY, 3),
    Property.SENSOR_TEMPERATURE: _read(Kind.REAL, Unit.CELSIUS, volatile=True),
    Property.SENSOR_COOLER: _mode(ANYWHERE, Switch.ON),
    Property.SENSOR_TEMPERATURE_TARGET: _number(Kind.REAL, READY, lambda camera: (-50, 100, 0.1, -20), Unit.CELSIUS),
    Property.SENSOR_COOLER_STATUS: _read(Kind.MODE, volatile=True),
    Property.HIGH_DYNAMIC_RANGE_MODE: _mode(STABLE, Switch.OFF),
    Property.READOUT_SPEED: _mode(STABLE, 2),
    Property.SENSOR_MODE: _mode(STABLE, SensorMode.AREA),
    Property.BINNING: _mode(STABLE, 1),
    Property.SUBARRAY_HPOS: _number(Kind.LONG, STABLE, lambda c: (0, c.columns - c.column_step, c.column_step, 0)),
    Property.SUBARRAY_HSIZE: _number(Kind.LONG, STABLE, lambda c: (c.column_step, c.columns, c.column_step, c.columns)),
    Property.SUBARRAY_VPOS: _number(Kind.LONG, STABLE, lambda c: (0, c.rows - c.model.row_step, c.model.row_step, 0)),
    Property.SUBARRAY_VSIZE: _number(Kind.LONG, STABLE, lambda c: (c.model.row_step, c.rows, c.model.row_step, c.rows)),
    Property.SUBARRAY_MODE: _mode(STABLE, Switch.OFF),
    Property.TIMING_READOUT_TIME: _read(Kind.REAL, Unit.SECOND),
    Property.TIMING_MIN_TRIGGER_INTERVAL: _read(Kind.REAL, Unit.SECOND),
    Property.INTERNAL_FRAME_RATE: _frame_interval,
    Property.INTERNAL_FRAME_INTERVAL: _frame_interval,
    Property.TIMESTAMP_PRODUCER: _read(Kind.MODE),
    Property.FRAMESTAMP_PRODUCER: _read(Kind.MODE),
    Property.BITS_PER_CHANNEL: _read(Kind.LONG),
    Property.IMAGE_WIDTH: _read(Kind.LONG),
    Property.IMAGE_HEIGHT: _read(Kind.LONG),
    Property.IMAGE_ROW_BYTES: _read(Kind.LONG),
    Property.IMAGE_FRAME_BYTES: _read(Kind.LONG),
    Property.IMAGE_TOP_OFFSET_BYTES: _read(Kind.LONG),
    Property.IMAGE_PIXEL_TYPE: _mode(STABLE, PixelType.MONO16),
    Property.BUFFER_ROW_BYTES: _read(Kind.LONG),
    Property.BUFFER_FRAME_BYTES: _read(Kind.LONG),
    Property.BUFFER_TOP_OFFSET_BYTES: _read(Kind.LONG),
    Property.BUFFER_PIXEL_TYPE: _read(Kind.MODE),
    Property.FRAME_BUNDLE_MODE: _mode(STABLE, Switch.OFF),
    Property.SYSTEM_ALIVE: _read(Kind.MODE, volatile=True),
}
_PRODUCER = 5
"""The camera itself stamps."""
DERIVED: dict[int, Callable[[OrcaProperties], float]] = {
    Property.OUTPUT_TRIGGER_CONNECTORS: lambda c: c.model.output_triggers,
    Property.SENSOR_TEMPERATURE: lambda c: (
        c.value(Property.SENSOR_TEMPERATURE_TARGET) if c.model.has_cooler_control else 25.0
    ),
    Property.SENSOR_COOLER_STATUS: lambda c: (
        CoolerStatus.OFF
        if c.model.has_cooler_control and c.value(Property.SENSOR_COOLER) == Switch.OFF
        else CoolerStatus.READY
    ),
    Property.TIMING_READOUT_TIME: lambda c: c.readout_s,
    Property.TIMING_MIN_TRIGGER_INTERVAL: lambda c: c.least_interval_s,
    Property.INTERNAL_FRAME_RATE: lambda c: 1 / c.interval_s,
    Property.INTERNAL_FRAME_INTERVAL: lambda c: c.interval_s,
    Property.TIMESTAMP_PRODUCER: lambda c: _PRODUCER,
    Property.FRAMESTAMP_PRODUCER: lambda c: _PRODUCER,
    Property.BITS_PER_CHANNEL: lambda c: c.bits,
    Property.IMAGE_WIDTH: lambda c: c.image[2],
    Property.IMAGE_HEIGHT: lambda c: c.image[3],
    Property.IMAGE_ROW_BYTES: lambda c: c.row_nbytes(),
    Property.IMAGE_FRAME_BYTES: lambda c: c.row_nbytes() * c.image[3],
    Property.IMAGE_TOP_OFFSET_BYTES: lambda c: 0,
    Property.BUFFER_ROW_BYTES: lambda c: c.row_nbytes(),
    Property.BUFFER_FRAME_BYTES: lambda c: c.row_nbytes() * c.image[3],
    Property.BUFFER_TOP_OFFSET_BYTES: lambda c: 0,
    Property.BUFFER_PIXEL_TYPE: lambda c: c.pixel_type,
    Property.SYSTEM_ALIVE: lambda c: 2,
}
"""What is computed and not stored."""
