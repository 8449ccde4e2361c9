from __future__ import annotations

import bitshuffle
import numpy as np
import pytest

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.compression import HAS_BSZSTD, compress_bslz4, decode_pixels, encode_pixels
from maxdaq_tango.model import Encoding, FrameFormat

DTYPES = ["uint8", "uint16", "uint32", "uint64", "int16", "int32", "float32", "float64"]
PACKABLE = [Encoding.NONE, Encoding.BSLZ4, Encoding.LZ4_BLOCK, Encoding.LZ4_HDF5]
ZSTD = pytest.param(
    Encoding.BSZSTD, marks=pytest.mark.skipif(not HAS_BSZSTD, reason="this build of bitshuffle has no Zstandard")
)
PACKED = [Encoding.BSLZ4, ZSTD, Encoding.LZ4_BLOCK, Encoding.LZ4_HDF5]


def counts(shape: tuple[int, ...], dtype: str = "uint32") -> np.ndarray:
    return np.random.default_rng(7).poisson(2, shape).astype(dtype)


def packed(pixels: np.ndarray, encoding: Encoding) -> bytes:
    if encoding is Encoding.BSZSTD:
        header = pixels.nbytes.to_bytes(8, "big") + (8192).to_bytes(4, "big")
        return header + bitshuffle.compress_zstd(pixels, 8192 // pixels.dtype.itemsize).tobytes()
    return encode_pixels(pixels, encoding)


@pytest.mark.parametrize("encoding", [*PACKABLE, ZSTD])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 3), (64, 64), (67, 129)])
def test_pixels_survive_packing(shape: tuple[int, ...], dtype: str, encoding: Encoding) -> None:
    pixels = counts(shape, dtype)
    decoded = decode_pixels(FrameFormat(shape, dtype, encoding), [packed(pixels, encoding)])
    assert decoded.dtype == pixels.dtype
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize("encoding", PACKED)
def test_noise_survives_packing(encoding: Encoding) -> None:
    noise = np.random.default_rng(3).integers(0, 2**16, (100, 101), np.uint16)
    decoded = decode_pixels(FrameFormat(noise.shape, "uint16", encoding), [packed(noise, encoding)])
    np.testing.assert_array_equal(decoded, noise)


@pytest.mark.parametrize("encoding", PACKABLE)
def test_what_lies_otherwise_in_memory_is_packed_as_it_reads(encoding: Encoding) -> None:
    pixels = counts((32, 40), "uint16")
    format = FrameFormat((40, 32), "uint16", encoding)
    for odd in (pixels.T, np.asfortranarray(pixels.T), pixels.T.astype(">u2")):
        np.testing.assert_array_equal(decode_pixels(format, [encode_pixels(odd, encoding)]), pixels.T)


def test_bslz4_is_the_header_and_what_bitshuffle_makes() -> None:
    pixels = counts((100, 100))
    blob = compress_bslz4(pixels)
    assert blob[:12].hex() == "0000000000009c4000002000"
    assert blob[12:] == bitshuffle.compress_lz4(pixels, 2048).tobytes()


def test_hdf5_reads_what_is_packed(tmp_path) -> None:  # type: ignore[no-untyped-def]
    h5py = pytest.importorskip("h5py")
    hdf5plugin = pytest.importorskip("hdf5plugin")
    pixels = counts((67, 129))
    noise = np.random.default_rng(3).integers(0, 2**32, (67, 129), np.uint32)
    filters = {Encoding.BSLZ4: hdf5plugin.Bitshuffle(), Encoding.LZ4_HDF5: hdf5plugin.LZ4()}
    with h5py.File(tmp_path / "f.h5", "w") as file:
        for encoding, options in filters.items():
            dataset = file.create_dataset(encoding.value, (2, 67, 129), "u4", chunks=(1, 67, 129), **options)
            for index, frame in enumerate((pixels, noise)):
                dataset.id.write_direct_chunk((index, 0, 0), encode_pixels(frame, encoding))
            np.testing.assert_array_equal(dataset[0], pixels)
            np.testing.assert_array_equal(dataset[1], noise)


def test_chunks_are_put_together_in_c_order_of_their_grid() -> None:
    frame = np.arange(4 * 6, dtype=np.uint16).reshape(4, 6)
    format = FrameFormat((4, 6), "uint16", Encoding.BSLZ4, (2, 3))
    blobs = [compress_bslz4(frame[r : r + 2, c : c + 3]) for r in (0, 2) for c in (0, 3)]
    np.testing.assert_array_equal(decode_pixels(format, blobs), frame)


