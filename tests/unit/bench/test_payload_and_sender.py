from __future__ import annotations

import os

import numpy as np
import pytest

from maxdaq_tango.bench.payload import Payload, make_frames, shape_of, store_payload
from maxdaq_tango.bench.plan import Case
from maxdaq_tango.bench.sender import image_template
from maxdaq_tango.kernels.compression import decode_pixels
from maxdaq_tango.model import Encoding, FrameFormat, StreamFormat
from maxdaq_tango.wire import decoder_for


@pytest.mark.parametrize(
    ("size", "packing"),
    [(1_000, Encoding.NONE), *((n, p) for n in (8_000, 200_000, 700_000) for p in (Encoding.NONE, Encoding.BSLZ4))],
)
def test_frames_have_the_size_on_the_wire_and_are_all_different(size: int, packing: Encoding) -> None:
    shape, frames = make_frames(Case(wire_nbytes=size, packing=packing))
    assert np.mean([len(frame) for frame in frames]) == pytest.approx(size, rel=0.15)
    assert len(set(frames)) == len(frames) >= 3
    decode_pixels(FrameFormat(shape, "uint16", packing), [frames[0]])


def test_images_are_almost_square() -> None:
    rows, columns = shape_of(200_000)
    assert rows * columns * 2 == pytest.approx(200_000, rel=0.01)
    assert abs(rows - columns) < 10


def test_shared_frames_are_the_frames_that_were_made() -> None:
    case = Case(wire_nbytes=8_000, packing=Encoding.BSLZ4)
    description, handle = store_payload(case)
    try:
        payload = Payload(description, handle)
        assert [bytes(frame) for frame in payload.frames] == make_frames(case)[1]
    finally:
        os.close(handle)


@pytest.mark.parametrize("columns", [0, 40])
def test_what_is_sent_is_what_the_receiver_understands(columns: int) -> None:
    case = Case(wire_nbytes=8_000)
    description, handle = store_payload(case)
    try:
        blob = Payload(description, handle).frames[2]
        event = decoder_for(StreamFormat.STINS).decode([image_template(description, columns) % (12, 7), bytes(blob)])
        assert (event.msg_number, event.frame_number) == (12, 7)
        assert event.format == FrameFormat(description.shape, "uint16", Encoding.NONE)
        assert len(event.extras) == columns
    finally:
        os.close(handle)
