"""Packed pixels: framing, and the C code that unpacks them.

An input is: encoding, pixel type, rows, columns, how often the rows (1 byte each), then the blob.
"""

from __future__ import annotations

import random

import numpy as np

from fuzz.compiled import FRAMING
from fuzz.guarded import guarded
from fuzz.message import must_be_readable
from fuzz.mutation import Plain, blob_part
from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels import framing
from maxdaq_tango.kernels.cbf import PADDING, make_cbf
from maxdaq_tango.kernels.compression import HAS_BSZSTD, decode_pixels, encode_pixels
from maxdaq_tango.kernels.mono12p import pack_mono12, pack_mono12p
from maxdaq_tango.kernels.unpacking import DTYPE_OF
from maxdaq_tango.model import Encoding
from maxdaq_tango.wire.blobs import ITEM_NBYTES, accept_blob, frame_format, lz4_block_to_hdf5

ENCODINGS = tuple(Encoding)
PACK = {Encoding.MONO12P: pack_mono12p, Encoding.MONO12: pack_mono12}
TYPES = tuple(ITEM_NBYTES)
HEAD = 5
FIRST_BLOCK = 12
ONLY = {encoding: (dtype,) for encoding, dtype in DTYPE_OF.items()}


def one(data: bytes) -> None:
    """A blob that is accepted has the pixels that its format says, or is refused when they are unpacked."""
    if len(data) < HEAD:
        return
    encoding, dtype = ENCODINGS[data[0] % len(ENCODINGS)], TYPES[data[1] % len(TYPES)]
    shape = ((1 + data[2]) << (data[4] % 8), 1 + data[3])
    blob = guarded(data[HEAD:])
    for at, count in ((FIRST_BLOCK, 1), (FIRST_BLOCK, 2), (FIRST_BLOCK, 5), (0, 1), (0, 3)):
        if len(blob):
            assert FRAMING.blocks_end(blob, at, count) == framing.walk_in_python(blob, at, count)
    try:
        format = frame_format(shape, dtype, encoding)
        accepted = accept_blob(format, blob)
        if encoding is Encoding.LZ4_BLOCK:
            chunk = lz4_block_to_hdf5(accepted, format.nbytes)
            assert len(chunk) >= len(accepted)
        pixels = decode_pixels(format, [guarded(accepted)])
        assert pixels.shape == shape
        assert pixels.dtype.name == dtype
    except WireError as error:
        must_be_readable(error)


def mutated(data: bytes, most: int, chance: random.Random, plain: Plain) -> bytes:
    """Another format for the same blob, or something else in the blob."""
    data = data.ljust(HEAD, b"\0")
    if chance.random() < 0.15:
        at = chance.randrange(HEAD)
        return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
    return data[:HEAD] + blob_part(data[HEAD:], max(1, most - HEAD), chance, plain)


def seeds() -> dict[str, bytes]:
    """A good blob of every packing and item size; the larger ones have several blocks."""
    found = {}
    for encoding in ENCODINGS:
        for dtype in ONLY.get(encoding, ("uint16", "float64")):
            for rows, columns in ((5, 3), (90, 60)):
                head = bytes([ENCODINGS.index(encoding), TYPES.index(dtype), rows - 1, columns - 1, 0])
                pixels = (np.arange(rows * columns) % 3).astype(dtype).reshape(rows, columns)
                if encoding in PACK:
                    blob = PACK[encoding](pixels)
                elif encoding is Encoding.CBF:
                    blob = make_cbf(pixels).replace(bytes(PADDING), b"")
                elif (encoding is Encoding.NONE and rows > 5) or (encoding is Encoding.BSZSTD and not HAS_BSZSTD):
                    continue
                else:
                    blob = encode_pixels(pixels, encoding)
                if len(blob) <= 2000:
                    found[f"{encoding.value}-{dtype}-{rows}"] = head + blob
    return found
