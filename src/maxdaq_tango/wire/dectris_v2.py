"""Dectris stream v2: one CBOR map per message, in one part.

Source: DECTRIS documentation `stream_v2/README.md`. Pilatus4 and Jungfraujoch send it too. The latter has keys of its
own, so unknown keys are kept; and messages of its own, on which no frame depends. MAX IV puts `filename` into
`user_data` (maxiv-science/streaming-receiver 21c9f92, detector.py:443). `docs/reference/wire-dectris-v2.md` has the
tables.

The element type comes from the array's tag and the packing from tag 56500, never from the start message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cbor2

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import (
    Buffer,
    DamagedFrame,
    Frame,
    FrameFormat,
    SeriesEnd,
    SeriesNote,
    SeriesStart,
    WireEvent,
)
from maxdaq_tango.wire.blobs import check_blob, frame_format
from maxdaq_tango.wire.cbor_arrays import TAG_SELF_DESCRIBE, WireArray, packed_array_tag, with_array_tags
from maxdaq_tango.wire.cbor_values import MAP_TYPES, PlainValues, load_map
from maxdaq_tango.wire.hints import appendix_hints, appendix_value, positive_seconds, whole_number
from maxdaq_tango.wire.json_parts import shown

NOTES = frozenset({"calibration", "metadata"})
"""Types of messages that Jungfraujoch sends beside start, image and end."""
_IDENTITY_KEYS = frozenset({"type", "series_unique_id"})
_IMAGE_KEYS = _IDENTITY_KEYS | {"image_id", "start_time", "stop_time", "real_time", "data", "user_data"}
_START_KEYS = _IDENTITY_KEYS | {"user_data"}
_MOST_CHANNELS = 64
_MOST_SERIES_CHARACTERS = 256
"""DECTRIS' unique id has 26."""
_MOST_ELEMENTS, _MOST_ELEMENTS_TOGETHER = 4096, 65536
"""Of arrays that come with an image beside its pixels, as far as they are kept: each element becomes a number."""


class DectrisV2Decoder:
    """v2 messages to events. Holds no state: any thread may use one, in any order of messages."""

    def decode(self, parts: Sequence[Buffer]) -> WireEvent:
        """One message. CBOR libraries cut byte strings out by copying, so blobs are bytes of their own."""
        if len(parts) != 1:
            raise WireError("read a Dectris v2 message", answer=f"{len(parts)} parts", accepted="1")
        message = load_map(parts[0])
        kind = message.get("type")
        if kind == "image":
            return _image(message)
        if kind == "start":
            return _start(message)
        if kind == "end":
            return SeriesEnd(series=_series(message))
        if isinstance(kind, str) and kind in NOTES:
            named = "series_unique_id" in message or "series_id" in message
            return SeriesNote(series=_series(message) if named else "", kind=kind)
        raise WireError("read Dectris v2 type", answer=shown(kind), accepted="start, image, end")


def _series(message: Mapping[Any, Any]) -> str:
    unique, number = message.get("series_unique_id"), message.get("series_id")
    if isinstance(unique, str) and 0 < len(unique) <= _MOST_SERIES_CHARACTERS:
        return unique
    if isinstance(unique, str) and unique:
        raise WireError(
            "read the Dectris v2 series",
            answer=f"a series_unique_id of {len(unique)} characters",
            accepted=f"at most {_MOST_SERIES_CHARACTERS}",
        )
    if type(number) is int and 0 <= number < 2**63:
        return str(number)
    raise WireError(
        "read the Dectris v2 series",
        answer=f"series_unique_id {shown(unique)}, series_id {shown(number)}",
        accepted="a text, or a number from 0",
    )


def _start(message: Mapping[Any, Any]) -> SeriesStart:
    values = PlainValues()
    metadata = values.mapping({key: value for key, value in message.items() if key not in _START_KEYS})
    appendix = _user_data(message, values)
    if appendix is not None:
        metadata["user_data"] = appendix
    hints = appendix_hints(appendix)
    return SeriesStart(
        series=_series(message),
        filename=hints.filename,
        save_raw=hints.save_raw,
        frame_count=whole_number(metadata.get("number_of_images")),
        frame_period_s=positive_seconds(metadata.get("frame_time")),
        rotate=hints.rotate,
        metadata=metadata,
        arrays=values.arrays,
    )


