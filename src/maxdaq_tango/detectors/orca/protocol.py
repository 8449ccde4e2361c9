"""What driver and streamer of an ORCA say to each other, as types. The commands travel as JSON over HTTP.

| command | arguments | answer |
|---|---|---|
| `connect` | - | `Connected`; opens the library and the camera when they are not open |
| `configure` | `AcquisitionSettings` | `Configured` |
| `arm` | - | number of frames |
| `trigger` | exposure_time_s or nothing | null, when the burst is exposed or the series was ended |
| `stop`, `abort` | - | null |
| `status` (GET too) | - | `Status` |
| `properties` (GET too) | - | list of `PropertyState` |
| `selected` | `Selection` | list of `PropertyState` |
| `property` | `Named` | `PropertyState` |
| `set_property` | `SetProperty` | `PropertyState` |
| `region` (GET too) | - | `Region` |
| `set_region` | `Region` | `Region` |
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from maxdaq_tango.detectors.orca.properties import PixelType, Property, row_nbytes
from maxdaq_tango.errors import ConfigurationError, DetectorRefused
from maxdaq_tango.model import Encoding, FrameFormat
from maxdaq_tango.model.hardware import HardwareState

ENCODINGS = {
    PixelType.MONO8: ("uint8", Encoding.NONE),
    PixelType.MONO16: ("uint16", Encoding.NONE),
    PixelType.MONO12: ("uint16", Encoding.MONO12),
    PixelType.MONO12P: ("uint16", Encoding.MONO12P),
}
"""Type of pixels once unpacked, and how they travel."""


class CameraIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Texts that the camera tells of itself."""

    vendor: str
    model: str
    serial_number: str
    series: str = ""
    camera_version: str = ""
    driver_version: str = ""
    api_version: str = ""
    bus: str = ""


class Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the sensor, in pixels of the sensor, before binning."""

    left: int = 0
    top: int = 0
    columns: int = 0
    """0 = up to the right edge."""
    rows: int = 0
    """0 = down to the bottom."""


class CameraFormat(msgspec.Struct, frozen=True, kw_only=True):
    """Of a frame in a buffer."""

    rows: int
    columns: int
    pixel_type: str
    bits: int
    row_nbytes: int
    """From row to row; more than the pixels take where rows are padded."""
    frame_nbytes: int
    """Of a buffer."""
    offset_nbytes: int = 0
    """Before the first row."""

    @property
    def packed_row_nbytes(self) -> int:
        """Of a row without padding."""
        return row_nbytes(PixelType[self.pixel_type], self.columns)

    @property
    def blob_nbytes(self) -> int:
        """Of a frame in a message."""
        return self.packed_row_nbytes * self.rows

    @property
    def least_nbytes(self) -> int:
        """That a buffer must have."""
        return self.offset_nbytes + self.row_nbytes * (self.rows - 1) + self.packed_row_nbytes

    @property
    def dtype(self) -> str:
        """Of unpacked pixels."""
        return ENCODINGS[PixelType[self.pixel_type]][0]

    @property
    def frame_format(self) -> FrameFormat:
        """As a message states it."""
        dtype, encoding = ENCODINGS[PixelType[self.pixel_type]]
        return FrameFormat((self.rows, self.columns), dtype, encoding)


class PropertyState(msgspec.Struct, frozen=True, kw_only=True):
    """A DCAM property now."""

    id: int
    name: str
    value: float | None
    minimum: float = 0.0
    maximum: float = 0.0
    step: float = 0.0
    unit: str = ""
    writable: bool = False
    choices: dict[str, float] = {}
    """The camera's words for the values of a mode."""

    @property
    def word(self) -> str | None:
        """The camera's word for the present value; None where it has none."""
        return next((text for text, value in self.choices.items() if value == self.value), None)


class Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which property."""

    name: str
    """Ours (`EXPOSURE_TIME`), or a number (`0x001F0110`)."""

    @property
    def number(self) -> int:
        """Its number; DetectorRefused for a name that is none."""
        return property_number(self.name)


class TriggerWish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one trigger."""

    exposure_time_s: float | None = None
    """Of its frames; None = as before."""


ANY_TRIGGER = TriggerWish()


class SetProperty(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A property to write."""

    name: str
    value: float | str
    """A number, or one of the camera's words for a mode."""

    @property
    def number(self) -> int:
        """See `Named`."""
        return property_number(self.name)


class Selection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Some properties; those that the camera lacks are left out of the answer."""

    names: list[str]


class Limits(msgspec.Struct, frozen=True):
    """Least and most."""

    minimum: float
    maximum: float


class Connected(msgspec.Struct, frozen=True, kw_only=True):
    """Who is there."""

    identity: CameraIdentity
    library: str
    exposure_time_s: Limits
    readout_time_s: float


class Configured(msgspec.Struct, frozen=True, kw_only=True):
    """What will be sent."""

    format: CameraFormat
    frame_count: int
    frame_period_s: float
    stream_port: int
    metadata: dict[str, Any]


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Of one series, from `arm` on."""

    acquired: int = 0
    """Transferred to the ring: sent, waiting (or still in the ring), not sent, or lost in the ring."""
    sent: int = 0
    """Handed to ZeroMQ."""
    waiting: int = 0
    """Read from the ring, and not yet sent."""
    lost_in_camera: int = 0
    """Exposed, and never transferred: gaps in the camera's own count."""
    lost_in_ring: int = 0
    """Overwritten in the ring because the receiver, or this computer, was too slow."""
    not_sent: int = 0
    """Given up at an abort, or because nobody took them before the next series."""
    lost_frame_events: int = 0
    """Times that the driver said LOSTFRAME."""
    odd_stamps: int = 0
    """Frame stamps that did not fit; those frames are numbered as they came."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A look at streamer and camera."""

    state: HardwareState
    message: str = ""
    ready_for_trigger: bool = False
    capture_status: str = ""
    """DCAM's own word."""
    counts: Counts = Counts()
    series: int = 0
    """Series that this streamer has begun."""
    ring_slots: int = 0


def property_number(name: str) -> int:
    """Of a property by our name, or by its number in any base."""
    text = name.strip()
    try:
        return Property[text.upper().replace(" ", "_").replace("-", "_")]
    except KeyError:
        pass
    try:
        return int(text, 0)
    except ValueError:
        known = ", ".join(sorted(Property.__members__))
        raise DetectorRefused(
            f"find the DCAM property {name!r}", answer="there is no such name", accepted=f"a number, or one of {known}"
        ) from None


def parse_settings(texts: Iterable[str]) -> dict[str, float | str]:
    """Property > value, from texts NAME=VALUE. ConfigurationError for one that is none."""
    found: dict[str, float | str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not text.strip():
            continue
        try:
            property_number(name)
        except DetectorRefused as error:
            raise ConfigurationError(f"set {text!r}", answer=error.answer, accepted=error.accepted) from None
        if not equals or not value:
            raise ConfigurationError(f"set {text!r}", answer="it has no value", accepted="NAME=VALUE")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = value
    return found