def test_a_missing_or_extra_chunk_is_refused() -> None:
    format = FrameFormat((2, 4, 6), "uint16", Encoding.NONE, (1, 4, 6))
    for blobs in ([], [bytes(48)], [bytes(48)] * 3):
        with pytest.raises(WireError, match="Accepted: 2"):
            decode_pixels(format, blobs)


def test_uncompressed_pixels_are_not_copied() -> None:
    blob = bytes(range(32))
    decoded = decode_pixels(FrameFormat((4, 4), "uint16", Encoding.NONE), [blob])
    assert np.shares_memory(decoded, np.frombuffer(blob, np.uint8))
    assert not decoded.flags.writeable


@pytest.mark.parametrize("encoding", [Encoding.CBF, Encoding.MONO12P, Encoding.MONO12])
def test_packings_without_an_encoder_say_so(encoding: Encoding) -> None:
    with pytest.raises(WireError, match=f"no encoder for {encoding} here"):
        encode_pixels(counts((4, 4)), encoding)


@pytest.mark.parametrize("pixels", [np.zeros((0, 4), "u2"), np.zeros(3, object), np.zeros(3, "U2"), np.zeros(3, "c8")])
def test_what_is_not_pixels_is_not_packed(pixels: np.ndarray) -> None:
    for pack in (compress_bslz4, lambda array: encode_pixels(array, Encoding.NONE)):
        with pytest.raises(WireError):
            pack(pixels)


@pytest.mark.lesson(41)
@pytest.mark.parametrize("encoding", [Encoding.NONE, *PACKED])
@pytest.mark.lesson(41)
def test_a_blob_cut_anywhere_is_refused(encoding: Encoding) -> None:
    pixels = np.random.default_rng(5).integers(0, 500, (60, 81), np.uint16)
    blob = packed(pixels, encoding)
    format = FrameFormat(pixels.shape, "uint16", encoding)
    for cut in [*range(40), *range(40, len(blob), 97), len(blob) - 1]:
        with pytest.raises(WireError):
            decode_pixels(format, [blob[:cut]])


@pytest.mark.parametrize("encoding", [Encoding.NONE, *PACKED])
def test_bytes_too_many_are_refused(encoding: Encoding) -> None:
    pixels = counts((60, 81), "uint16")
    with pytest.raises(WireError):
        decode_pixels(FrameFormat(pixels.shape, "uint16", encoding), [packed(pixels, encoding) + b"\0"])


@pytest.mark.lesson(41)
@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.lesson(41)
def test_flipped_bits_never_do_more_than_change_pixels(encoding: Encoding) -> None:
    pixels = counts((60, 81), "uint16")
    blob = packed(pixels, encoding)
    format = FrameFormat(pixels.shape, "uint16", encoding)
    refused = 0
    for at in range(0, len(blob), 3):
        for mask in (0x01, 0x80, 0xFF):
            damaged = blob[:at] + bytes([blob[at] ^ mask]) + blob[at + 1 :]
            try:
                assert decode_pixels(format, [damaged]).shape == pixels.shape
            except WireError:
                refused += 1
    assert refused > 30


@pytest.mark.parametrize("block", [0, 1, 100, 8191, 2**32 - 1])
def test_a_block_size_that_bitshuffle_cannot_use_is_refused(block: int) -> None:
    blob = compress_bslz4(counts((60, 81), "uint16"))
    with pytest.raises(WireError):
        decode_pixels(
            FrameFormat((60, 81), "uint16", Encoding.BSLZ4), [blob[:8] + block.to_bytes(4, "big") + blob[12:]]
        )


def test_other_block_sizes_are_read() -> None:
    pixels = counts((60, 81), "uint16")
    for elements in (8, 64, 4096, 8192):
        blocks = bitshuffle.compress_lz4(pixels, elements).tobytes()
        blob = pixels.nbytes.to_bytes(8, "big") + (2 * elements).to_bytes(4, "big") + blocks
        np.testing.assert_array_equal(decode_pixels(FrameFormat((60, 81), "uint16", Encoding.BSLZ4), [blob]), pixels)


@pytest.mark.parametrize("encoding", PACKED)
def test_a_frame_of_a_billion_pixels_in_thirty_bytes_is_refused_before_memory_is_taken(encoding: Encoding) -> None:
    format = FrameFormat((30_000, 33_000), "uint32", encoding)
    header = format.nbytes.to_bytes(8, "big")
    for block in (8192, 0x7FFFFF00, 0xFFFFFF00):
        with pytest.raises(WireError):
            decode_pixels(format, [header + block.to_bytes(4, "big") + (14).to_bytes(4, "big") + bytes(14)])
