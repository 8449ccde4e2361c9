"""CBF files in memory: ours, fabio's, and damaged ones."""

from __future__ import annotations

import re
from pathlib import Path

import fabio
import numpy as np
import pytest
from fabio.cbfimage import CbfImage

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.cbf import LONGEST_TEXT, START_OF_PIXELS, make_cbf, shape_in, unpack_cbf

PIXELS = np.random.default_rng(3).poisson(40, (31, 47)).astype(np.int32)
PIXELS[3], PIXELS[:, 5] = -1, -2
FILE = make_cbf(PIXELS, "# Detector: PILATUS 300K\n# Exposure_time 0.0500000 s")


def unpacked(data: bytes, shape: tuple[int, ...] = PIXELS.shape) -> np.ndarray:
    into = np.zeros(int(np.prod(shape)), np.int32)
    unpack_cbf(np.frombuffer(data, np.uint8), shape, into)
    return into.reshape(shape)


def test_ours_comes_back() -> None:
    assert np.array_equal(unpacked(FILE), PIXELS)
    assert np.array_equal(unpacked(FILE, (1, *PIXELS.shape))[0], PIXELS)


def test_fabio_reads_ours_with_what_the_detector_says(tmp_path: Path) -> None:
    (tmp_path / "a.cbf").write_bytes(FILE)
    image = fabio.open(tmp_path / "a.cbf")
    assert np.array_equal(image.data, PIXELS)
    assert image.pilatus_headers["Detector"] == "PILATUS 300K"
    assert image.pilatus_headers["Exposure_time"] == pytest.approx(0.05)


def test_we_read_fabios(tmp_path: Path) -> None:
    CbfImage(data=PIXELS).save(str(tmp_path / "a.cbf"))
    assert np.array_equal(unpacked((tmp_path / "a.cbf").read_bytes()), PIXELS)


def test_the_bytes_behind_the_pixels_need_not_be_there() -> None:
    size = int(FILE.split(b"X-Binary-Size: ")[1].split(b"\r\n")[0])
    end = FILE.index(START_OF_PIXELS) + 4 + size
    assert np.array_equal(unpacked(FILE[:end]), PIXELS)
    with pytest.raises(WireError, match="X-Binary-Size"):
        unpacked(FILE[: end - 1])


def changed(old: bytes, new: bytes) -> bytes:
    assert FILE.count(old) == 1
    return FILE.replace(old, new)


def without_digest(data: bytes) -> bytes:
    return re.sub(rb"Content-MD5: [^\r]*\r\n", b"", data)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "0 bytes that begin with ''"),
        (b"###CBF: VERSION 1.5", "begin with '###CBF: VERSION 1.5'"),
        (bytes(LONGEST_TEXT) + FILE, "a text of up to 65536 bytes"),
        (changed(b"--CIF-BINARY-FORMAT-SECTION--\r\nContent", b"Content"), "binary section"),
        (changed(b"x-CBF_BYTE_OFFSET", b"x-CBF_PACKED"), "conversions 'x-CBF_PACKED'"),
        (changed(b"signed 32-bit integer", b"signed 16-bit integer"), "X-Binary-Element-Type 'signed 16-bit"),
        (changed(b"LITTLE_ENDIAN", b"BIG_ENDIAN"), "Byte-Order 'BIG_ENDIAN'"),
        (changed(b"Fastest-Dimension: 47", b"Fastest-Dimension: 31"), "Fastest-Dimension '31'.*Accepted: 47"),
        (changed(b"Second-Dimension: 31", b"Second-Dimension: 47"), "Second-Dimension '47'"),
        (changed(b"Number-of-Elements: 1457", b"Number-of-Elements: 1458"), "Number-of-Elements '1458'"),
        (changed(b"X-Binary-Number-of-Elements: 1457\r\n", b""), "Number-of-Elements not stated"),
        (changed(b"X-Binary-Size: ", b"X-Binary-Size: 99999"), "X-Binary-Size '99999"),
        (changed(b"X-Binary-Size: ", b"X-Binary-Size: -"), "X-Binary-Size '-"),
        (changed(b"X-Binary-Size: ", b"X-Binary-Size: 9999999999999999"), "X-Binary-Size '99"),
    ],
)
def test_what_is_not_the_file_of_that_frame_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(WireError, match=told):
        unpacked(data)


def test_pixels_that_do_not_end_where_their_bytes_do_are_refused() -> None:
    size = int(FILE.split(b"X-Binary-Size: ")[1].split(b"\r\n")[0])
    for stated, told in ((size - 1, "end before the last pixel"), (size + 1, f"in {size} of {size + 1} bytes")):
        with pytest.raises(WireError, match=told):
            unpacked(without_digest(changed(b"X-Binary-Size: %d" % size, b"X-Binary-Size: %d" % stated)))


def test_a_pixel_of_more_than_32_bits_is_refused() -> None:
    at = FILE.index(START_OF_PIXELS) + 4
    longest = b"\x80\x00\x80\x00\x00\x00\x80" + (1 << 40).to_bytes(8, "little")
    with pytest.raises(WireError, match="out of 32 bits"):
        unpacked(without_digest(FILE[:at] + longest + FILE[at + len(longest) :]))


def test_a_turned_bit_is_found_where_the_file_states_its_md5() -> None:
    at = FILE.index(START_OF_PIXELS) + 4
    damaged = FILE[:at] + bytes([FILE[at] ^ 1]) + FILE[at + 1 :]
    assert not np.array_equal(unpacked(without_digest(damaged)), PIXELS)
    with pytest.raises(WireError, match="MD5"):
        unpacked(damaged)


def test_the_shape_is_told_without_looking_at_the_pixels() -> None:
    data = make_cbf(np.zeros((3, 5), np.int32))
    assert shape_in(data) == (3, 5)
    assert shape_in(data[: data.index(START_OF_PIXELS) + 4]) == (3, 5)


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"Fastest-Dimension: 5", b"Fastest-Dimension: x"), (b"Second-Dimension: 3", b"Second-Dimension: 0")],
)
def test_a_text_that_tells_no_shape_is_refused(old: bytes, new: bytes) -> None:
    with pytest.raises(WireError, match="Dimension"):
        shape_in(make_cbf(np.zeros((3, 5), np.int32)).replace(old, new))
