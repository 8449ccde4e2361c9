from __future__ import annotations

import lz4.block
import numpy as np
import pytest

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.compression import compress_bslz4, decode_pixels, encode_pixels
from maxdaq_tango.model import Encoding, FrameFormat
from maxdaq_tango.wire.blobs import accept_blob, bslz4_header, check_blob, frame_format, lz4_block_to_hdf5

SHAPE = (16, 24)
PIXELS = np.arange(16 * 24, dtype=np.uint32).reshape(SHAPE)


def format_of(encoding: Encoding, dtype: str = "uint32") -> FrameFormat:
    return FrameFormat(SHAPE, dtype, encoding)


def test_bslz4_header_is_the_recorded_one() -> None:
    assert bslz4_header(1065 * 1030 * 4).hex(" ") == "00 00 00 00 00 42 f3 d8 00 00 20 00"


@pytest.mark.parametrize("encoding", [Encoding.NONE, Encoding.BSLZ4, Encoding.LZ4_HDF5, Encoding.LZ4_BLOCK])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_whole_blob_is_accepted_in_any_buffer(encoding: Encoding, kind: type) -> None:
    check_blob(format_of(encoding), kind(encode_pixels(PIXELS, encoding)))


@pytest.mark.parametrize("encoding", [Encoding.NONE, Encoding.BSLZ4, Encoding.LZ4_HDF5])
def test_a_blob_for_another_shape_is_refused(encoding: Encoding) -> None:
    blob = encode_pixels(PIXELS[:-1], encoding)
    with pytest.raises(WireError):
        check_blob(format_of(encoding), blob)


@pytest.mark.parametrize("encoding", list(Encoding))
def test_an_empty_blob_is_refused(encoding: Encoding) -> None:
    with pytest.raises(WireError):
        check_blob(format_of(encoding, "uint16"), b"")


@pytest.mark.parametrize("encoding", [Encoding.BSLZ4, Encoding.BSZSTD])
def test_a_bitshuffled_blob_needs_more_than_its_header(encoding: Encoding) -> None:
    with pytest.raises(WireError):
        check_blob(format_of(encoding), bslz4_header(PIXELS.nbytes))


@pytest.mark.parametrize("block", [0, 1, 100, 8193])
def test_a_block_size_that_bitshuffle_cannot_use_is_refused(block: int) -> None:
    with pytest.raises(WireError, match="multiple of 32"):
        check_blob(format_of(Encoding.BSLZ4), bslz4_header(PIXELS.nbytes, block) + b"x" * 100)


def test_the_error_names_both_sizes() -> None:
    with pytest.raises(WireError, match=r"1535 bytes.*1536 bytes"):
        check_blob(format_of(Encoding.NONE), bytes(1535))


@pytest.mark.lesson(42)
@pytest.mark.parametrize(("pixels", "nbytes"), [(3 * 3, 14), (4 * 4, 24)])
@pytest.mark.lesson(42)
def test_mono12p_is_two_pixels_in_three_bytes_rounded_up(pixels: int, nbytes: int) -> None:
    side = int(pixels**0.5)
    format = FrameFormat((side, side), "uint16", Encoding.MONO12P)
    check_blob(format, bytes(nbytes))
    for wrong in (nbytes - 1, nbytes + 1):
        with pytest.raises(WireError):
            check_blob(format, bytes(wrong))


def test_an_lz4_block_that_cannot_hold_the_pixels_is_refused() -> None:
    with pytest.raises(WireError):
        check_blob(FrameFormat((10_000, 10_000), "uint32", Encoding.LZ4_BLOCK), bytes(1000))


def test_memory_with_holes_is_refused() -> None:
    holes = memoryview(np.zeros((16, 48), np.uint32)[:, ::2])
    with pytest.raises(WireError):
        check_blob(format_of(Encoding.BSLZ4), holes)


