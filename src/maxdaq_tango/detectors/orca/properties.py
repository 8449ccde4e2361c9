"""The words of DCAM-API: property numbers, what may be done with one, and the values that modes can have.

Every value travels as a double, whatever it is. Pure, and used by both sides: the driver and the simulated camera.

Source: DCAM-API 4 (June 2021), as far as public programs state its numbers; the property lists of C14120-20P
(ORCA-Lightning) and C15550-20UP (ORCA-Quest).
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

import msgspec


class Property(IntEnum):
    """Properties that this package knows by name; a camera has more, `dcamprop_getnextid` lists them."""

    TRIGGER_SOURCE = 0x00100110
    TRIGGER_ACTIVE = 0x00100120
    TRIGGER_MODE = 0x00100210
    TRIGGER_POLARITY = 0x00100220
    TRIGGER_TIMES = 0x00100240
    TRIGGER_DELAY = 0x00100260
    OUTPUT_TRIGGER_CONNECTORS = 0x001C0010
    OUTPUT_TRIGGER_KIND = 0x001C0160
    EXPOSURE_TIME = 0x001F0110
    TRIGGER_GLOBAL_EXPOSURE = 0x001F0300
    SENSOR_TEMPERATURE = 0x00200310
    SENSOR_COOLER = 0x00200320
    SENSOR_TEMPERATURE_TARGET = 0x00200330
    SENSOR_COOLER_STATUS = 0x00200340
    HIGH_DYNAMIC_RANGE_MODE = 0x00300150
    READOUT_SPEED = 0x00400110
    SENSOR_MODE = 0x00400210
    BINNING = 0x00401110
    SUBARRAY_HPOS = 0x00402110
    SUBARRAY_HSIZE = 0x00402120
    SUBARRAY_VPOS = 0x00402130
    SUBARRAY_VSIZE = 0x00402140
    SUBARRAY_MODE = 0x00402150
    TIMING_READOUT_TIME = 0x00403010
    TIMING_MIN_TRIGGER_INTERVAL = 0x00403050
    INTERNAL_FRAME_RATE = 0x00403810
    INTERNAL_FRAME_INTERVAL = 0x00403820
    TIMESTAMP_PRODUCER = 0x00410A10
    FRAMESTAMP_PRODUCER = 0x00410A20
    BITS_PER_CHANNEL = 0x00420130
    IMAGE_WIDTH = 0x00420210
    IMAGE_HEIGHT = 0x00420220
    IMAGE_ROW_BYTES = 0x00420230
    IMAGE_FRAME_BYTES = 0x00420240
    IMAGE_TOP_OFFSET_BYTES = 0x00420250
    IMAGE_PIXEL_TYPE = 0x00420270
    BUFFER_ROW_BYTES = 0x00420330
    BUFFER_FRAME_BYTES = 0x00420340
    BUFFER_TOP_OFFSET_BYTES = 0x00420350
    BUFFER_PIXEL_TYPE = 0x00420360
    FRAME_BUNDLE_MODE = 0x00421010
    SYSTEM_ALIVE = 0x00FF0010


NEXT = 0x01000000
"""Option of `dcamprop_queryvalue`: the value after the one given; PRIOR: the one before."""
PRIOR = 0xFF000000


class Access(IntFlag):
    """Bits of a property's attribute word, without its type."""

    HAS_RANGE = 0x80000000
    HAS_STEP = 0x40000000
    HAS_DEFAULT = 0x20000000
    HAS_VALUE_TEXT = 0x10000000
    AUTO_ROUNDING = 0x00800000
    """A value between two steps becomes the nearest one; without this it is refused."""
    VOLATILE = 0x00080000
    """May change by itself."""
    WRITABLE = 0x00020000
    READABLE = 0x00010000
    ACCESS_READY = 0x00002000
    """May be written while buffers are there."""
    ACCESS_BUSY = 0x00001000
    """May be written during a capture."""


class Kind(IntEnum):
    """Type of a property, the lowest four bits of its attribute word."""

    NONE = 0
    MODE = 1
    LONG = 2
    REAL = 3


KIND_MASK = 0xF


class Unit(IntEnum):
    """Unit of a property."""

    NONE = 0
    SECOND = 1
    CELSIUS = 2
    KELVIN = 3
    METRE_PER_SECOND = 4
    PER_SECOND = 5
    DEGREE = 6
    MICROMETRE = 7


