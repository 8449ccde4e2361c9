"""Gain bits to energy and photons, and dark sums: known values, and equality with the numpy twins bit by bit."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from maxdaq_tango.kernels.jungfrau import (
    BAD_COUNT,
    SATURATED_COUNT,
    accumulate,
    accumulate_with_numpy,
    convert,
    convert_with_numpy,
)

BOTH = [convert, convert_with_numpy]
PEDESTAL = np.array([[3000.0], [15000.0], [15500.0]], np.float32)
SCALE = np.array([[1 / 40], [-1 / 1.5], [-1 / 0.1]], np.float32)


def one(how, value: int, *, dtype: str = "float32", scale: np.ndarray = SCALE) -> float:
    out = np.zeros(1, dtype)
    how(np.array([value], np.uint16), PEDESTAL, scale, out)
    return out[0]


@pytest.mark.parametrize("how", BOTH)
@pytest.mark.parametrize(
    ("bits", "adc", "energy"), [(0, 3000, 0.0), (0, 3400, 10.0), (0, 2960, -1.0), (1, 14400, 400.0), (3, 15000, 5000.0)]
)
def test_each_gain_has_a_pedestal_and_a_slope_of_its_own(how, bits: int, adc: int, energy: float) -> None:
    assert one(how, bits << 14 | adc) == pytest.approx(energy, rel=1e-6)


@pytest.mark.parametrize("how", BOTH)
@pytest.mark.parametrize(("value", "as_float", "as_count"), [
    (0xFFFF, np.nan, BAD_COUNT), (0x8000 | 3000, np.nan, BAD_COUNT), (0xC000, np.inf, SATURATED_COUNT),
])  # fmt: skip
def test_what_is_no_measurement_is_no_number(how, value: int, as_float: float, as_count: int) -> None:
    np.testing.assert_equal(one(how, value), np.float32(as_float))
    assert one(how, value, dtype="int32") == as_count


@pytest.mark.parametrize("how", BOTH)
@pytest.mark.parametrize("value", [0x0BB8, 0x7000, 0xC000, 0xC001, 0xFFFF])
def test_a_bad_pixel_is_bad_in_every_gain_even_saturated(how, value: int) -> None:
    bad = np.full((3, 1), np.nan, np.float32)
    assert np.isnan(one(how, value, scale=bad))
    assert one(how, value, dtype="int32", scale=bad) == BAD_COUNT


@pytest.mark.parametrize("how", BOTH)
@pytest.mark.parametrize(("photons", "counted"), [(0.49, 0), (0.5, 0), (1.5, 2), (-0.6, -1), (2.5, 2)])
def test_photons_are_rounded_half_to_even(how, photons: float, counted: int) -> None:
    scale = np.full((3, 1), photons / 100, np.float32)
    scale[0, 0] = np.float32(photons) / np.float32(128)  # a power of two: the product is exact
    assert one(how, 3128, dtype="int32", scale=scale) == counted


@pytest.mark.parametrize("how", BOTH)
def test_counts_beyond_the_type_end_at_its_limits(how) -> None:
    for sign, limit in ((1, SATURATED_COUNT), (-1, BAD_COUNT + 1)):
        assert one(how, 3400, dtype="int32", scale=np.full((3, 1), sign * 1e30, np.float32)) == limit


@pytest.mark.parametrize("how", BOTH)
def test_arrays_that_do_not_fit_are_refused(how) -> None:
    raw, out = np.zeros(4, np.uint16), np.zeros(4, np.float32)
    planes = np.zeros((3, 4), np.float32)
    for wrong in (
        (raw, planes[:, :3], planes, out),
        (raw, planes, planes.astype(np.float64), out),
        (raw, planes, planes, out[:3]),
        (raw, planes, planes, out.astype(np.int64)),
        (raw.astype(np.uint32), planes, planes, out),
        (raw.reshape(2, 2), planes, planes, out.reshape(2, 2)),
    ):
        with pytest.raises(ValueError, match="not"):
            how(*wrong)


SIZES = st.integers(1, 200)


@given(st.data(), SIZES, st.sampled_from(["float32", "int32"]))
@settings(max_examples=200, deadline=None)
def test_compiled_and_numpy_are_the_same_bit_by_bit(data, size: int, dtype: str) -> None:
    raw = data.draw(arrays.arrays(np.uint16, size))
    raw[: size // 8] = data.draw(st.sampled_from([0xC000, 0xFFFF, 0x8000, 0x4000]))
    planes = [
        data.draw(arrays.arrays(np.float32, (3, size), elements=st.floats(width=32, allow_nan=True))) for _ in range(2)
    ]
    results = [np.zeros(size, dtype) for _ in BOTH]
    for how, out in zip(BOTH, results, strict=True):
        how(raw, *planes, out)
    if dtype == "float32":
        np.testing.assert_array_equal(np.isnan(results[0]), np.isnan(results[1]))
        results = [np.where(np.isnan(out), np.float32(0), out) for out in results]
    np.testing.assert_array_equal(results[0].view(np.uint32), results[1].view(np.uint32))


@given(st.data(), SIZES, st.integers(0, 2))
@settings(max_examples=100, deadline=None)
def test_dark_sums_are_the_same(data, size: int, plane: int) -> None:
    frames = data.draw(st.lists(arrays.arrays(np.uint16, size), min_size=1, max_size=3))
    sums = [[np.zeros(size, np.int64) for _ in range(3)] for _ in range(2)]
    for raw in frames:
        raw[: size // 8] = data.draw(st.sampled_from([0xC000, 0xC001, 0xFFFF, 0x4000, 0]))
        left = [how(raw, plane, *one) for how, one in zip((accumulate, accumulate_with_numpy), sums, strict=True)]
        assert left[0] == left[1]
    np.testing.assert_array_equal(sums[0], sums[1])


def test_a_dark_mean_knows_only_pixels_of_its_gain() -> None:
    count, total, squares = (np.zeros(4, np.int64) for _ in range(3))
    for adc in (2990, 3010):
        raw = np.array([adc, 0x4000 | adc, 0xC000 | adc, 0xFFFF], np.uint16)
        assert accumulate(raw, 0, count, total, squares) == 3
    assert (count.tolist(), total.tolist()) == ([2, 0, 0, 0], [6000, 0, 0, 0])
    assert squares[0] == 2990**2 + 3010**2
    assert accumulate(np.full(4, 0xFFFF, np.uint16), 2, count, total, squares) == 4


@pytest.mark.parametrize("how", [accumulate, accumulate_with_numpy])
def test_a_saturated_pixel_is_no_dark_value(how) -> None:
    count, total, squares = (np.zeros(2, np.int64) for _ in range(3))
    assert how(np.array([0xC000, 0xC000 | 15000], np.uint16), 2, count, total, squares) == 1
    assert how(np.array([0xC000, 0xC000], np.uint16), 2, count, total, squares) == 2
    assert (count.tolist(), total.tolist(), squares.tolist()) == ([0, 1], [0, 15000], [0, 15000**2])


def test_many_threads_may_convert_at_once() -> None:
    rng = np.random.default_rng(5)
    raws = rng.integers(0, 1 << 16, (6, 4096), np.uint16)
    pedestal = rng.normal(3000, 10, (3, 4096)).astype(np.float32)
    scale = rng.normal(0.02, 0.001, (3, 4096)).astype(np.float32)
    results = np.zeros((6, 4096), np.float32)
    threads = [threading.Thread(target=convert, args=(raws[n], pedestal, scale, results[n])) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for raw, result in zip(raws, results, strict=True):
        wanted = np.zeros(4096, np.float32)
        convert_with_numpy(raw, pedestal, scale, wanted)
        np.testing.assert_array_equal(result, wanted)


def test_pixels_at_an_odd_address_are_taken_as_well() -> None:
    raw = np.frombuffer(b"\0" + np.array([3400, 3000], np.uint16).tobytes(), np.uint16, offset=1)
    planes = [np.repeat(plane, 2, axis=1) for plane in (PEDESTAL, SCALE)]
    for how in BOTH:
        out = np.zeros(2, np.float32)
        how(raw, *planes, out)
        np.testing.assert_allclose(out, [10, 0])