def _image(message: Mapping[Any, Any]) -> Frame:
    image_id = message.get("image_id")
    if type(image_id) is not int or not 0 <= image_id <= 2**62:
        raise WireError("read a Dectris v2 image_id", answer=shown(image_id), accepted="a number from 0")
    names, arrays = _channels(message.get("data"), image_id)
    first = arrays[0]
    if any(a.shape != first.shape or a.dtype != first.dtype or a.encoding != first.encoding for a in arrays):
        raise WireError(
            f"read Dectris v2 image {image_id}",
            answer="channels "
            + ", ".join(f"{shown(n)}: {a.shape} {a.dtype} {a.encoding}" for n, a in zip(names, arrays, strict=True)),
            accepted="one shape, type and compression for all",
        )
    if len(first.shape) != 2:
        raise WireError(f"read Dectris v2 image {image_id}", answer=f"shape {first.shape}", accepted="(rows, columns)")
    if len(arrays) == 1:
        format = frame_format(first.shape, first.dtype, first.encoding)
    else:
        format = frame_format((len(arrays), *first.shape), first.dtype, first.encoding, (1, *first.shape))
    blobs = tuple(array.little_endian_blob() for array in arrays)
    series = _series(message)
    try:
        for blob in blobs:
            check_blob(format, blob)
    except WireError as error:
        damaged = Frame(series=series, frame_number=image_id, format=format, blobs=())
        raise DamagedFrame(error, damaged) from error
    values = PlainValues()
    extras = values.mapping({key: value for key, value in message.items() if key not in _IMAGE_KEYS})
    extras["channels"] = names
    appendix = _user_data(message, values)
    if appendix is not None:
        extras["user_data"] = appendix
    extras |= _small_arrays(values)
    return Frame(
        series=series,
        frame_number=image_id,
        format=format,
        blobs=blobs,
        start_time_s=_seconds(message.get("start_time"), "start_time"),
        stop_time_s=_seconds(message.get("stop_time"), "stop_time"),
        real_time_s=_seconds(message.get("real_time"), "real_time"),
        extras=extras,
    )


def _small_arrays(values: PlainValues) -> dict[str, Any]:
    """Arrays are for headers; what a sender adds to an image (Jungfraujoch: azimuthal profile) is small, or a note."""
    kept: dict[str, Any] = {}
    together = 0
    for name, array in values.arrays.items():
        together += array.size
        if array.size <= _MOST_ELEMENTS and together <= _MOST_ELEMENTS_TOGETHER:
            kept[name] = array.tolist()
        else:
            together -= array.size
            kept[name] = {"not_kept": "too many elements", "shape": list(array.shape), "dtype": array.dtype.name}
    return kept


def _channels(data: Any, image_id: int) -> tuple[list[str], list[WireArray]]:
    """Names in sorted order, whatever the order of this message, so that a channel keeps its place in the file."""
    if (
        not isinstance(data, MAP_TYPES)
        or not 1 <= len(data) <= _MOST_CHANNELS
        or not all(isinstance(name, str) and isinstance(array, WireArray) for name, array in data.items())
    ):
        raise WireError(
            f"read Dectris v2 image {image_id}",
            answer=f"data is {type(data).__name__}",
            accepted="a map of 1 to 64 channel names to arrays",
        )
    names = sorted(data)
    return names, [data[name] for name in names]


def _user_data(message: Mapping[Any, Any], values: PlainValues) -> Any:
    """`user_data` parsed: real streams carry the header_appendix as a JSON text, not as a map."""
    value = message.get("user_data")
    if isinstance(value, str):
        return appendix_value(value) if value else ""
    return values.plain(value, "user_data")


def _seconds(value: Any, name: str) -> float | None:
    """A rational [ticks, ticks per second] in seconds; None when the sender has no such time."""
    if value is None:
        return None
    if isinstance(value, (list, tuple)) and len(value) == 2:
        ticks, rate = value
        if type(ticks) is int and type(rate) is int and 0 <= ticks < 2**63 and 0 < rate < 2**63:
            return ticks / rate
    raise WireError(f"read Dectris v2 {name}", answer=shown(value), accepted="[ticks, ticks per second]")


def encode_start(series_id: int, series_unique_id: str, fields: Mapping[str, Any]) -> list[bytes]:
    """A start message; numpy arrays anywhere in `fields` are sent as tag 40."""
    return [_dump(_identity("start", series_id, series_unique_id) | with_array_tags(fields))]


def encode_image(
    series_id: int,
    series_unique_id: str,
    image_id: int,
    channels: Mapping[str, tuple[FrameFormat, Buffer]],
    *,
    series_date: str,
    start_time: tuple[int, int],
    stop_time: tuple[int, int],
    real_time: tuple[int, int],
    user_data: Any = None,
) -> list[bytes]:
    """An image; each channel is one 2-D format with its blob, times are [ticks, ticks per second]."""
    message = _identity("image", series_id, series_unique_id) | {
        "image_id": image_id,
        "series_date": cbor2.CBORTag(0, series_date),
        "start_time": list(start_time),
        "stop_time": list(stop_time),
        "real_time": list(real_time),
        "data": {
            name: packed_array_tag(format.shape, format.dtype, format.encoding, bytes(blob))
            for name, (format, blob) in channels.items()
        },
    }
    if user_data is not None:
        message["user_data"] = user_data
    return [_dump(message)]


def encode_end(series_id: int, series_unique_id: str) -> list[bytes]:
    """The end of a series. It holds no count: completeness is decided by image ids."""
    return [_dump(_identity("end", series_id, series_unique_id))]


def _identity(kind: str, series_id: int, series_unique_id: str) -> dict[str, Any]:
    return {"type": kind, "series_id": series_id, "series_unique_id": series_unique_id}


def _dump(message: Mapping[str, Any]) -> bytes:
    try:
        return cbor2.dumps(cbor2.CBORTag(TAG_SELF_DESCRIBE, message))
    except (cbor2.CBOREncodeError, TypeError, ValueError, OverflowError) as error:
        raise WireError("write a Dectris v2 message", answer=str(error), accepted="CBOR values") from error
