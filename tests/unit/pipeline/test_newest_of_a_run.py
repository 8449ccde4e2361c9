"""Which frames of a run are there to be shown; and that a run does not care whether anybody looks."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from maxdaq_tango.kernels.compression import compress_bslz4
from maxdaq_tango.model import (
    Compression,
    Encoding,
    FileNaming,
    FrameFormat,
    Orientation,
    Preview,
    PreviewSettings,
    StreamFormat,
    Verdict,
)
from maxdaq_tango.pipeline.newest import NewestFrame, Taken
from maxdaq_tango.pipeline.sampler import Sampler
from maxdaq_tango.wire import dectris_v1
from receiving import SHAPE, WAIT_S, Harness, pixels


def send_v1_images(harness: Harness) -> None:
    format = FrameFormat(SHAPE, "uint16", Encoding.NONE)
    for number in range(4):
        blob, times = pixels(number).tobytes(), {"start_ns": 0, "stop_ns": 0, "real_ns": 0}
        harness.sender.send(dectris_v1.encode_image(7, number, format, blob, **times))
    harness.sender.send(dectris_v1.encode_end(7))


def newest_of(harness: Harness) -> NewestFrame:
    return harness.receiver._newest


def taken(harness: Harness) -> Taken:
    found = newest_of(harness).take()
    assert found is not None
    return found


def shown_pixels(found: Taken) -> np.ndarray[Any, Any]:
    (blob,) = found.frame.blobs
    return np.frombuffer(blob, "uint16").reshape(found.frame.format.shape)


@pytest.mark.parametrize("compression", [Compression.NONE, Compression.BSLZ4])
@pytest.mark.parametrize("destination", ["a.h5", ""])
@pytest.mark.lesson(22)
def test_a_run_that_nobody_looks_at_is_as_any_other_and_one_frame_waits(
    harness: Harness, compression: Compression, destination: str
) -> None:
    where = str(harness.folder / destination) if destination else ""
    harness.prepare(compression=compression, destination=where)
    harness.sender.series(200)
    assert harness.receipt().verdict is Verdict.COMPLETE
    found = taken(harness)
    assert (found.frame.frame_number, found.run_number) == (199, 1)
    np.testing.assert_array_equal(shown_pixels(found), pixels(199))  # as it came, not as it is packed
    assert newest_of(harness).take() is None


@pytest.mark.lesson(22)
def test_a_picture_that_never_gets_done_holds_up_no_run(harness: Harness) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def show(preview: Preview) -> None:
        begun.set()
        go_on.wait(60)

    sampler = Sampler(newest_of(harness), PreviewSettings, show)
    sampler.start()
    try:
        harness.prepare()
        harness.sender.header()
        harness.sender.image(0)
        assert begun.wait(WAIT_S)
        for number in range(1, 100):
            harness.sender.image(number)
        harness.sender.end()
        assert harness.receipt().verdict is Verdict.COMPLETE
        assert not go_on.is_set()
        assert taken(harness).frame.frame_number == 99
    finally:
        go_on.set()
        sampler.close()


def test_what_is_not_of_the_series_is_not_shown(harness: Harness) -> None:
    harness.prepare(expected_frames=4)
    sender = harness.sender
    sender.image(3)  # before the header
    sender.header()
    sender.image(0)
    sender.image(1)
    sender.image(0, blob=pixels(7).tobytes())  # another copy
    sender.image(2, blob=compress_bslz4(pixels(2)), encoding=Encoding.BSLZ4)  # packed unlike its series
    sender.image(900)  # beyond its end
    sender.end()
    harness.receipt()
    assert taken(harness).frame.frame_number == 1


def test_a_frame_that_is_not_to_be_written_is_shown(harness: Harness) -> None:
    harness.prepare()
    harness.sender.header()
    harness.sender.image(0)
    harness.sender.image(1, discard=True)
    harness.sender.end()
    assert harness.receipt().frames_discarded == 1
    assert taken(harness).frame.frame_number == 1


def test_the_turn_is_that_of_the_file_also_where_the_header_decides(harness: Harness) -> None:
    how = {"naming": FileNaming.STREAM, "orientation": Orientation(1, flipud=True)}
    harness.prepare(stream_format=StreamFormat.DECTRIS_V1, **how)
    appendix = f'{{"filename": "{harness.folder}/turned.h5", "rotate": 2}}'
    detail, config = dectris_v1.HeaderDetail.BASIC, {"nimages": 4, "ntrigger": 1}
    harness.sender.send(dectris_v1.encode_header(7, detail=detail, config=config, appendix=appendix))
    send_v1_images(harness)
    harness.receipt()
    assert taken(harness).orientation == Orientation(3, flipud=True)


def test_a_series_without_a_frame_shows_none_and_forgets_the_last(harness: Harness) -> None:
    harness.prepare()
    harness.sender.series(2)
    harness.receipt()
    harness.prepare(destination=str(harness.folder / "b.h5"))
    harness.sender.header()
    harness.sender.end()
    harness.receipt()
    assert newest_of(harness).take() is None


def test_frames_that_other_processes_write_are_shown_too(harness: Harness) -> None:
    harness.prepare(engines=2, frames_per_file=3)
    harness.sender.series(8)
    assert harness.receipt().frames_written == 8
    found = taken(harness)
    assert found.frame.frame_number == 7
    np.testing.assert_array_equal(shown_pixels(found), pixels(7))
