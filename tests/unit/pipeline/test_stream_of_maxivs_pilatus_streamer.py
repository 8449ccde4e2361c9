"""The stream of maxiv-science/pilatus-streamer (2020, C), byte for byte as it writes it, through the real receiver.

It numbers no message. Its header names the file that the exposure command named, its images are whole files, and its
end may come before all images have.
"""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest

from maxdaq_tango.detectors.pilatus.simulator_files import image_file
from maxdaq_tango.kernels.cbf import make_cbf
from maxdaq_tango.model import Verdict
from receiving import Harness

SHAPE = (30, 41)


def picture(number: int) -> np.ndarray[Any, Any]:
    counts = np.random.default_rng(number).poisson(500, SHAPE).astype("i4")
    counts[4], counts[:, 9] = -1, -2
    return counts


def header(harness: Harness, filename: str = "/data/scan7.cbf") -> None:
    harness.sender.send([b'{"htype":"header","filename":"%s"}' % filename.encode()])


def image(harness: Harness, number: int, compression: str = "cbf", blob: bytes | None = None) -> None:
    part = b'{"htype":"image","frame":%d,"shape":[%d,%d],"type":"int32","compression":"%s"}'
    pixels = make_cbf(picture(number)) if compression else image_file(picture(number), ".tif", "# Detector: test")
    harness.sender.send([part % (number, *SHAPE, compression.encode()), pixels if blob is None else blob])


def end(harness: Harness) -> None:
    harness.sender.send([b'{"htype":"series_end"}'])


def stored(path: str) -> Any:
    with h5py.File(path) as file:
        return np.asarray(file["entry/instrument/eiger/data"][...])


@pytest.mark.parametrize("compression", ["cbf", ""])
def test_every_pixel_of_a_series_is_in_the_file(harness: Harness, compression: str) -> None:
    harness.prepare(expected_frames=6)
    header(harness)
    for number in range(6):
        image(harness, number, compression)
    end(harness)
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.reasons) == (Verdict.COMPLETE, ())
    np.testing.assert_array_equal(stored(receipt.file), [picture(number) for number in range(6)])


def test_an_end_that_comes_before_the_last_images_costs_none_of_them(harness: Harness) -> None:
    harness.prepare(expected_frames=6)
    header(harness)
    for number in range(4):
        image(harness, number)
    end(harness)
    for number in (4, 5):
        image(harness, number)
    assert harness.receipt().verdict is Verdict.COMPLETE


def test_images_that_never_come_are_missing_under_their_numbers(harness: Harness) -> None:
    harness.prepare(expected_frames=6, grace_s=0.2)
    header(harness)
    for number in (0, 1, 3, 5):
        image(harness, number)
    end(harness)
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.INCOMPLETE
    assert receipt.frames_missing_ranges == ((2, 2), (4, 4))
    np.testing.assert_array_equal(stored(receipt.file)[5], picture(5))


def test_a_file_that_was_read_before_it_was_whole_is_corrupt_under_its_number(harness: Harness) -> None:
    harness.prepare(expected_frames=3)
    header(harness)
    image(harness, 0)
    image(harness, 1, blob=make_cbf(picture(1))[:1000])
    image(harness, 2)
    end(harness)
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.INCOMPLETE
    assert receipt.frames_corrupt_numbers == (1,)
    np.testing.assert_array_equal(stored(receipt.file)[2], picture(2))


@pytest.mark.parametrize("blob", [picture(1).tobytes() + bytes(4096), bytes(4096) + picture(1).tobytes()])
def test_4096_bytes_too_many_that_are_no_tiff_header_are_corrupt(harness: Harness, blob: bytes) -> None:
    harness.prepare(expected_frames=2)
    header(harness)
    image(harness, 0, "")
    image(harness, 1, "", blob)
    end(harness)
    receipt = harness.receipt()
    assert receipt.frames_corrupt_numbers == (1,)
    np.testing.assert_array_equal(stored(receipt.file)[0], picture(0))


def test_the_pixels_alone_are_taken_too(harness: Harness) -> None:
    harness.prepare(expected_frames=1)
    header(harness)
    image(harness, 0, "", picture(0).tobytes())
    end(harness)
    assert harness.receipt().verdict is Verdict.COMPLETE
