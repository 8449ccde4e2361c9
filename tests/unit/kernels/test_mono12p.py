from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from maxdaq_tango.kernels.mono12p import pack_mono12p, packed_nbytes, unpack_mono12p, unpack_with_numpy


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """Before the first test, as it takes a second."""
    unpack_mono12p(np.zeros(2, np.uint8), np.zeros(1, np.uint16))


@given(arrays.arrays(np.uint16, st.integers(1, 50), elements=st.integers(0, 4095)))
def test_any_pixels_come_back_through_either_twin(pixels: np.ndarray) -> None:
    data = np.frombuffer(pack_mono12p(pixels), np.uint8)
    assert len(data) == packed_nbytes(len(pixels))
    for unpack in (unpack_mono12p, unpack_with_numpy):
        found = np.zeros_like(pixels)
        unpack(data, found)
        assert np.array_equal(found, pixels)


@given(
    st.integers(1, 50).flatmap(
        lambda n: st.binary(min_size=packed_nbytes(n), max_size=packed_nbytes(n)).map(lambda data: (n, data))
    )
)
def test_either_twin_makes_the_same_of_any_bytes(drawn: tuple[int, bytes]) -> None:
    count, data = drawn
    mine, twin = np.zeros(count, np.uint16), np.zeros(count, np.uint16)
    unpack_mono12p(np.frombuffer(data, np.uint8), mine)
    unpack_with_numpy(np.frombuffer(data, np.uint8), twin)
    assert np.array_equal(mine, twin)
    assert mine.max() < 4096


def test_the_bits_lie_where_the_convention_says() -> None:
    assert pack_mono12p(np.array([0xABC, 0x123], np.uint16)) == bytes([0xBC, 0x3A, 0x12])
    assert pack_mono12p(np.array([0xABC], np.uint16)) == bytes([0xBC, 0x0A])


@pytest.mark.parametrize("unpack", [unpack_mono12p, unpack_with_numpy])
@pytest.mark.parametrize("nbytes", [0, 2, 4])
def test_another_number_of_bytes_is_refused(unpack, nbytes: int) -> None:
    with pytest.raises(ValueError, match=f"{nbytes} bytes for 2 pixels"):
        unpack(np.zeros(nbytes, np.uint8), np.zeros(2, np.uint16))
