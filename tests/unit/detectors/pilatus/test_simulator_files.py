"""Image files of the simulated camserver, read by fabio, which others wrote, and by our own decoder."""

from __future__ import annotations

import fabio
import numpy as np
import pytest

from maxdaq_tango.detectors.simulation.pattern import DEAD, FramePattern
from maxdaq_tango.kernels.cbf import unpack_cbf

ROWS, COLUMNS = 40, 56


def expose(bench, name: str, *lines: str):
    for line in ("ni 3", "expt 0.1", "expp 0.2", "gapfill -1", *lines):
        assert " OK" in bench.ask(line), line
    bench.send(f"expo {name}\0".encode())
    bench.advance(2.0)
    return bench.files


def with_fabio(tmp_path, placing):
    path = tmp_path / placing.path.rpartition("/")[2]
    path.write_bytes(placing.data)
    return fabio.open(str(path))


def pixels_of(data: bytes, shape: tuple[int, int]) -> np.ndarray:
    pixels = np.empty(shape[0] * shape[1], np.int32)
    unpack_cbf(np.frombuffer(data, np.uint8), shape, pixels)
    return pixels.reshape(shape)


@pytest.mark.parametrize("shape", [(ROWS, COLUMNS), (195, 487)])
@pytest.mark.parametrize("extension", ["cbf", "tif"])
def test_fabio_reads_the_pixels_of_the_pattern(make_bench, tmp_path, shape, extension):
    bench = make_bench(rows=shape[0], columns=shape[1], seed=5)
    pattern = FramePattern(5, shape, "int32")
    for number, placing in enumerate(expose(bench, f"a.{extension}")):
        image = with_fabio(tmp_path, placing)
        assert image.data.dtype == np.int32
        np.testing.assert_array_equal(image.data, pattern.frame(number))


@pytest.mark.parametrize("shape", [(ROWS, COLUMNS), (195, 487), (1, 1)])
def test_our_decoder_and_fabio_read_the_same(make_bench, tmp_path, shape):
    for placing in expose(make_bench(rows=shape[0], columns=shape[1]), "a.cbf"):
        np.testing.assert_array_equal(pixels_of(placing.data, shape), with_fabio(tmp_path, placing).data)


def test_fabio_finds_the_words_of_the_mini_header(bench, tmp_path):
    bench.send(b"setthr energy 12000 6300\0")
    bench.advance(31.0)
    lines = "mxsettings Wavelength 1.0332 Beam_xy 243.5 309.1 Start_angle 10.5", "headerstring lysozyme"
    image = with_fabio(tmp_path, expose(bench, "a.cbf", *lines)[0])
    assert image.header["_array_data.header_convention"] == "PILATUS_1.2"
    told = {
        "Detector": "PILATUS3 56x40 simulated S/N 30-0001",
        "sensor": ("Silicon", 450e-6),
        "Pixel_size": (172e-6, 172e-6),
        "Exposure_time": 0.1,
        "Exposure_period": 0.2,
        "Count_cutoff": 1048575,
        "Threshold_setting": 6300.0,
        "Gain_setting": ("mid", "gain"),
        "Wavelength": 1.0332,
        "Beam_xy": (243.5, 309.1),
        "Start_angle": 10.5,
    }
    assert {name: image.pilatus_headers[name] for name in told} == told
    assert b"# Comment: lysozyme" in bench.files[0].data
    assert b"# 2026-01-02T03:04:" in bench.files[0].data


def test_gaps_are_filled_as_asked_and_bad_pixels_flagged_once_there_is_a_map(make_bench, tmp_path):
    mask = FramePattern(1, (195, 487)).mask
    assert (mask == DEAD).any()
    bench = make_bench(rows=195, columns=487)
    filled = with_fabio(tmp_path, expose(bench, "a.cbf", "gapfill 0")[0]).data
    assert (filled[mask != 0] == 0).all()
    flagged = with_fabio(tmp_path, expose(bench, "b.cbf", "ldbadpixmap badpix.tif")[-1]).data
    assert (flagged[mask == DEAD] == -2).all()
    assert (flagged[mask == 1] == -1).all()


def test_raw_files_are_the_pixels_alone(bench):
    data = expose(bench, "a.raw")[0].data
    np.testing.assert_array_equal(
        np.frombuffer(data, "<i4").reshape(ROWS, COLUMNS), FramePattern(1, (ROWS, COLUMNS), "int32").frame(0)
    )
