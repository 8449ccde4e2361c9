"""Both packings of 12-bit pixels, through both twins."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from maxdaq_tango.kernels.mono12p import (
    pack_mono12,
    pack_mono12p,
    packed_nbytes,
    unpack_mono12,
    unpack_mono12_with_numpy,
    unpack_mono12p,
    unpack_with_numpy,
)

Unpack = Callable[[np.ndarray, np.ndarray], None]
PACKINGS = [
    pytest.param(pack_mono12p, unpack_mono12p, unpack_with_numpy, id="mono12p"),
    pytest.param(pack_mono12, unpack_mono12, unpack_mono12_with_numpy, id="mono12"),
]
ALL = [unpack_mono12p, unpack_with_numpy, unpack_mono12, unpack_mono12_with_numpy]


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """Before the first test, as it takes a second."""
    for unpack in (unpack_mono12p, unpack_mono12):
        unpack(np.zeros(2, np.uint8), np.zeros(1, np.uint16))


@pytest.mark.parametrize(("pack", "unpack", "twin"), PACKINGS)
@given(pixels=arrays.arrays(np.uint16, st.integers(1, 50), elements=st.integers(0, 4095)))
def test_any_pixels_come_back_through_either_twin(
    pack: Callable[[np.ndarray], bytes], unpack: Unpack, twin: Unpack, pixels: np.ndarray
) -> None:
    data = np.frombuffer(pack(pixels), np.uint8)
    assert len(data) == packed_nbytes(len(pixels))
    for way in (unpack, twin):
        found = np.zeros_like(pixels)
        way(data, found)
        assert np.array_equal(found, pixels)


@pytest.mark.parametrize(("pack", "unpack", "twin"), PACKINGS)
@given(
    drawn=st.integers(1, 50).flatmap(
        lambda n: st.binary(min_size=packed_nbytes(n), max_size=packed_nbytes(n)).map(lambda data: (n, data))
    )
)
def test_either_twin_makes_the_same_of_any_bytes(
    pack: object, unpack: Unpack, twin: Unpack, drawn: tuple[int, bytes]
) -> None:
    count, data = drawn
    mine, other = np.zeros(count, np.uint16), np.zeros(count, np.uint16)
    unpack(np.frombuffer(data, np.uint8), mine)
    twin(np.frombuffer(data, np.uint8), other)
    assert np.array_equal(mine, other)
    assert mine.max() < 4096


@pytest.mark.parametrize(
    ("pack", "nbytes"), [(pack_mono12p, [0xBC, 0x3A, 0x12]), (pack_mono12, [0xAB, 0x3C, 0x12])], ids=["p", "plain"]
)
def test_the_bits_lie_where_the_convention_says(pack: Callable[[np.ndarray], bytes], nbytes: list[int]) -> None:
    assert pack(np.array([0xABC, 0x123], np.uint16)) == bytes(nbytes)
    assert pack(np.array([0xABC], np.uint16)) == bytes([nbytes[0], nbytes[1] & 15])


@pytest.mark.parametrize("unpack", ALL)
@pytest.mark.parametrize("nbytes", [0, 2, 4])
def test_another_number_of_bytes_is_refused(unpack: Unpack, nbytes: int) -> None:
    with pytest.raises(ValueError, match=f"{nbytes} bytes for 2 pixels"):
        unpack(np.zeros(nbytes, np.uint8), np.zeros(2, np.uint16))


@pytest.mark.parametrize("unpack", [unpack_mono12p, unpack_mono12])
def test_no_other_thread_is_held_up(unpack: Unpack) -> None:
    """Counted and not timed: while one call runs, another thread gets on."""
    data, pixels = np.zeros(packed_nbytes(1 << 24), np.uint8), np.zeros(1 << 24, np.uint16)
    running, seen = threading.Event(), []

    def work() -> None:
        running.set()
        for _ in range(5):
            unpack(data, pixels)
        seen.append("done")

    thread = threading.Thread(target=work, name="unpacking")
    thread.start()
    assert running.wait(10)
    steps = 0
    while not seen:
        steps += 1
    thread.join()
    assert steps > 1000
