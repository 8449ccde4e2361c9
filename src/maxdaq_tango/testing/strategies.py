"""Hypothesis strategies: formats, frames, series and damaged bytes, for anybody who tests against the wire room.

Frames are small (at most a few hundred pixels) and their blobs are really packed, so a strategy's frame can be encoded,
decoded, unpacked and written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Encoding, Frame, FrameFormat, SeriesStart

PACKABLE = (Encoding.NONE, Encoding.BSLZ4, Encoding.LZ4_BLOCK, Encoding.LZ4_HDF5)
"""Encodings for which this package has an encoder."""

PIXEL_TYPES = ("uint8", "uint16", "uint32", "int16", "int32", "float32")

JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


def json_objects(*, without: frozenset[str] = frozenset()) -> st.SearchStrategy[dict[str, Any]]:
    """JSON objects none of whose keys are in `without`."""
    return st.dictionaries(st.text().filter(lambda key: key not in without), JSON_VALUES, max_size=4)


@st.composite
def frame_formats(
    draw: st.DrawFn,
    *,
    encodings: Sequence[Encoding] = PACKABLE,
    planes: bool = True,
    dtypes: Sequence[str] = PIXEL_TYPES,
) -> FrameFormat:
    """Formats of small frames; with `planes` also (n, rows, columns), in one chunk or in n."""
    shape: tuple[int, ...] = (draw(st.integers(1, 24)), draw(st.integers(1, 24)))
    chunk: tuple[int, ...] = ()
    if planes and draw(st.booleans()):
        chunk = draw(st.sampled_from([(), (1, *shape)]))
        shape = (draw(st.integers(1, 4)), *shape)
    return FrameFormat(shape, draw(st.sampled_from(dtypes)), draw(st.sampled_from(encodings)), chunk)


@st.composite
def chunks(draw: st.DrawFn, format: FrameFormat) -> np.ndarray[Any, Any]:
    """Pixels of one chunk: mostly zeros with some counts, as detectors have them, or noise that does not compress."""
    size = math.prod(format.chunk) * np.dtype(format.dtype).itemsize
    seed = draw(st.integers(0, 2**32 - 1))
    noise = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    if draw(st.booleans()):
        noise[noise < draw(st.integers(1, 250))] = 0
    pixels = noise.view(format.dtype)
    if pixels.dtype.kind == "f":
        pixels = np.nan_to_num(pixels, nan=1.0, posinf=2.0, neginf=-2.0)
    return pixels.reshape(format.chunk)


@st.composite
def frames(draw: st.DrawFn, *, formats: st.SearchStrategy[FrameFormat] | None = None, series: str = "") -> Frame:
    """Whole frames with blobs that can be unpacked."""
    format = draw(frame_formats() if formats is None else formats)
    blobs = tuple(encode_pixels(draw(chunks(format)), format.encoding) for _ in range(format.chunk_count))
    times = st.none() | st.floats(0, 1e6)
    return Frame(
        series=series,
        frame_number=draw(st.integers(0, 2**40)),
        format=format,
        blobs=blobs,
        msg_number=draw(st.none() | st.integers(0, 2**40)),
        discard=draw(st.booleans()),
        exposure_time_s=draw(times),
        start_time_s=draw(times),
        stop_time_s=draw(times),
        real_time_s=draw(times),
    )


@st.composite
def series_starts(draw: st.DrawFn, *, series: str = "") -> SeriesStart:
    """Headers with free metadata."""
    return SeriesStart(
        series=series,
        filename=draw(st.none() | st.just("") | st.just("/data/visitors/scan-0001.h5")),
        frame_count=draw(st.none() | st.integers(1, 1000)),
        frame_period_s=draw(st.none() | st.floats(1e-6, 100)),
        rotate=draw(st.integers(0, 3)),
        msg_number=draw(st.none() | st.integers(0, 2**40)),
        metadata=draw(json_objects()),
    )


@st.composite
def damaged(draw: st.DrawFn, parts: Sequence[bytes]) -> list[bytes]:
    """A message with something wrong: bytes flipped, cut, put in or said twice, parts lost, swapped or added."""
    message = [bytes(part) for part in parts]
    for _ in range(draw(st.integers(1, 3))):
        index = draw(st.integers(0, len(message) - 1)) if message else 0
        part = message[index] if message else b""
        at = draw(st.integers(0, len(part)))
        match draw(st.sampled_from(("flip", "cut", "insert", "drop", "swap", "add", "repeat"))):
            case "flip" if at < len(part):
                message[index] = part[:at] + bytes([part[at] ^ draw(st.integers(1, 255))]) + part[at + 1 :]
            case "cut" if message:
                message[index] = part[:at]
            case "insert" if message:
                message[index] = part[:at] + draw(st.binary(min_size=1, max_size=12)) + part[at:]
            case "drop" if message:
                del message[index]
            case "swap" if message:
                other = draw(st.integers(0, len(message) - 1))
                message[index], message[other] = message[other], message[index]
            case "add":
                message.insert(index, draw(st.binary(max_size=40)))
            case "repeat" if message:
                message.insert(index, part)
    return message