UNIT_SIGNS = {
    Unit.NONE: "",
    Unit.SECOND: "s",
    Unit.CELSIUS: "degC",
    Unit.KELVIN: "K",
    Unit.METRE_PER_SECOND: "m/s",
    Unit.PER_SECOND: "Hz",
    Unit.DEGREE: "deg",
    Unit.MICROMETRE: "um",
}


class Switch(IntEnum):
    """Every two-way mode of DCAM."""

    OFF = 1
    ON = 2


class TriggerSource(IntEnum):
    """What starts an exposure."""

    INTERNAL = 1
    EXTERNAL = 2
    SOFTWARE = 3
    MASTER_PULSE = 4


class TriggerActive(IntEnum):
    """Which part of an external signal counts."""

    EDGE = 1
    LEVEL = 2
    SYNC_READOUT = 3


class VendorTriggerMode(IntEnum):
    """NORMAL: one trigger, one frame. START: the first trigger starts free running."""

    NORMAL = 1
    START = 6


class TriggerPolarity(IntEnum):
    """Falling or rising edge; low or high level."""

    NEGATIVE = 1
    POSITIVE = 2


class SensorMode(IntEnum):
    """How the sensor is read."""

    AREA = 1
    PROGRESSIVE = 12
    PHOTON_NUMBER = 18


class CoolerStatus(IntEnum):
    """State of the sensor cooler; -1 to -4 are its errors."""

    NONE = 0
    OFF = 1
    READY = 2
    BUSY = 3
    ALWAYS = 4


class PixelType(IntEnum):
    """How pixels lie in memory."""

    MONO8 = 1
    MONO16 = 2
    MONO12 = 3
    """Two pixels in three bytes, the upper eight bits of each in a byte of their own."""
    MONO12P = 5
    """Two pixels in three bytes, the lower bits first."""


PACKED = frozenset({PixelType.MONO12, PixelType.MONO12P})


def row_nbytes(pixel_type: PixelType, columns: int) -> int:
    """Bytes of a row without padding; packed rows end at a whole byte."""
    if pixel_type in PACKED:
        return (3 * columns + 1) // 2
    return columns * (1 if pixel_type is PixelType.MONO8 else 2)


class CaptureStatus(IntEnum):
    """Answer of `dcamcap_status`.

    STABLE  --buffers-->  READY  --start-->  BUSY  --stop-->  READY  --release-->  STABLE
    """

    ERROR = 0
    BUSY = 1
    READY = 2
    STABLE = 3
    UNSTABLE = 4


class IdString(IntEnum):
    """Texts of `dcamdev_getstring`."""

    BUS = 0x04000101
    CAMERA_ID = 0x04000102
    VENDOR = 0x04000103
    MODEL = 0x04000104
    CAMERA_VERSION = 0x04000105
    DRIVER_VERSION = 0x04000106
    MODULE_VERSION = 0x04000107
    API_VERSION = 0x04000108
    SERIES_NAME = 0x0400012C


class Attributes(msgspec.Struct, frozen=True):
    """What a camera says of one of its properties at this moment: limits depend on other properties."""

    access: Access
    kind: Kind
    unit: int = Unit.NONE
    minimum: float = 0.0
    maximum: float = 0.0
    step: float = 0.0
    default: float = 0.0

    @property
    def is_readable(self) -> bool:
        """It has a value to read."""
        return Access.READABLE in self.access

    @property
    def is_writable(self) -> bool:
        """It can be written in some state; `writable_in` says in which."""
        return Access.WRITABLE in self.access

    def writable_in(self, status: CaptureStatus) -> bool:
        """May it be written in this state of the capture?"""
        if not self.is_writable:
            return False
        if status is CaptureStatus.BUSY:
            return Access.ACCESS_BUSY in self.access
        return status is CaptureStatus.STABLE or Access.ACCESS_READY in self.access

    @property
    def word(self) -> int:
        """The attribute word, 32 bits unsigned."""
        return int(self.access) | int(self.kind)


def name_of(number: int) -> str:
    """Our name of a property, or its number."""
    try:
        return Property(number).name
    except ValueError:
        return f"0x{number:08X}"
