"""Arrays in CBOR: typed arrays, their shapes, and Dectris' compression inside them.

Sources: RFC 8746 (tags 40, 1040, 64 to 87), DECTRIS documentation `stream_v2/cbor/dectris-compression-tag.md` (tag
56500).

Decoding is lazy: a `WireArray` is what the message says, with the pixels still packed as they came.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import cbor2
import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import Encoding
from maxdaq_tango.wire.blobs import CHUNK_LIMIT_NBYTES

TAG_ARRAY = 40
TAG_ARRAY_COLUMN_MAJOR = 1040
TAG_COMPRESSED = 56500
TAG_SELF_DESCRIBE = 55799

TYPED_ARRAYS: dict[int, tuple[str, str]] = {
    64: ("uint8", "|"),
    65: ("uint16", ">"),
    66: ("uint32", ">"),
    67: ("uint64", ">"),
    68: ("uint8", "|"),  # "clamped": how it was computed, not how it is stored
    69: ("uint16", "<"),
    70: ("uint32", "<"),
    71: ("uint64", "<"),
    72: ("int8", "|"),
    73: ("int16", ">"),
    74: ("int32", ">"),
    75: ("int64", ">"),
    77: ("int16", "<"),
    78: ("int32", "<"),
    79: ("int64", "<"),
    80: ("float16", ">"),
    81: ("float32", ">"),
    82: ("float64", ">"),
    84: ("float16", "<"),
    85: ("float32", "<"),
    86: ("float64", "<"),
}
"""Tag to (numpy name, byte order). 76 is reserved; 83 and 87 are binary128, which numpy does not have."""

_TAG_OF = {name: tag for tag, (name, order) in TYPED_ARRAYS.items() if order != ">" and tag != 68}

ENCODINGS = {"bslz4": Encoding.BSLZ4, "lz4": Encoding.LZ4_HDF5, "bszstd": Encoding.BSZSTD}
"""Algorithms of tag 56500. `lz4` is HDF5 framing here, not the bare block of stream v1."""


_MOST_AXES = 8


class _Compressed(NamedTuple):
    encoding: Encoding
    item_nbytes: int
    blob: bytes


class WireArray(NamedTuple):
    """An array as a message states it; nothing is unpacked yet, and whether its bytes are as many as its shape says is
    seen by who reads it: `to_numpy`, or `check_blob` of pixels."""

    shape: tuple[int, ...]
    dtype: str
    """numpy name in native spelling."""
    byte_order: str
    """`<`, `>`, or `|` for single bytes."""
    encoding: Encoding
    blob: bytes
    column_major: bool = False

    def little_endian_blob(self) -> bytes:
        """The pixels as Frame blobs must be: little-endian, C order. Only rare senders make this cost a copy."""
        if self.byte_order != ">" and not self.column_major:
            return self.blob
        if self.encoding is not Encoding.NONE:
            raise WireError(
                "read a compressed array", answer="big-endian or column-major", accepted="little-endian, row-major"
            )
        array = self.to_numpy()
        return array.astype(array.dtype.newbyteorder("<"), order="C").tobytes()

    def to_numpy(self) -> npt.NDArray[Any]:
        """An uncompressed array in native byte order."""
        dtype = np.dtype(self.dtype)
        if self.encoding is not Encoding.NONE:
            raise WireError("read an array", answer=f"compressed with {self.encoding}", accepted="uncompressed")
        if len(self.blob) != math.prod(self.shape) * dtype.itemsize:
            raise WireError(
                f"read an array of {self.shape} {self.dtype}",
                answer=f"{len(self.blob)} bytes",
                accepted=f"{math.prod(self.shape) * dtype.itemsize} bytes",
            )
        flat = np.frombuffer(self.blob, dtype.newbyteorder(">") if self.byte_order == ">" else dtype)
        array = flat.reshape(self.shape, order="F" if self.column_major else "C")
        return array.astype(dtype, copy=False)


def _typed_array(number: int, value: Any, immutable: bool) -> WireArray:
    name, order = TYPED_ARRAYS[number]
    item = np.dtype(name).itemsize
    if isinstance(value, _Compressed):
        if value.item_nbytes != item:
            raise WireError(
                f"read a compressed {name} array", answer=f"element size {value.item_nbytes}", accepted=str(item)
            )
        return WireArray((), name, order, value.encoding, value.blob)
    if type(value) is not bytes:
        raise WireError(
            f"read a typed array (tag {number})", answer=_describe(value), accepted=f"a byte string of {name} elements"
        )
    # A length that does not fit is the reader's business: of pixels it must be known whose they are (`DamagedFrame`).
    return WireArray((len(value) // item,), name, order, Encoding.NONE, value)


def _compressed(value: Any, immutable: bool) -> _Compressed:
    match value:
        case [str(algorithm), int(item), bytes(blob)] if algorithm in ENCODINGS and type(item) is int:
            return _Compressed(ENCODINGS[algorithm], item, blob)
    raise WireError(
        f"read compressed data (tag {TAG_COMPRESSED})",
        answer=_describe(value),
        accepted=f"[{' | '.join(ENCODINGS)}, element size, bytes]",
    )


def _shaped(column_major: bool, value: Any, immutable: bool) -> WireArray:
    match value:
        case [[*shape], WireArray() as data] if (
            len(shape) <= _MOST_AXES and shape and all(type(n) is int and n >= 1 for n in shape)
        ):
            pass
        case _:
            raise WireError(
                "read a multi-dimensional array (tag 40)",
                answer=_describe(value),
                accepted=f"[[1 to {_MOST_AXES} sizes >= 1], typed array]",
            )
    elements = math.prod(shape)
    if elements >= CHUNK_LIMIT_NBYTES or (data.encoding is Encoding.NONE and len(data.shape) != 1):
        raise WireError(
            "read a multi-dimensional array (tag 40)",
            answer=f"shape {tuple(shape)} for an array of {data.shape}",
            accepted="a flat array, of less than 4 GiB",
        )
    return data._replace(shape=tuple(shape), column_major=column_major)


ARRAY_DECODERS: dict[int, Callable[[Any, bool], Any]] = {
    **{number: partial(_typed_array, number) for number in TYPED_ARRAYS},
    TAG_ARRAY: partial(_shaped, False),
    TAG_ARRAY_COLUMN_MAJOR: partial(_shaped, True),
    TAG_COMPRESSED: _compressed,
}
"""What cbor2 calls for each of these tags: decoder(value, immutable), values inside tags being tuples or lists."""


def _describe(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return f"{type(value).__name__} of {[type(item).__name__ for item in value[:4]]}"
    return f"{type(value).__name__}"


def array_tag(array: npt.NDArray[Any]) -> cbor2.CBORTag:
    """An array as tag 40 around a little-endian typed array."""
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return cbor2.CBORTag(TAG_ARRAY, [list(array.shape), cbor2.CBORTag(_tag_of(array.dtype.name), data)])


def packed_array_tag(shape: Sequence[int], dtype: str, encoding: Encoding, blob: bytes) -> cbor2.CBORTag:
    """Packed pixels as tag 40; compressed ones get tag 56500 inside the typed array."""
    names = {value: key for key, value in ENCODINGS.items()}
    data: Any = blob
    if encoding in names:
        data = cbor2.CBORTag(TAG_COMPRESSED, [names[encoding], np.dtype(dtype).itemsize, blob])
    elif encoding is not Encoding.NONE:
        raise WireError("write a CBOR array", answer=f"{encoding}", accepted=", ".join(["none", *names]))
    return cbor2.CBORTag(TAG_ARRAY, [list(shape), cbor2.CBORTag(_tag_of(dtype), data)])


def with_array_tags(value: Any) -> Any:
    """`value` with every numpy array in it, at any depth of maps and lists, as tag 40."""
    if isinstance(value, np.ndarray):
        return array_tag(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: with_array_tags(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_array_tags(item) for item in value]
    return value


def _tag_of(dtype: str) -> int:
    tag = _TAG_OF.get(dtype)
    if tag is None:
        raise WireError("write a CBOR array", answer=f"pixel type {dtype}", accepted=", ".join(_TAG_OF))
    return tag


assert sys.byteorder == "little", "array views are handed on as they came, which is right on little-endian machines"
