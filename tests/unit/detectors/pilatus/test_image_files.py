"""Files from outside become frames or are refused, whatever is in them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxdaq_tango.detectors.pilatus.image_files import EXTENSIONS, exposure_in, frame_of
from maxdaq_tango.detectors.pilatus.simulator_files import image_file
from maxdaq_tango.errors import WireError
from maxdaq_tango.model import Frame

PIXELS = np.arange(35, dtype=np.int32).reshape(5, 7)
FILES = {extension: image_file(PIXELS, extension, "# Detector: test") for extension in (".cbf", ".tif")}


def read(data: bytes, extension: str, known: tuple[int, ...] = ()) -> Frame | None:
    try:
        frame = frame_of(data, extension, 3, known)
    except WireError:
        return None
    assert frame.frame_number == 3
    assert len(frame.blobs) == 1
    assert len(frame.blobs[0]) <= len(data)
    assert all(0 < size <= 1 << 20 for size in frame.format.shape)
    return frame


@settings(deadline=None)
@given(st.binary(max_size=400), st.sampled_from(EXTENSIONS))
def test_anything_is_a_frame_or_refused(data, extension):
    read(data, extension)
    assert read(data, extension, (5, 7)) is not None  # its shape is known from others


@settings(deadline=None)
@given(st.sampled_from([".cbf", ".tif"]), st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=6))
def test_a_file_with_other_bytes_in_its_text_is_a_frame_or_refused(extension, changes):
    data = bytearray(FILES[extension])
    for at, byte in changes:
        data[at % len(data)] = byte
    read(bytes(data), extension)


@pytest.mark.parametrize("extension", [".cbf", ".tif"])
def test_every_cut_of_a_file_is_a_frame_or_refused(extension):
    data = FILES[extension]
    assert read(data, extension).format.shape == (5, 7)
    for length in range(0, len(data), 7):
        read(data[:length], extension)


@pytest.mark.parametrize("extension", [".cbf", ".tif"])
def test_the_exposure_is_the_one_that_camserver_wrote_into_the_file(extension):
    data = image_file(PIXELS, extension, "# Detector: test\n# Exposure_time 0.0970000 s\n# Exposure_period 0.1 s")
    assert exposure_in(data) == 0.097
    assert frame_of(data, extension, 3, (), exposure_in(data)).exposure_time_s == 0.097


@pytest.mark.parametrize(
    "text", ["", "# Exposure_time", "# Exposure_time e.-+ s", "# Exposure_time 1.2.3 s", "# Exposure_time 1e999 s"]
)
def test_a_file_that_tells_no_exposure_has_none(text):
    assert exposure_in(image_file(PIXELS, ".cbf", f"# Detector: test\n{text}")) is None


@settings(deadline=None)
@given(st.binary(max_size=5000))
def test_anything_has_an_exposure_or_none(data):
    found = exposure_in(b"# Exposure_time " + data)
    assert found is None or isinstance(found, float)
