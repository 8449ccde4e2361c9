"""The stream of slsReceiver (PSI Jungfrau, Eiger ...): JSON, then raw pixels; one connection for each UDP port.

Source: slsdetectorgroup/slsDetectorPackage 9 (`slsSupportLib/src/ZmqSocket.cpp`, `slsReceiverSoftware/src/
DataStreamer.cpp`), `jsonversion` 5. `docs/reference/wire-sls-json.md` has the table.

There is no start message: a series begins with its first image. It ends with a message without pixels on every
connection (`data` 0), which tells nothing else: not even whose it is.

`frameIndex` counts from the first frame that one port has caught, so two ports that lost different frames at the start
give one frame different indices. `frameNumber` is the detector's and everywhere the same: it puts frames together.

Shapes on this wire are [x, y]; they are turned round here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import MOST_MODULES, Buffer, Encoding, FrameFormat, ModuleEnd, ModuleEvent, ModuleFrame
from maxdaq_tango.wire.blobs import check_blob, frame_format
from maxdaq_tango.wire.json_parts import Count, Size, encode_part, field_names, json_object, shown, typed, unknown_keys
from maxdaq_tango.wire.marked import unmarked

OLDEST_VERSION = 4
"""`jsonversion` of package 6 and 7. Before that keys had other names."""
VERSION = 5
TYPES = {8: "uint8", 16: "uint16", 32: "uint32"}
"""Bits of a pixel to its type. 4 bits are two pixels in a byte, which is no type of HDF5."""
TICK_S = 1e-7
"""Unit of `expLength` and `timestamp`."""

_Flag = bool | Annotated[int, msgspec.Meta(ge=0, le=1)]


class _Any(msgspec.Struct):
    """What every message has."""

    data: _Flag
    jsonversion: Count = VERSION


class _Image(msgspec.Struct, rename="camel"):
    data: _Flag
    bitmode: Count
    detshape: tuple[Size, Size]
    shape: tuple[Size, Size]
    frame_number: Count
    row: Count
    column: Count
    jsonversion: Count = VERSION
    frame_index: Count | None = None
    complete_image: _Flag = True
    packet_number: Count | None = None
    exp_length: Count | None = None
    timestamp: Count | None = None


SERIES_KEYS = (
    "jsonversion",
    "bitmode",
    "detshape",
    "shape",
    "fname",
    "fileIndex",
    "detType",
    "version",
    "quad",
    "rx_roi",
)
"""The same in every image of a series: they are kept as its header."""
_NOT_EXTRAS = (field_names(_Image) | frozenset(SERIES_KEYS) | {"size", "progress", "modId", "flipRows"}) - {
    "frameIndex"
}
"""What is no value of one frame, or has a field of its own. The serial number and flips of a module are no column of a
frame of several modules."""


class SlsJsonDecoder:
    """slsReceiver messages to events. Holds no state: any thread may use one, in any order of messages."""

    def decode(self, parts: Sequence[Buffer]) -> ModuleEvent:
        """One message, marked with its connection. The blob is handed on as the buffer it came in."""
        source, message = unmarked(parts)
        head = message[0] if type(message[0]) is bytes else bytes(message[0])
        raw = json_object(head.rstrip(b"\0"), "slsReceiver header")  # C strings: some versions send their end as well
        told = typed(_Any, {key: raw[key] for key in ("data", "jsonversion") if key in raw}, "slsReceiver header")
        if told.jsonversion < OLDEST_VERSION:
            raise WireError(
                "read an slsReceiver header",
                answer=f"jsonversion {told.jsonversion}",
                accepted=f"{OLDEST_VERSION} or later",
            )
        if not told.data:
            return ModuleEnd(source)
        if len(message) != 2:
            raise WireError("read an slsReceiver image", answer=f"{len(message)} parts", accepted="2, JSON and pixels")
        return _image(source, raw, message[1], len(head))


def _image(source: int, raw: dict[str, Any], blob: Buffer, head_nbytes: int) -> ModuleFrame:
    image = typed(_Image, raw, "slsReceiver image")
    columns, rows = image.detshape
    format = _format(image.shape, image.bitmode, columns * rows)
    if image.row >= rows or image.column >= columns:
        raise WireError(
            f"read slsReceiver image {image.frame_number}",
            answer=f"row {image.row}, column {image.column} of a detector of [x, y] = {list(image.detshape)} modules",
            accepted="a place in it",
        )
    trouble = ""
    try:
        check_blob(format, blob)
    except WireError as error:
        trouble = str(error)
    index, number = image.frame_index, image.frame_number
    return ModuleFrame(
        source=source,
        module=image.row * columns + image.column,
        module_count=columns * rows,
        frame_number=number,
        format=format,
        blob=None if trouble else blob,
        trouble=trouble,
        is_whole=bool(image.complete_image),
        first_number=number - index if index is not None and index <= number else None,
        packets=image.packet_number,
        exposure_time_s=None if image.exp_length is None else image.exp_length * TICK_S,
        start_time_s=None if image.timestamp is None else image.timestamp * TICK_S,
        head_nbytes=head_nbytes,
        extras=unknown_keys(raw, _NOT_EXTRAS),
        about={key: raw[key] for key in SERIES_KEYS if key in raw},
    )


@lru_cache(maxsize=256)
def _format(shape: tuple[int, int], bits: int, modules: int) -> FrameFormat:
    """Of one module; refused also where all of them together are no frame."""
    if bits not in TYPES:
        raise WireError("read an slsReceiver image", answer=f"bitmode {bits}", accepted=", ".join(map(str, TYPES)))
    if modules > MOST_MODULES:
        raise WireError("read an slsReceiver image", answer=f"{modules} modules", accepted=f"at most {MOST_MODULES}")
    columns, rows = shape
    frame_format((modules, rows, columns), TYPES[bits], Encoding.NONE, (1, rows, columns))
    return frame_format((rows, columns), TYPES[bits], Encoding.NONE)


def encode_image(
    frame_number: int,
    format: FrameFormat,
    blob: Buffer,
    *,
    place: tuple[int, int] = (0, 0),
    modules: tuple[int, int] = (1, 1),
    first_number: int = 1,
    is_whole: bool = True,
    packets: int = 128,
    exposure_ticks: int = 0,
    timestamp_ticks: int = 0,
    **extra: Any,
) -> list[Buffer]:
    """An image of one module. `format` is (rows, columns); `place` is (row, column) among `modules` = (rows, columns).

    A tick is 100 ns. `extra` is put into the JSON beside the rest, over what is there.
    """
    bits = {name: bits for bits, name in TYPES.items()}.get(format.dtype)
    if bits is None:
        raise WireError("write an slsReceiver image", answer=shown(format.dtype), accepted=", ".join(TYPES.values()))
    known = {
        "jsonversion": VERSION,
        "bitmode": bits,
        "fileIndex": 0,
        "detshape": modules[::-1],
        "shape": format.shape[::-1],
        "size": format.nbytes,
        "acqIndex": frame_number,
        "frameIndex": frame_number - first_number,
        "progress": 0.0,
        "fname": "/data/run",
        "data": 1,
        "completeImage": int(is_whole),
        "frameNumber": frame_number,
        "expLength": exposure_ticks,
        "packetNumber": packets,
        "detSpec1": 0,
        "timestamp": timestamp_ticks,
        "modId": 0,
        "row": place[0],
        "column": place[1],
        "detSpec2": 0,
        "detSpec3": 0,
        "detSpec4": 0,
        "detType": 3,
        "version": 2,
        "flipRows": 0,
        "quad": 0,
        "rx_roi": [-1, -1, -1, -1],
    }
    return [_c_string(known | extra), blob]


def encode_end() -> list[Buffer]:
    """The end of an acquisition on one connection: a header in which nothing is set."""
    unset = {"bitmode": 0, "detshape": [0, 0], "shape": [0, 0], "frameNumber": 0, "row": 0, "column": 0}
    return [_c_string({"jsonversion": VERSION, **unset, "data": 0, "completeImage": 0})]


def _c_string(fields: dict[str, Any]) -> bytes:
    return encode_part(fields) + b"\n\0"
