"""Packing into lent memory is packing: same bytes, any type and size, read back by HDF5."""

from __future__ import annotations

from collections.abc import Iterator

import h5py
import hdf5plugin
import numpy as np
import pytest

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels import packing
from maxdaq_tango.kernels.compression import HAS_BSZSTD, decode_pixels, encode_pixels
from maxdaq_tango.kernels.packing import pack_into, packed_room
from maxdaq_tango.model import Encoding, FrameFormat

DTYPES = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64"]
SHAPES = [(1, 1), (1, 7), (1, 8), (3, 3), (64, 64), (67, 129)]
ENCODINGS = [
    Encoding.BSLZ4,
    pytest.param(
        Encoding.BSZSTD, marks=pytest.mark.skipif(not HAS_BSZSTD, reason="this build of bitshuffle has no Zstandard")
    ),
]


def pictures(shape: tuple[int, ...], dtype: str) -> list[np.ndarray]:
    random = np.random.default_rng(5)
    noise = random.integers(0, 256, (*shape, np.dtype(dtype).itemsize), np.uint8).view(dtype)[..., 0]
    return [random.poisson(2, shape).astype(dtype), noise, np.zeros(shape, dtype)]


def packed(pixels: np.ndarray, encoding: Encoding) -> bytes:
    item = pixels.dtype.itemsize
    memory = memoryview(bytearray(packed_room(pixels.nbytes, item, encoding)))
    return bytes(memory[: pack_into(pixels.tobytes(), item, encoding, memory)])


@pytest.fixture(params=["the library", "its Python functions"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param != "the library":
        monkeypatch.setattr(packing, "_LIBRARY", None)
        monkeypatch.setattr(packing, "_pack", packing._pack_in_python)
    elif packing._LIBRARY is None:
        pytest.skip("this build of bitshuffle hides its C functions")


@pytest.fixture(autouse=True)
def fresh_rooms() -> Iterator[None]:
    packed_room.cache_clear()
    yield
    packed_room.cache_clear()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_bytes_as_without_lent_memory(
    shape: tuple[int, ...], dtype: str, encoding: Encoding, either_way: None
) -> None:
    for pixels in pictures(shape, dtype):
        assert packed(pixels, encoding) == encode_pixels(pixels, encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_hdf5_and_our_own_decoder_read_it(shape: tuple[int, ...], dtype: str, encoding: Encoding) -> None:
    options = {"compression": hdf5plugin.BSHUF_ID, "compression_opts": (0, 2 if encoding is Encoding.BSLZ4 else 3)}
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("data", (3, *shape), dtype, chunks=(1, *shape), **options)
        for row, pixels in enumerate(pictures(shape, dtype)):
            blob = packed(pixels, encoding)
            dataset.id.write_direct_chunk((row, 0, 0), blob)
            assert dataset[row].tobytes() == pixels.tobytes()
            assert decode_pixels(FrameFormat(shape, dtype, encoding), [blob]).tobytes() == pixels.tobytes()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("item", packing.ITEM_SIZES)
def test_where_the_library_cannot_be_asked_the_room_is_never_less(
    item: int, encoding: Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    if packing._LIBRARY is None:
        pytest.skip("this build of bitshuffle hides its C functions")
    sizes = [item * count for count in (1, 7, 8, 1023, 1024, 1025, 4096, 100_003, 5_000_000)]
    true = [packed_room(size, item, encoding) for size in sizes]
    packed_room.cache_clear()
    monkeypatch.setattr(packing, "_LIBRARY", None)
    ours = [packed_room(size, item, encoding) for size in sizes]
    packed_room.cache_clear()
    assert all(more >= least for more, least in zip(ours, true, strict=True))


def test_nothing_is_written_behind_what_is_lent() -> None:
    noise = np.random.default_rng(1).integers(0, 256, 100_003, np.uint8)
    room = packed_room(noise.nbytes, 1, Encoding.BSLZ4)
    memory = bytearray(room + 64)
    pack_into(noise, 1, Encoding.BSLZ4, memoryview(memory)[:room])
    assert memory[room:] == bytes(64)
    with pytest.raises(ValueError, match="too few"):
        pack_into(noise, 1, Encoding.BSLZ4, memoryview(memory)[: room - 1])


@pytest.mark.parametrize(("nbytes", "item"), [(0, 2), (3, 2), (6, 3), (16, 16)])
def test_what_is_no_whole_pixels_is_refused(nbytes: int, item: int) -> None:
    with pytest.raises(WireError, match="whole pixels"):
        pack_into(bytes(nbytes), item, Encoding.BSLZ4, memoryview(bytearray(1000)))


def test_other_packings_are_refused() -> None:
    with pytest.raises(WireError, match="no encoder for lz4"):
        packed_room(16, 2, Encoding.LZ4_HDF5)
