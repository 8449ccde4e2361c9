"""Counts in a region of an image."""

from __future__ import annotations

import numpy as np
import pytest

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.integrations.sardana.regions import counts, region

IMAGE = np.arange(12, dtype=np.uint16).reshape(3, 4)


@pytest.mark.parametrize(
    ("text", "total"), [("", 66), ("0:3, 0:4", 66), ("1:2,1:3", 11), (" 1: , :2 ", 4 + 5 + 8 + 9), (":1,3:", 3)]
)
def test_a_region_is_rows_and_columns(text, total):
    assert counts(IMAGE, region(text)) == total


@pytest.mark.parametrize(
    ("dtype", "hole"), [("uint8", 255), ("uint32", 2**32 - 1), ("int32", -1), ("int32", -2), ("float32", np.nan)]
)
def test_pixels_that_were_not_measured_do_not_count(dtype, hole):
    image = np.array([[1, 2], [3, 4]], dtype)
    image[0, 1] = hole
    assert counts(image, region("")) == 8


def test_no_sum_overflows():
    assert counts(np.full((4, 4), 2**32 - 2, np.uint32), region("")) == 16 * (2**32 - 2)


@pytest.mark.parametrize(
    ("text", "told"),
    [("1:2", "no such region. Accepted: first row"), ("a:b,c:d", "no such region"), ("2:2,0:4", "it has no pixels")],
)
def test_what_is_no_region_is_refused(text, told):
    with pytest.raises(ConfigurationError, match=told):
        region(text)


@pytest.mark.parametrize(("text", "told"), [("0:4,0:4", "the image has 3 rows"), ("0:3,4:", "the image has 4 columns")])
def test_a_region_that_is_not_in_the_image_is_refused(text, told):
    with pytest.raises(ConfigurationError, match=told):
        counts(IMAGE, region(text))
