"""The block lengths of a packed chunk: whatever does not lead from its first byte to its last is refused."""

from __future__ import annotations

from collections.abc import Iterator

import bitshuffle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels import framing
from maxdaq_tango.kernels.compression import HAS_BSZSTD, compress_bslz4, decode_pixels, encode_pixels
from maxdaq_tango.kernels.framing import FRAMED, blocks_end, check_framing
from maxdaq_tango.model import Encoding, FrameFormat
from maxdaq_tango.testing.strategies import chunks, frame_formats
from receiving import packed_by_hdf5


def in_blocks(lengths: list[int]) -> bytes:
    return b"".join(length.to_bytes(4, "big") + bytes(length) for length in lengths)


@pytest.fixture(scope="module", params=["in Python", "compiled"], autouse=True)
def _walk(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test of this file, with either of the twins."""
    before = framing._walk
    if request.param == "compiled":
        framing.compile_kernels()
        assert framing._walk is not before
    yield
    framing._walk = before


@given(st.binary(max_size=60) | st.lists(st.integers(0, 9), max_size=12).map(in_blocks), st.integers(0, 12), st.data())
def test_both_twins_come_to_the_same_end(blob: bytes, at: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 16))
    for view in (memoryview(blob), memoryview(bytearray(blob))):
        assert blocks_end(view, at, count) == framing.walk_in_python(view, at, count)


SHAPE = (130, 131)
PIXELS = np.random.default_rng(4).poisson(3, SHAPE).astype(np.uint16)
BLOCKS = -(-PIXELS.nbytes // 8192)


def packed(encoding: Encoding) -> bytes:
    return packed_by_hdf5(PIXELS) if encoding is Encoding.BSZSTD else encode_pixels(PIXELS, encoding)


def format_of(encoding: Encoding) -> FrameFormat:
    return FrameFormat(SHAPE, "uint16", encoding)


def in_small_blocks() -> bytes:
    """An lz4 chunk of many blocks, as other senders make it."""
    pieces = [PIXELS.tobytes()[at : at + 1000] for at in range(0, PIXELS.nbytes, 1000)]
    stored = b"".join(len(piece).to_bytes(4, "big") + piece for piece in pieces)
    return PIXELS.nbytes.to_bytes(8, "big") + (1000).to_bytes(4, "big") + stored


def lengths_in(format: FrameFormat, blob: bytes) -> list[int]:
    """Where the block lengths of an intact chunk stand."""
    where, at = [], 12
    tail = format.nbytes % (8 * format.item_nbytes) if format.encoding is not Encoding.LZ4_HDF5 else 0
    while at < len(blob) - tail:
        where.append(at)
        at += 4 + int.from_bytes(blob[at : at + 4], "big")
    return where


BLOBS = [(encoding, packed(encoding)) for encoding in sorted(FRAMED)] + [(Encoding.LZ4_HDF5, in_small_blocks())]


@pytest.mark.parametrize(("encoding", "blob"), BLOBS)
def test_a_whole_chunk_is_accepted(encoding: Encoding, blob: bytes) -> None:
    check_framing(format_of(encoding), memoryview(blob))
    assert blocks_end(memoryview(blob), 12, len(lengths_in(format_of(encoding), blob))) >= len(blob) - 14


@pytest.mark.lesson(11)
@pytest.mark.parametrize(("encoding", "blob"), BLOBS)
def test_a_chunk_that_was_cut_anywhere_or_has_a_byte_too_many_is_refused(encoding: Encoding, blob: bytes) -> None:
    format = format_of(encoding)
    for cut in [*range(40), *range(40, len(blob), 97), len(blob) // 2, len(blob) - 1]:
        with pytest.raises(WireError, match=f"look at a {encoding} blob for .* uint16"):
            check_framing(format, memoryview(blob)[:cut])
    with pytest.raises(WireError, match="no byte over"):
        check_framing(format, memoryview(blob + b"\0"))


@pytest.mark.lesson(11)
@pytest.mark.parametrize(("encoding", "blob"), BLOBS)
@pytest.mark.parametrize("change", [-1, 1, 4, 256, "nothing", "endless"])
def test_a_wrong_length_of_any_block_is_refused(encoding: Encoding, blob: bytes, change: int | str) -> None:
    for at in lengths_in(format_of(encoding), blob):
        length = int.from_bytes(blob[at : at + 4], "big")
        wrong = {"nothing": 0, "endless": 2**32 - 1}.get(change) if isinstance(change, str) else length + change
        assert wrong is not None
        with pytest.raises(WireError, match="block lengths that lead"):
            check_framing(format_of(encoding), memoryview(blob[:at] + wrong.to_bytes(4, "big") + blob[at + 4 :]))


def test_a_chunk_padded_with_zeros_instead_of_its_second_half_is_refused() -> None:
    blob = packed(Encoding.BSLZ4)
    half = len(blob) // 2
    with pytest.raises(WireError, match="lead out of them or nowhere"):
        check_framing(format_of(Encoding.BSLZ4), memoryview(blob[:half] + bytes(len(blob) - half)))


@pytest.mark.parametrize("encoding", sorted(FRAMED))
def test_more_blocks_than_a_chunk_can_hold_are_refused_before_they_are_counted(encoding: Encoding) -> None:
    format = FrameFormat((30_000, 33_000), "uint32", encoding)  # 4 GB in blocks of 32 bytes: 123 million of them
    with pytest.raises(WireError, match="blocks that can hold"):
        check_framing(format, memoryview(format.nbytes.to_bytes(8, "big") + (32).to_bytes(4, "big") + b"\1" * 100))


@pytest.mark.lesson(11)
@pytest.mark.parametrize("encoding", [Encoding.BSLZ4, Encoding.BSZSTD])
@pytest.mark.parametrize("dtype", ["uint16", "uint32", "float64"])
def test_a_chunk_with_no_block_in_it_is_refused_whatever_its_raw_tail(encoding: Encoding, dtype: str) -> None:
    """Found by the fuzzer: 13 bytes for 15 pixels of which 7 are the tail (14 bytes, less the 1 that says "nowhere")
    passed, and the C code read behind them.
    """
    for pixels in range(1, 40):
        format = FrameFormat((1, pixels), dtype, encoding)
        for size in range(12, 80):
            blob = format.nbytes.to_bytes(8, "big") + (8192).to_bytes(4, "big") + bytes(size - 12)
            if format.nbytes < 8 * format.item_nbytes and size == 12 + format.nbytes:
                check_framing(format, memoryview(blob))  # so few pixels are all tail
                continue
            with pytest.raises(WireError):
                check_framing(format, memoryview(blob))


@pytest.mark.lesson(11)
@pytest.mark.parametrize("encoding", [Encoding.BSLZ4, Encoding.BSZSTD, Encoding.LZ4_HDF5])
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_blocks_of_more_than_an_int_holds_are_refused(encoding: Encoding, dtype: str) -> None:
    """Found by the fuzzer: one pixel in blocks of 4 GiB passed, and the package that unpacks it had no int for that."""
    format = FrameFormat((1, 1), dtype, encoding)
    tail = (
        bytes(format.nbytes)
        if encoding is not Encoding.LZ4_HDF5
        else encode_pixels(np.ones((1, 1), dtype), encoding)[12:]
    )
    for block, fits in ((1 << 30, True), ((1 << 31) - 64, True), (1 << 31, False), ((1 << 32) - 64, False)):
        blob = format.nbytes.to_bytes(8, "big") + block.to_bytes(4, "big") + tail
        if fits:
            check_framing(format, memoryview(blob))
            if encoding is not Encoding.BSZSTD or HAS_BSZSTD:
                assert decode_pixels(format, [blob]).shape == (1, 1)
            continue
        with pytest.raises(WireError, match=f"block size {block}"):
            check_framing(format, memoryview(blob))
        with pytest.raises(WireError, match=f"block size {block}"):
            decode_pixels(format, [blob])


def test_the_error_says_where_the_lengths_lead() -> None:
    blob = packed(Encoding.BSLZ4)
    with pytest.raises(WireError, match=rf"{len(blob) - 1} bytes, and .* lead to byte {len(blob)}.*{BLOCKS} blocks"):
        # One byte less in the raw tail: all lengths stand, the end does not.
        check_framing(format_of(Encoding.BSLZ4), memoryview(blob[:-1]))


@given(
    frame_formats(encodings=(Encoding.BSLZ4, Encoding.LZ4_HDF5), planes=False).flatmap(
        lambda format: st.tuples(st.just(format), chunks(format))
    ),
    st.data(),
)
def test_any_cut_and_any_other_length_is_refused_or_unpacks_to_the_same(
    case: tuple[FrameFormat, np.ndarray], data: st.DataObject
) -> None:
    format, pixels = case
    if format.encoding is Encoding.BSLZ4 and data.draw(st.booleans(), "small blocks"):
        elements = data.draw(st.sampled_from([8, 16, 64]), "elements")
        blocks = bitshuffle.compress_lz4(pixels, elements).tobytes()
        blob = pixels.nbytes.to_bytes(8, "big") + (elements * pixels.itemsize).to_bytes(4, "big") + blocks
    else:
        blob = encode_pixels(pixels, format.encoding)
    where = lengths_in(format, blob)
    if where and data.draw(st.booleans(), "another length"):
        at = data.draw(st.sampled_from(where), "at")
        length = data.draw(st.integers(0, 2 * len(blob)) | st.integers(0, 2**32 - 1), "length")
        damaged = blob[:at] + length.to_bytes(4, "big") + blob[at + 4 :]
    else:
        damaged = blob[: data.draw(st.integers(0, len(blob) - 1), "cut to")]
    try:
        decoded = decode_pixels(format, [damaged])
    except WireError:
        return
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.skipif(not HAS_BSZSTD, reason="this build of bitshuffle has no Zstandard")
def test_zstandard_of_zeros_is_no_bomb() -> None:
    zeros = np.zeros((256, 256), np.uint32)
    blob = encode_pixels(zeros, Encoding.BSZSTD)
    format = FrameFormat(zeros.shape, "uint32", Encoding.BSZSTD)
    check_framing(format, memoryview(blob))
    np.testing.assert_array_equal(decode_pixels(format, [blob]), zeros)


def test_lz4_of_zeros_is_no_bomb() -> None:
    zeros = np.zeros((256, 256), np.uint32)
    check_framing(FrameFormat(zeros.shape, "uint32", Encoding.BSLZ4), memoryview(compress_bslz4(zeros)))