def test_wide_items_are_measured_in_bytes() -> None:
    check_blob(format_of(Encoding.NONE), memoryview(PIXELS))
    blob = np.frombuffer(encode_pixels(np.zeros(SHAPE, np.uint32), Encoding.LZ4_HDF5) + bytes(3), np.uint8)
    check_blob(format_of(Encoding.LZ4_HDF5), memoryview(blob[: len(blob) // 4 * 4].view(np.uint32)))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((0, 5), "uint16"),
        ((5, -1), "uint16"),
        ((5,), "uint16"),
        ((2, 2, 2, 2), "uint16"),
        ((5, 5), "object"),
        ((5, 5), "U8"),
        ((5, 5), ">u2"),
        ((40_000, 40_000), "uint32"),
        ((2**31, 2**31), "uint8"),
    ],
)
def test_formats_that_no_frame_can_have_are_refused(shape: tuple[int, ...], dtype: str) -> None:
    with pytest.raises(WireError):
        frame_format(shape, dtype, Encoding.NONE)


@pytest.mark.parametrize("chunk", [(3, 4), (1, 3, 4), (2, 0, 4), (2, 5, 4), (2, 4, 5), (2, 8, 8)])
def test_chunks_that_do_not_tile_the_frame_are_refused(chunk: tuple[int, ...]) -> None:
    with pytest.raises(WireError):
        frame_format((2, 4, 4), "uint16", Encoding.NONE, chunk)


def test_the_same_format_is_the_same_object() -> None:
    assert frame_format((4, 4), "uint8", Encoding.NONE) is frame_format((4, 4), "uint8", Encoding.NONE)


def test_a_bare_block_becomes_a_chunk_with_16_bytes_before_it() -> None:
    block = encode_pixels(PIXELS, Encoding.LZ4_BLOCK)
    chunk = lz4_block_to_hdf5(block, PIXELS.nbytes)
    assert chunk[:16] == bytes([0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 6, 0]) + len(block).to_bytes(4, "big")
    assert chunk[16:] == block
    np.testing.assert_array_equal(decode_pixels(format_of(Encoding.LZ4_HDF5), [chunk]), PIXELS)


def block_as_long_as_its_pixels() -> tuple[bytes, bytes]:
    """LZ4 adds a byte or more to noise and saves a little where it repeats: some mixture comes out even."""
    noise = np.random.default_rng(1).integers(0, 256, 4096, np.uint8).tobytes()
    for repeat in range(4, 64):
        pixels = noise[:900] + noise[100 : 100 + repeat] + noise[900 : 1024 - repeat]
        block = lz4.block.compress(pixels, mode="high_compression", store_size=False)
        if len(block) == len(pixels):
            return block, pixels
    raise AssertionError("no such block found")


def test_a_block_as_long_as_its_pixels_is_stored_because_the_filter_would_take_it_for_stored() -> None:
    block, pixels = block_as_long_as_its_pixels()
    chunk = lz4_block_to_hdf5(block, len(pixels))
    assert chunk[16:] == pixels
    decoded = decode_pixels(FrameFormat((32, 32), "uint8", Encoding.LZ4_HDF5), [chunk])
    assert decoded.tobytes() == pixels


def test_a_damaged_block_as_long_as_its_pixels_is_refused() -> None:
    with pytest.raises(WireError):
        lz4_block_to_hdf5(b"\xff" * 64, 64)


@pytest.mark.parametrize(("blob", "nbytes"), [(b"", 10), (b"x", 0), (b"x", -1), (b"x", 1 << 32)])
def test_blocks_that_lz4_does_not_have_are_refused(blob: bytes, nbytes: int) -> None:
    with pytest.raises(WireError):
        lz4_block_to_hdf5(blob, nbytes)


def test_hdf5_reads_the_reframed_block(tmp_path) -> None:  # type: ignore[no-untyped-def]
    h5py = pytest.importorskip("h5py")
    hdf5plugin = pytest.importorskip("hdf5plugin")
    block, pixels = block_as_long_as_its_pixels()
    frames = {PIXELS.tobytes(): encode_pixels(PIXELS, Encoding.LZ4_BLOCK), pixels: block}
    for index, (raw, blob) in enumerate(frames.items()):
        with h5py.File(tmp_path / f"{index}.h5", "w") as file:
            dataset = file.create_dataset("data", (len(raw),), "u1", chunks=(len(raw),), **hdf5plugin.LZ4())
            dataset.id.write_direct_chunk((0,), lz4_block_to_hdf5(blob, len(raw)))
        with h5py.File(tmp_path / f"{index}.h5") as file:
            assert file["data"][:].tobytes() == raw


@pytest.mark.parametrize("shape", [(40, 30), (64, 64), (100, 3), (7, 5), (512, 1028)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_bslz4_without_its_header_gets_one(shape: tuple[int, int], dtype: str) -> None:
    pixels = (np.arange(shape[0] * shape[1]).reshape(shape) * 7 % 251).astype(dtype)
    whole = compress_bslz4(pixels)
    format = FrameFormat(shape, dtype, Encoding.BSLZ4)
    assert bytes(accept_blob(format, whole[12:])) == whole
    assert accept_blob(format, whole) is whole
    for wrong in (whole[12:-1], whole[12:] + b"x", whole[13:], b"", b"\0" * 4, b"\0" * len(whole)):
        with pytest.raises(WireError):
            accept_blob(format, wrong)
