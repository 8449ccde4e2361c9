"""STINS, the MAX IV generic stream: JSON part, then metadata or pixels.

Source: maxiv-science/streaming-receiver 21c9f92 and maxiv-science/dranspose `dranspose/data/stream1.py`, protocol
version 1. There is no series id: a series is a header, images whose `msg_number` follow on, and a `series_end`.
`docs/reference/wire-stins.md` has the tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import Buffer, DamagedFrame, Encoding, Frame, FrameFormat, SeriesEnd, SeriesStart, WireEvent
from maxdaq_tango.wire.blobs import accept_blob, frame_format
from maxdaq_tango.wire.hints import positive_seconds, wants_saving
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

_Shape = Annotated[tuple[Size, ...], msgspec.Meta(min_length=2, max_length=3)]

ENCODINGS = {
    "none": Encoding.NONE,
    "": Encoding.NONE,
    "bslz4": Encoding.BSLZ4,
    "cbf": Encoding.CBF,
    "bszstd": Encoding.BSZSTD,
    "lz4": Encoding.LZ4_HDF5,
    "lz4-block": Encoding.LZ4_BLOCK,
}
"""`compression` as STINS spells it. The last three are ours, for frames re-published from Dectris streams: the label
must follow the data, and STINS has no word for them."""

PACKED_TYPES = {"mono12p": Encoding.MONO12P, "mono12": Encoding.MONO12}
"""`type` of images whose pixels are packed; both are uint16 once unpacked."""
CAMSERVER_TIFF_HEADER = 4096
PLAIN_NBYTES = 400
"""A longer part 0 brings something beside what every image has."""


class _Header(msgspec.Struct):
    htype: str
    msg_number: Count | None = None
    filename: str | None = None


class Image(msgspec.Struct):
    """Part 0 of an image."""

    htype: str
    frame: Count
    shape: _Shape
    type: str
    compression: str = "none"
    msg_number: Count | None = None
    chunks: _Shape | None = None
    discard: bool = False
    exposure_time: float | None = None
    # Ours, with the unit in the name: what a Dectris stream knows of time survives re-publishing.
    start_time_s: float | None = None
    stop_time_s: float | None = None
    real_time_s: float | None = None


class _End(msgspec.Struct):
    htype: str
    msg_number: Count | None = None


class _PlainImage(Image, forbid_unknown_fields=True):
    """Nothing beside what every image has: then one look at the JSON is enough."""

    htype: Literal["image"]


_HEADER_KEYS = field_names(_Header)
IMAGE_KEYS = field_names(Image)
_NOTHING: dict[str, Any] = {}
_decode_plain = msgspec.json.Decoder(_PlainImage).decode


class StinsDecoder:
    """STINS messages to events. Holds no state: any thread may use one, in any order of messages."""

    def decode(self, parts: Sequence[Buffer]) -> WireEvent:
        """One message. Pixel blobs are handed on as the buffers they came in."""
        if not parts:
            raise WireError("read a STINS message", answer="no parts", accepted="header, image or series_end")
        if len(parts[0]) <= PLAIN_NBYTES:
            try:
                return _image(_decode_plain(parts[0]), _NOTHING, parts)  # nearly every message, in half the time
            except (msgspec.DecodeError, UnicodeError, OverflowError, BufferError, RecursionError, TypeError):
                pass  # something else, or wrong: the long way finds out what
        raw = json_object(parts[0], "STINS part 0")
        htype = raw.get("htype")
        if htype == "image":
            return _image(typed(Image, raw, "STINS image"), raw, parts)
        if htype == "header":
            return _header(raw, parts)
        if htype == "series_end":
            return SeriesEnd(series="", msg_number=typed(_End, raw, "STINS series_end").msg_number)
        raise WireError("read STINS htype", answer=shown(htype), accepted="header, image, series_end")


def _header(raw: dict[str, Any], parts: Sequence[Buffer]) -> SeriesStart:
    header = typed(_Header, raw, "STINS header")
    if len(parts) > 2:
        raise WireError("read a STINS header", answer=f"{len(parts)} parts", accepted="1 or 2")
    metadata = unknown_keys(raw, _HEADER_KEYS)
    if len(parts) == 2 and bytes(parts[1]) not in (b"", b"null"):
        metadata |= lenient_object(parts[1], "STINS header metadata")
    return SeriesStart(
        series="",
        filename=header.filename,
        save_raw=wants_saving(metadata),
        frame_period_s=positive_seconds(metadata.get("exptime")) or positive_seconds(metadata.get("count_time")),
        msg_number=header.msg_number,
        metadata=metadata,
    )


def _image(image: Image, raw: dict[str, Any], parts: Sequence[Buffer]) -> Frame:
    format = image_format(image.shape, image.type, image.compression, image.chunks or ())
    blobs = tuple(parts[1:])
    if len(blobs) != format.chunk_count:
        # Without `chunks` a second blob has no meaning (a second chunk? a new kind of part?), so it is not guessed.
        raise WireError(
            f"read STINS image {image.frame}",
            answer=f"{len(blobs)} blobs for shape {image.shape}, chunks {image.chunks}",
            accepted=f"{format.chunk_count}" + ("" if image.chunks else "; several only with `chunks`"),
        )
    try:
        blobs = tuple([accept_blob(format, blob) for blob in blobs])
    except WireError as error:
        if (pixels := _pixels_of_camserver_tiff(image, format, blobs)) is not None:
            return _frame(image, raw, format, (pixels,))
        number = image.frame
        damaged = Frame(series="", frame_number=number, format=format, blobs=(), msg_number=image.msg_number)
        raise DamagedFrame(error, damaged) from error
    return _frame(image, raw, format, blobs)


def _pixels_of_camserver_tiff(image: Image, format: FrameFormat, blobs: tuple[Buffer, ...]) -> memoryview | None:
    """Of maxiv-science/pilatus-streamer, which sends a whole TIFF file for uncompressed pixels and numbers no message.

    None: it is none. Camserver's files are 4096 bytes of header and then the pixels; only what fits to the byte counts.
    """
    if format.encoding is not Encoding.NONE or image.msg_number is not None or len(blobs) != 1:
        return None
    try:
        view = memoryview(blobs[0]).cast("B")
    except (TypeError, ValueError, BufferError):
        return None
    fits = len(view) == CAMSERVER_TIFF_HEADER + format.chunk_nbytes and bytes(view[:4]) == b"II*\0"
    return view[CAMSERVER_TIFF_HEADER:] if fits else None


def _frame(image: Image, raw: dict[str, Any], format: FrameFormat, blobs: tuple[Buffer, ...]) -> Frame:
    return Frame(
        series="",
        frame_number=image.frame,
        format=format,
        blobs=blobs,
        msg_number=image.msg_number,
        discard=image.discard,
        exposure_time_s=image.exposure_time,
        start_time_s=image.start_time_s,
        stop_time_s=image.stop_time_s,
        real_time_s=image.real_time_s,
        extras=unknown_keys(raw, IMAGE_KEYS) if raw else {},
    )


@lru_cache(maxsize=256)
def image_format(shape: tuple[int, ...], type: str, compression: str, chunks: tuple[int, ...]) -> FrameFormat:
    """A format in the words of an image."""
    encoding = ENCODINGS.get(compression)
    if encoding is None:
        raise WireError(
            "read STINS compression", answer=shown(compression), accepted=", ".join(filter(None, ENCODINGS))
        )
    packed = PACKED_TYPES.get(type)
    if packed is not None:
        if encoding is not Encoding.NONE:
            raise WireError(f"read a {type} image", answer=f"compression {compression!r}", accepted="none")
        return frame_format(shape, "uint16", packed, chunks)
    return frame_format(shape, type, encoding, chunks)


def encode_header(
    msg_number: int | None, filename: str | None, metadata: Mapping[str, Any] | None, **extra: Any
) -> list[bytes]:
    """A header. `metadata` None = no second part; `extra` goes into part 0; None for a number or name leaves it out."""
    known = {"htype": "header", **_given(msg_number=msg_number, filename=filename)}
    parts = [encode_part(known | unknown_keys(extra, _HEADER_KEYS))]
    if metadata is not None:
        parts.append(encode_part(metadata))
    return parts


def encode_image(msg_number: int | None, frame: Frame) -> list[Buffer]:
    """An image; the blobs of `frame` are put into the message as they are."""
    format = frame.format
    part0: dict[str, Any] = {
        "htype": "image",
        **_given(msg_number=msg_number),
        "frame": frame.frame_number,
        "shape": format.shape,
        **wire_type(format),
        **_given(
            chunks=format.chunk_shape or None,
            discard=frame.discard or None,
            exposure_time=frame.exposure_time_s,
            start_time_s=frame.start_time_s,
            stop_time_s=frame.stop_time_s,
            real_time_s=frame.real_time_s,
        ),
    }
    if frame.extras:
        part0 = {**part0, **unknown_keys(frame.extras, IMAGE_KEYS)}
    return [encode_part(part0), *frame.blobs]


def encode_end(msg_number: int | None) -> list[bytes]:
    """The end of a series; a compatible sender sends exactly one."""
    return [encode_part({"htype": "series_end", **_given(msg_number=msg_number)})]


def wire_type(format: FrameFormat) -> dict[str, str]:
    """`type` and `compression` of an image."""
    if format.encoding.value in PACKED_TYPES:
        return {"type": format.encoding.value, "compression": "none"}
    return {"type": format.dtype, "compression": format.encoding.value}


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
