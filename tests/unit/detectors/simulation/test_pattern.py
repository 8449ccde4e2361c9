"""The pattern is what every file of a simulated run is checked against, so it is checked against its own definition."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxdaq_tango.detectors.simulation.pattern import (
    DEAD,
    GAP,
    FramePattern,
    expected_frame,
    frame_number_in,
    mix,
    pixel_mask,
)
from maxdaq_tango.detectors.simulation.pattern_reference import reference_pixel
from maxdaq_tango.errors import ConfigurationError

DTYPES = ("uint8", "uint16", "uint32", "int32", "float32")
CHANNELS = ("threshold_1", "threshold_2", "threshold_4", "difference")


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**63),
    number=st.one_of(st.integers(0, 100), st.integers(0, 2**48)),
    rows=st.integers(1, 60),
    columns=st.integers(1, 60),
    dtype=st.sampled_from(DTYPES),
    channel=st.sampled_from(CHANNELS),
)
def test_the_fast_frames_equal_the_definition_pixel_by_pixel(seed, number, rows, columns, dtype, channel):
    pattern = FramePattern(seed, (rows, columns), dtype, channel=channel)
    frame = pattern.frame(number)
    ceiling = np.iinfo(dtype).max - 1 if dtype != "float32" else 1 << 24
    expected = np.array(
        [
            [
                pattern.masked_value
                if pattern.mask[row, column]
                else reference_pixel(seed, number, (rows, columns), row, column, ceiling=ceiling, channel=channel)
                for column in range(columns)
            ]
            for row in range(rows)
        ],
        dtype=dtype,
    )
    assert frame.dtype == dtype
    np.testing.assert_array_equal(frame, expected)


@pytest.mark.parametrize(("row", "column"), [(0, 20), (255, 255), (300, 1), (511, 511), (130, 402), (63, 64)])
def test_large_frames_use_the_same_definition(row, column):
    frame = expected_frame(7, 12345, (512, 512), "uint32")
    reference = reference_pixel(7, 12345, (512, 512), row, column, ceiling=2**32 - 2)
    assert frame[row, column] in (reference, 2**32 - 1)


def test_frames_are_the_same_on_every_machine_and_in_every_release():
    frames = b"".join(expected_frame(1, n, (96, 80), "uint16").astype("<u2").tobytes() for n in (0, 1, 17, 4_000_000))
    assert hashlib.sha256(frames).hexdigest() == GOLDEN_SHA256
    assert mix(0) == 0xE220A8397B1DCDAF  # first output of SplitMix64 seeded with 0, as published


GOLDEN_SHA256 = "268fc64e52f369b8cc3590ef44afbe60906aa592af49b1641a10a77d9b48bb58"


def test_every_frame_says_its_number_and_differs_from_the_others():
    pattern = FramePattern(3, (512, 512), "uint8")
    frames = [pattern.frame(n) for n in range(50)]
    assert [frame_number_in(frame) for frame in frames] == list(range(50))
    assert len({frame.tobytes() for frame in frames}) == 50
    # not only the digits: spots move
    assert len({frame[1:].tobytes() for frame in frames}) == 50


def test_another_seed_gives_another_detector():
    assert (expected_frame(1, 0, (64, 64)) != expected_frame(2, 0, (64, 64))).mean() > 0.01


def test_a_frame_is_sparse_and_not_blank():
    frame = FramePattern(1, (512, 512), "uint16").frame(9)
    counted = frame[frame < 65535]
    assert 0.05 < (counted > 0).mean() < 0.6
    assert counted.max() > 100


def test_gaps_and_dead_pixels_read_the_masked_value():
    for dtype, value in (("uint8", 255), ("uint16", 65535), ("uint32", 2**32 - 1), ("int32", -1)):
        pattern = FramePattern(1, (1065, 1030), dtype)
        assert set(np.unique(pattern.frame(3)[pattern.mask != 0])) == {value}
        assert (pattern.frame(3)[pattern.mask == 0] != value).all()
    assert (pattern.mask[514:551] == GAP).all()
    assert (pattern.mask == DEAD).sum() > 10
    assert FramePattern(1, (64, 64), masked_value=0).frame(1)[32, 3] == 0


def test_a_mask_of_the_user_replaces_the_own_one():
    mask = np.zeros((64, 64), dtype=np.uint32)
    mask[10, 20] = 8
    frame = FramePattern(1, (64, 64), "uint16", mask=mask).frame(0)
    assert frame[10, 20] == 65535
    assert (frame == 65535).sum() == 1


def test_eight_bits_never_wrap_round():
    low, high = (FramePattern(5, (512, 512), dtype).frame(40) for dtype in ("uint8", "uint32"))
    assert high[high < 2**32 - 1].max() > 254  # or this test proves nothing
    open_ = low != 255
    np.testing.assert_array_equal(low[open_], np.minimum(high[open_], 254))


@pytest.mark.parametrize("bad", [{"dtype": "complex64"}, {"channel": "threshold_9"}, {"mask": np.zeros((2, 2))}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ConfigurationError, match="Accepted"):
        FramePattern(1, (64, 64), **bad)


def test_the_mask_follows_module_geometry():
    mask = pixel_mask(1, (2162, 2068))
    assert (mask[514:551] == GAP).all()
    assert (mask[:, 1030:1040] == GAP).all()
    assert not (mask[:500, :1030] == GAP).any()
