"""What a chain of transforms says and does: formats before data flow, pixels as they should be."""

from __future__ import annotations

import numpy as np
import pytest

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.cbf import make_cbf
from maxdaq_tango.kernels.compression import HAS_BSZSTD, decode_pixels, encode_pixels
from maxdaq_tango.kernels.mono12p import pack_mono12, pack_mono12p
from maxdaq_tango.kernels.orientation import orient
from maxdaq_tango.model import Compression, Encoding, Frame, FrameFormat, Orientation
from maxdaq_tango.pipeline.transforms import Chain, choose_transforms

DTYPES = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64"]
ZSTD = pytest.param(
    Compression.BSZSTD, marks=pytest.mark.skipif(not HAS_BSZSTD, reason="this build of bitshuffle has no Zstandard")
)


def chain_for(format: FrameFormat, orientation: Orientation, compression: Compression) -> Chain:
    return Chain(format, choose_transforms(format, orientation, compression))


def chunks_of(pixels: np.ndarray, chunk: tuple[int, ...]) -> list[np.ndarray]:
    grid = np.ndindex(*(size // part for size, part in zip(pixels.shape, chunk, strict=True)))
    return [
        pixels[tuple(slice(i * part, (i + 1) * part) for i, part in zip(place, chunk, strict=True))] for place in grid
    ]


def framed(pixels: np.ndarray, encoding: Encoding, chunk: tuple[int, ...] = ()) -> Frame:
    format = FrameFormat(pixels.shape, str(pixels.dtype), encoding, chunk)
    blobs = tuple(encode_pixels(part, encoding) for part in chunks_of(pixels, format.chunk))
    return Frame(series="", frame_number=1, format=format, blobs=blobs, start_time_s=3.0, extras={"a": 1})


@pytest.mark.parametrize("compression", [Compression.NONE, Compression.BSLZ4, ZSTD])
@pytest.mark.parametrize("orientation", [Orientation(), Orientation(1), Orientation(2, fliplr=True, flipud=True)])
@pytest.mark.parametrize(
    ("shape", "chunk"),
    [((1, 1), ()), ((1, 7), ()), ((7, 5), ()), ((33, 65), ()), ((3, 4, 5), (1, 4, 5)), ((4, 6), (2, 3))],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_comes_out_is_what_was_described_and_every_pixel_is_in_its_place(
    shape: tuple[int, ...], chunk: tuple[int, ...], dtype: str, orientation: Orientation, compression: Compression
) -> None:
    pixels = np.random.default_rng(2).poisson(3, shape).astype(dtype)
    frame = framed(pixels, Encoding.NONE, chunk)
    chain = chain_for(frame.format, orientation, compression)
    assert chain.stored.encoding.value == compression.value
    stored = chain.apply(frame, memoryview(bytearray(chain.room)))
    assert stored.format == chain.stored
    assert (stored.frame_number, stored.start_time_s, stored.extras) == (1, 3.0, {"a": 1})
    np.testing.assert_array_equal(decode_pixels(stored.format, stored.blobs), orient(pixels, orientation))


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("encoding", [Encoding.BSLZ4, Encoding.BSZSTD, Encoding.LZ4_HDF5])
def test_what_the_detector_has_compressed_needs_nothing(encoding: Encoding, compression: Compression) -> None:
    format = FrameFormat((4, 4), "uint16", encoding)
    chain = chain_for(format, Orientation(), compression)
    assert not chain
    assert chain.stored == format
    assert chain.room == 0


def test_uncompressed_frames_stored_as_they_come_need_nothing() -> None:
    assert not chain_for(FrameFormat((4, 4), "uint16", Encoding.NONE), Orientation(), Compression.NONE)


@pytest.mark.parametrize("compression", Compression)
@pytest.mark.parametrize("encoding", [Encoding.BSLZ4, Encoding.LZ4_HDF5, Encoding.LZ4_BLOCK])
def test_compressed_frames_that_are_turned_are_packed_again(encoding: Encoding, compression: Compression) -> None:
    pixels = np.random.default_rng(2).poisson(3, (6, 9)).astype("uint16")
    frame = framed(pixels, encoding)
    chain = chain_for(frame.format, Orientation(1), compression)
    stored = chain.apply(frame, memoryview(bytearray(chain.room)))
    assert stored.format == chain.stored == FrameFormat((9, 6), "uint16", Encoding.BSLZ4)
    np.testing.assert_array_equal(decode_pixels(stored.format, stored.blobs), np.rot90(pixels))


def test_a_bare_lz4_block_longer_than_its_pixels_can_make_it_is_damage() -> None:
    format = FrameFormat((4, 4), "uint16", Encoding.LZ4_BLOCK)
    chain = chain_for(format, Orientation(), Compression.BSLZ4)
    frame = Frame(series="", frame_number=1, format=format, blobs=(bytes(1000),))
    with pytest.raises(WireError, match="longer than"):
        chain.apply(frame, memoryview(bytearray(chain.room)))


def test_a_blob_of_another_size_is_not_packed() -> None:
    format = FrameFormat((4, 4), "uint16", Encoding.NONE)
    chain = chain_for(format, Orientation(), Compression.BSLZ4)
    for size in (30, 34):
        with pytest.raises(WireError, match=f"{size} bytes"):
            chain.apply(
                Frame(series="", frame_number=1, format=format, blobs=(bytes(size),)),
                memoryview(bytearray(chain.room)),
            )


COUNTS = np.random.default_rng(5).poisson(900, (6, 4)).astype("i4")
UNPACKED_HERE = [
    (FrameFormat((6, 4), "int32", Encoding.CBF), make_cbf(COUNTS)),
    (FrameFormat((6, 4), "uint16", Encoding.MONO12P), pack_mono12p(COUNTS.astype("u2"))),
    (FrameFormat((6, 4), "uint16", Encoding.MONO12), pack_mono12(COUNTS.astype("u2"))),
]


@pytest.mark.parametrize("compression", [Compression.NONE, Compression.BSLZ4, ZSTD])
@pytest.mark.parametrize("orientation", [Orientation(), Orientation(1, fliplr=True)])
@pytest.mark.parametrize(("format", "blob"), UNPACKED_HERE)
def test_a_packing_that_no_file_holds_becomes_pixels_that_are_turned_and_packed_as_any_others(
    format: FrameFormat, blob: bytes, orientation: Orientation, compression: Compression
) -> None:
    chain = chain_for(format, orientation, compression)
    frame = Frame(series="", frame_number=1, format=format, blobs=(blob,))
    stored = chain.apply(frame, memoryview(bytearray(chain.room)))
    assert stored.format == chain.stored
    assert stored.format.encoding == Encoding(compression.value)
    assert stored.format.dtype == format.dtype
    assert np.array_equal(decode_pixels(stored.format, stored.blobs), orient(COUNTS, orientation))


@pytest.mark.parametrize(("format", "blob"), UNPACKED_HERE)
def test_several_chunks_of_such_a_frame_come_out_side_by_side(format: FrameFormat, blob: bytes) -> None:
    several = FrameFormat((3, 6, 4), format.dtype, format.encoding, (1, 6, 4))
    chain = chain_for(several, Orientation(), Compression.NONE)
    frame = Frame(series="", frame_number=1, format=several, blobs=(blob,) * 3)
    stored = chain.apply(frame, memoryview(bytearray(chain.room)))
    assert np.array_equal(decode_pixels(stored.format, stored.blobs), [COUNTS] * 3)
