"""Dectris stream v1 ("EIGER_LEGACY"): multipart JSON and blobs.

Source: DECTRIS SIMPLON API reference 1.8, chapter "Stream"; checked against a recorded EIGER1 Si 1M (software 1.8.0).
MAX IV's header_appendix convention: maxiv-science/streaming-receiver 21c9f92. `docs/reference/wire-dectris-v1.md` has
the tables.

Shapes on this wire are [x, y]; they are turned round here and nowhere else. `hash` is the md5 of part 1's JSON text,
not of the pixels, so it proves nothing about them; it is kept and not checked.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import Buffer, DamagedFrame, Encoding, Frame, FrameFormat, SeriesEnd, SeriesStart, WireEvent
from maxdaq_tango.wire.blobs import ITEM_NBYTES, accept_blob, frame_format
from maxdaq_tango.wire.hints import appendix_hints, appendix_value, positive_seconds, whole_number
from maxdaq_tango.wire.json_parts import (
    Count,
    Size,
    encode_part,
    field_names,
    json_object,
    lenient_object,
    shown,
    typed,
    unknown_keys,
)

_ShapeXY = Annotated[tuple[Size, ...], msgspec.Meta(min_length=2, max_length=3)]

_NS_PER_S = 1e9


class HeaderDetail(StrEnum):
    """How much the detector puts into its header: stream config `header_detail`."""

    ALL = "all"
    """Configuration, flat field, pixel mask, count-rate table."""
    BASIC = "basic"
    """Configuration."""
    NONE = "none"
    """Only that a series begins."""


ARRAY_NAMES = {"flatfield": "flatfield", "pixelmask": "pixel_mask", "countrate_table": "countrate_table"}
"""Arrays of a header: name on the wire (between `d` and `-1.0`) and name in `SeriesStart.arrays`."""


class _Header(msgspec.Struct):
    htype: str
    series: Count
    header_detail: HeaderDetail


class _Array(msgspec.Struct):
    htype: str
    shape: _ShapeXY
    type: str


class _Image(msgspec.Struct):
    htype: str
    series: Count
    frame: Count
    hash: str | None = None


class _ImageData(msgspec.Struct):
    htype: str
    shape: _ShapeXY
    type: str
    encoding: str
    size: Count | None = None


class _Times(msgspec.Struct):
    htype: str
    start_time: Count | None = None
    stop_time: Count | None = None
    real_time: Count | None = None


class _End(msgspec.Struct):
    htype: str
    series: Count


# What goes into Frame fields; everything else of an image's three JSON parts is kept in `extras`.
_IMAGE_FIELDS = field_names(_Image) - {"hash"}
_DATA_FIELDS = field_names(_ImageData)
_TIMES_FIELDS = field_names(_Times)
_HEADER_FIELDS = field_names(_Header) - {"header_detail"}


class DectrisV1Decoder:
    """v1 messages to events. Holds no state: any thread may use one, in any order of messages."""

    def decode(self, parts: Sequence[Buffer]) -> WireEvent:
        """One message. Pixel blobs and header arrays are views of the buffers they came in."""
        if not parts:
            raise WireError("read a Dectris v1 message", answer="no parts", accepted="header, image or series end")
        raw = json_object(parts[0], "Dectris v1 part 0")
        htype = raw.get("htype")
        if htype == "dimage-1.0":
            return _image(raw, parts)
        if htype == "dheader-1.0":
            return _header(raw, parts)
        if htype == "dseries_end-1.0":
            return SeriesEnd(series=str(typed(_End, raw, "Dectris v1 series end").series))
        raise WireError(
            "read Dectris v1 htype", answer=shown(htype), accepted="dheader-1.0, dimage-1.0, dseries_end-1.0"
        )


def _header(raw: dict[str, Any], parts: Sequence[Buffer]) -> SeriesStart:
    header = typed(_Header, raw, "Dectris v1 header")
    metadata = unknown_keys(raw, _HEADER_FIELDS)
    arrays: dict[str, npt.NDArray[Any]] = {}
    unreadable: list[str] = []
    rest = list(parts[1:])
    if header.header_detail is not HeaderDetail.NONE:
        if not rest:
            raise WireError(
                "read a Dectris v1 header",
                answer=f"1 part with header_detail {header.header_detail}",
                accepted="2 to 9",
            )
        metadata |= lenient_object(rest.pop(0), "Dectris v1 detector configuration")
    if header.header_detail is HeaderDetail.ALL:
        # By htype, not by position: which tables come differs between detectors and simulators.
        for _ in range(min(len(ARRAY_NAMES), len(rest) // 2)):
            try:
                name, array = _array(rest[0], rest[1])
                arrays[name] = array
            except WireError as error:  # a table that cannot be read must not cost the series
                unreadable.append(str(error))
            del rest[:2]
    if unreadable:
        metadata["unreadable_tables"] = unreadable
    if len(rest) > 1:
        raise WireError(
            f"read a Dectris v1 header with header_detail {header.header_detail}",
            answer=f"{len(rest)} parts after the details",
            accepted="at most one, the header_appendix",
        )
    appendix = appendix_value(rest[0]) if rest else None
    if rest:
        metadata["header_appendix"] = appendix
    hints = appendix_hints(appendix)
    images, triggers = whole_number(metadata.get("nimages")), whole_number(metadata.get("ntrigger", 1))
    return SeriesStart(
        series=str(header.series),
        filename=hints.filename,
        save_raw=hints.save_raw,
        frame_count=whole_number(images * triggers) if images and triggers else None,
        frame_period_s=positive_seconds(metadata.get("frame_time")),
        rotate=hints.rotate,
        metadata=metadata,
        arrays=arrays,
    )


def _array(head: Buffer, blob: Buffer) -> tuple[str, npt.NDArray[Any]]:
    array = typed(_Array, json_object(head, "Dectris v1 header array"), "Dectris v1 header array")
    # tickit-devices sends these htypes without the leading d.
    wire_name = array.htype.removesuffix("-1.0").removeprefix("d")
    name = ARRAY_NAMES.get(wire_name)
    if name is None:
        raise WireError(
            "read a Dectris v1 header array",
            answer=f"htype {shown(array.htype)}",
            accepted=", ".join(f"d{name}-1.0" for name in ARRAY_NAMES),
        )
    shape = array.shape[::-1]
    nbytes = memoryview(blob).nbytes
    expected = math.prod(shape) * ITEM_NBYTES.get(array.type, 0)
    if nbytes != expected or not expected:
        raise WireError(
            f"read the Dectris v1 {name}",
            answer=f"{nbytes} bytes for [x, y] = {list(array.shape)} {array.type}",
            accepted=f"{expected} bytes of " + ", ".join(ITEM_NBYTES),
        )
    return name, np.frombuffer(blob, np.dtype(array.type).newbyteorder("<")).reshape(shape)


def _image(raw: dict[str, Any], parts: Sequence[Buffer]) -> Frame:
    if not 4 <= len(parts) <= 5:
        raise WireError("read a Dectris v1 image", answer=f"{len(parts)} parts", accepted="4, or 5 with image_appendix")
    raw_data = json_object(parts[1], "Dectris v1 image part 1")
    raw_times = json_object(parts[3], "Dectris v1 image part 3")
    image = typed(_Image, raw, "Dectris v1 image part 0")
    data = typed(_ImageData, raw_data, "Dectris v1 image part 1")
    times = typed(_Times, raw_times, "Dectris v1 image part 3")
    if data.htype != "dimage_d-1.0" or times.htype != "dconfig-1.0":
        raise WireError(
            f"read Dectris v1 image {image.frame}",
            answer=f"htypes {shown(data.htype)} and {shown(times.htype)}",
            accepted="dimage_d-1.0 and dconfig-1.0",
        )
    format = _format(data.shape, data.type, data.encoding)
    size = memoryview(parts[2]).nbytes
    series = str(image.series)
    try:
        blob = accept_blob(format, parts[2])
        if data.size is not None and data.size != size:
            raise WireError(
                f"read Dectris v1 image {image.frame}",
                answer=f"a blob of {size} bytes",
                accepted=f"the {data.size} that part 1 states",
            )
    except WireError as error:
        damaged = Frame(series=series, frame_number=image.frame, format=format, blobs=())
        raise DamagedFrame(error, damaged) from error
    extras = unknown_keys(raw_data, _DATA_FIELDS) | unknown_keys(raw_times, _TIMES_FIELDS)
    extras |= unknown_keys(raw, _IMAGE_FIELDS)
    if len(parts) == 5:
        extras["image_appendix"] = appendix_value(parts[4])
    return Frame(
        series=series,
        frame_number=image.frame,
        format=format,
        blobs=(blob,),
        start_time_s=_seconds(times.start_time),
        stop_time_s=_seconds(times.stop_time),
        real_time_s=_seconds(times.real_time),
        extras=extras,
    )


@lru_cache(maxsize=256)
def _format(shape_xy: tuple[int, ...], type: str, encoding: str) -> FrameFormat:
    if encoding == "<":
        packing = Encoding.NONE
    elif encoding == "lz4<":
        packing = Encoding.LZ4_BLOCK
    elif type in ITEM_NBYTES and encoding == f"bs{8 * ITEM_NBYTES[type]}-lz4<":
        packing = Encoding.BSLZ4
    else:
        raise WireError(
            "read Dectris v1 encoding",
            answer=f"{shown(encoding)} of {shown(type)}",
            accepted="<, lz4<, bs<bits of the type>-lz4<",
        )
    return frame_format(shape_xy[::-1], type, packing)


def _seconds(ns: int | None) -> float | None:
    return None if ns is None else ns / _NS_PER_S


def encode_header(
    series: int,
    *,
    detail: HeaderDetail,
    config: Mapping[str, Any],
    flatfield: npt.NDArray[Any] | None = None,
    pixel_mask: npt.NDArray[Any] | None = None,
    countrate_table: npt.NDArray[Any] | None = None,
    appendix: str | None = None,
) -> list[bytes]:
    """A header. `config` is sent with BASIC and ALL, the arrays (rows, columns) with ALL; None leaves an array out."""
    parts = [encode_part({"header_detail": detail.value, "htype": "dheader-1.0", "series": series})]
    if detail is not HeaderDetail.NONE:
        parts.append(encode_part(config))
    if detail is HeaderDetail.ALL:
        arrays = {"flatfield": flatfield, "pixelmask": pixel_mask, "countrate_table": countrate_table}
        for name, array in arrays.items():
            if array is not None:
                head = {"htype": f"d{name}-1.0", "shape": array.shape[::-1], "type": array.dtype.name}
                parts += [encode_part(head), array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()]
    if appendix is not None:
        parts.append(appendix.encode())
    return parts


def encode_image(
    series: int,
    frame_number: int,
    format: FrameFormat,
    blob: Buffer,
    *,
    start_ns: int,
    stop_ns: int,
    real_ns: int,
    appendix: str | None = None,
) -> list[Buffer]:
    """An image of four parts, five with an appendix. The blob is put into the message as it is."""
    data = encode_part(
        {
            "encoding": _encoding_name(format),
            "htype": "dimage_d-1.0",
            "shape": format.shape[::-1],
            "size": memoryview(blob).nbytes,
            "type": format.dtype,
        }
    )
    text_hash = hashlib.md5(data, usedforsecurity=False).hexdigest()
    parts: list[Buffer] = [
        encode_part({"frame": frame_number, "hash": text_hash, "htype": "dimage-1.0", "series": series}),
        data,
        blob,
        encode_part({"htype": "dconfig-1.0", "real_time": real_ns, "start_time": start_ns, "stop_time": stop_ns}),
    ]
    if appendix is not None:
        parts.append(appendix.encode())
    return parts


def encode_end(series: int) -> list[bytes]:
    """The end of a series; the detector sends it after cancel, abort and disarm as well."""
    return [encode_part({"htype": "dseries_end-1.0", "series": series})]


def _encoding_name(format: FrameFormat) -> str:
    bits = 8 * np.dtype(format.dtype).itemsize
    names = {Encoding.NONE: "<", Encoding.LZ4_BLOCK: "lz4<", Encoding.BSLZ4: f"bs{bits}-lz4<"}
    name = names.get(format.encoding)
    if name is None or format.chunk_count != 1:
        raise WireError(
            "write a Dectris v1 image",
            answer=f"{format.encoding} in {format.chunk_count} chunks",
            accepted="none, lz4-block, bslz4 in one",
        )
    return name
