"""Packings that no file holds: CBF files of Pilatus, Mono12p and Mono12 of cameras. Every pixel read back."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import pytest

from maxdaq_tango.files import check_file
from maxdaq_tango.kernels.cbf import START_OF_PIXELS, make_cbf
from maxdaq_tango.kernels.mono12p import pack_mono12, pack_mono12p
from maxdaq_tango.model import Compression, Encoding, Frame, FrameFormat, Verdict
from maxdaq_tango.wire import stins
from receiving import Harness

SHAPE = (30, 41)
COUNT = 7
KINDS = [Encoding.CBF, Encoding.MONO12P, Encoding.MONO12]
PACK = {Encoding.MONO12P: pack_mono12p, Encoding.MONO12: pack_mono12}


def picture(number: int, encoding: Encoding) -> np.ndarray[Any, Any]:
    counts = np.random.default_rng(number).poisson(500, SHAPE)
    if encoding in PACK:
        return counts.astype("u2")
    counts[4], counts[:, 9] = -1, -2
    return counts.astype("i4")


def image(number: int, encoding: Encoding) -> Frame:
    pixels = picture(number, encoding)
    blob = make_cbf(pixels, f"# N_image {number}") if encoding is Encoding.CBF else PACK[encoding](pixels)
    return Frame(series="", frame_number=number, format=FrameFormat(SHAPE, str(pixels.dtype), encoding), blobs=(blob,))


def stored(path: str) -> np.ndarray[Any, Any]:
    with h5py.File(path) as file:
        return np.asarray(file["entry/instrument/eiger/data"][...])


@pytest.mark.parametrize("engines", [1, 2])
@pytest.mark.parametrize("compression", [Compression.NONE, Compression.BSLZ4])
@pytest.mark.parametrize("encoding", KINDS)
def test_every_pixel_is_in_the_file(
    harness: Harness, encoding: Encoding, compression: Compression, engines: int
) -> None:
    harness.prepare(compression=compression, engines=engines)
    sender = harness.sender
    sender.header()
    for number in range(COUNT):
        sender.send(stins.encode_image(sender._next(), image(number, encoding)))
    sender.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.reasons) == (Verdict.COMPLETE, ())
    assert receipt.encoding == compression.value
    assert np.array_equal(stored(receipt.file), [picture(number, encoding) for number in range(COUNT)])
    assert check_file(receipt.file).problems == []


def test_the_stream_of_a_sender_that_numbers_no_message(harness: Harness) -> None:
    """MAX IV's pilatus-streamer of 2020: whole CBF files, and no msg_number anywhere."""
    harness.prepare()
    harness.sender.send(stins.encode_header(None, "scan1.cbf", None))
    for number in range(COUNT):
        harness.sender.send(stins.encode_image(None, image(number, Encoding.CBF)))
    harness.sender.send(stins.encode_end(None))
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.COMPLETE
    assert np.array_equal(stored(receipt.file), [picture(number, Encoding.CBF) for number in range(COUNT)])


@pytest.mark.lesson(42)
@pytest.mark.parametrize("encoding", KINDS)
def test_a_frame_that_cannot_be_unpacked_is_corrupt_under_its_number_and_the_others_are_kept(
    harness: Harness, encoding: Encoding
) -> None:
    harness.prepare()
    sender = harness.sender
    sender.header()
    for number in range(COUNT):
        frame = image(number, encoding)
        if number == 3:
            blob = bytes(frame.blobs[0])
            middle = blob.index(START_OF_PIXELS) + 600 if encoding is Encoding.CBF else 0
            damaged = blob[:middle] + blob[middle + 1 :]
            frame = Frame(series="", frame_number=3, format=frame.format, blobs=(damaged,))
        sender.send(stins.encode_image(sender._next(), frame))
    sender.end()
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.INCOMPLETE
    assert (receipt.frames_written, receipt.frames_corrupt) == (COUNT - 1, 1)
    pixels = stored(receipt.file)
    for number in set(range(COUNT)) - {3}:
        assert np.array_equal(pixels[number], picture(number, encoding))
    fill = -1 if encoding is Encoding.CBF else 65535
    assert (pixels[3] == fill).all()
