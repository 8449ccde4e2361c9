"""The packing of CBF files: its twins, and fabio, which is nobody of ours."""

from __future__ import annotations

import numpy as np
import pytest
from fabio.compression import compByteOffset, decByteOffset
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from maxdaq_tango.kernels.byte_offset import (
    OUT_OF_RANGE,
    TOO_SHORT,
    pack_byte_offset,
    unpack_byte_offset,
    unpack_in_python,
)

EDGES = [0, 1, -1, 127, -127, 128, -128, 32767, -32767, -32768, 2**31 - 1, -(2**31), 2**30]
NUMBERS = st.sampled_from(EDGES) | st.integers(-(2**31), 2**31 - 1) | st.integers(-200, 200)
PIXELS = arrays.arrays(np.int32, st.integers(1, 60), elements=NUMBERS)
COUNTS = arrays.arrays(np.int32, st.integers(1, 60), elements=st.integers(-2, 1 << 20))
"""What a Pilatus writes: 20 bits, -1 and -2."""


def unpacked(data: bytes, count: int) -> tuple[int, np.ndarray]:
    pixels = np.zeros(count, np.int32)
    return unpack_byte_offset(np.frombuffer(data, np.uint8), pixels), pixels


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """Before the first test, as it takes a second."""
    unpack_byte_offset(np.zeros(1, np.uint8), np.zeros(1, np.int32))


@given(PIXELS)
def test_any_pixels_come_back_through_either_twin(pixels: np.ndarray) -> None:
    data = pack_byte_offset(pixels)
    end, found = unpacked(data, len(pixels))
    assert end == len(data)
    assert np.array_equal(found, pixels)
    again = np.zeros_like(pixels)
    assert unpack_in_python(np.frombuffer(data, np.uint8), again) == len(data)
    assert np.array_equal(again, pixels)


@given(
    st.binary(max_size=80)
    | st.lists(st.sampled_from([b"\x80", b"\0", b"\xff\x7f", b"\0\x80"]), max_size=40).map(b"".join),
    st.integers(1, 40),
)
def test_either_twin_makes_the_same_of_any_bytes(data: bytes, count: int) -> None:
    mine, twin = np.zeros(count, np.int32), np.zeros(count, np.int32)
    view = np.frombuffer(data, np.uint8)
    end = unpack_byte_offset(view, mine)
    assert end == unpack_in_python(view, twin)
    assert end in (TOO_SHORT, OUT_OF_RANGE) or count <= end <= len(data)
    assert np.array_equal(mine, twin)


@given(COUNTS)
def test_fabio_reads_ours_and_we_read_fabios(pixels: np.ndarray) -> None:
    data = pack_byte_offset(pixels)
    assert np.array_equal(decByteOffset(data, len(pixels)), pixels)
    theirs = bytes(compByteOffset(pixels))
    assert theirs == data
    assert np.array_equal(unpacked(theirs, len(pixels))[1], pixels)


@pytest.mark.parametrize("pixels", [[5], [300], [70_000], [2**31 - 1, -(2**31)]])
def test_a_number_that_was_cut_anywhere_is_too_short(pixels: list[int]) -> None:
    data = pack_byte_offset(np.array(pixels, np.int32))
    for end in range(len(data)):
        assert unpacked(data[:end], len(pixels))[0] == TOO_SHORT


@pytest.mark.parametrize("difference", [2**31, -(2**31) - 1, 2**62, -(2**63), 2**63 - 1])
def test_what_is_no_32_bit_number_is_out_of_range(difference: int) -> None:
    longest = b"\x80\x00\x80\x00\x00\x00\x80" + difference.to_bytes(8, "little", signed=True)
    assert unpacked(longest, 1)[0] == OUT_OF_RANGE
    assert unpacked(b"\x05" + longest * 3, 4)[0] == OUT_OF_RANGE


def test_bytes_that_may_be_written_are_read_as_well() -> None:
    pixels = np.zeros(2, np.int32)
    assert unpack_byte_offset(np.frombuffer(bytearray(b"\x05\xff"), np.uint8), pixels) == 2
    assert pixels.tolist() == [5, 4]
