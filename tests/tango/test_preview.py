"""The live view through Tango: pixels, size, events; before the first frame and between series."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tango
import zmq

from maxdaq_tango.kernels.compression import compress_bslz4
from maxdaq_tango.kernels.preview import reduced
from maxdaq_tango.model import Encoding, PreviewMethod
from receiving import SHAPE, Sender, pixels, send_v1

INVALID = tango.AttrQuality.ATTR_INVALID


@pytest.fixture
def sender() -> Iterator[Sender]:
    with zmq.Context() as context:
        yield (sender := Sender(context))
        sender.socket.close(0)


@pytest.fixture(scope="module")
def receiver(site, connect, wait_on) -> Any:
    device = connect(site.receiver("preview", Grace=0.2))
    wait_on(device)
    return device


@pytest.fixture
def fresh(receiver, wait) -> Any:
    """With an engine that has seen no frame, and settings as they come."""
    receiver.Reset()
    pid = receiver.EnginePid
    receiver.RestartEngine()
    wait(lambda: receiver.EnginePid not in (0, pid) and receiver.State() == tango.DevState.ON, 20, "an engine")
    receiver.PreviewSize, receiver.PreviewMethod = 512, "max"
    return receiver


def prepare(receiver: Any, sender: Sender, destination: str = "", **fields: object) -> None:
    request = {"sources": [sender.endpoint], "stream_format": "stins", "destination": destination, "run_id": "preview"}
    receiver.Prepare(json.dumps({**request, **fields}))


def shows(receiver: Any, number: int) -> bool:
    read = receiver.read_attribute("PreviewFrame")
    return bool(read.quality != INVALID and read.value == number)


@pytest.mark.lesson(44)
def test_before_the_first_frame_there_is_no_picture_and_nothing_fails(fresh) -> None:
    for name in ("Preview", "PreviewFrame", "PreviewFactor"):
        assert fresh.read_attribute(name).quality == INVALID
    assert len(fresh.PreviewOf(64)) == 0


@pytest.mark.parametrize("size", [0, -1, 15, 1025, 1 << 40])
@pytest.mark.lesson(44)
def test_a_size_that_makes_no_sense_is_refused_and_changes_nothing(receiver, size: int) -> None:
    before = receiver.PreviewSize
    for ask in (lambda: receiver.write_attribute("PreviewSize", size), lambda: receiver.PreviewOf(size)):
        with pytest.raises(tango.DevFailed) as caught:
            ask()
        assert caught.value.args[0].reason == "MAXDAQ_ConfigurationError"
        assert f"largest side of {size} pixels" in caught.value.args[0].desc
        assert "16 to 1024 pixels" in caught.value.args[0].desc
    assert receiver.PreviewSize == before
    with pytest.raises(tango.DevFailed, match="max or mean"):
        receiver.PreviewMethod = "median"


@pytest.mark.lesson(37)
def test_the_newest_frame_is_seen_without_a_file_and_in_every_size(fresh, sender, wait) -> None:
    receiver = fresh
    prepare(receiver, sender)
    sender.header()
    sender.image(0)
    wait(lambda: shows(receiver, 0), 10, "the first frame")
    assert receiver.PreviewFactor == 1
    np.testing.assert_array_equal(receiver.Preview, pixels(0))

    receiver.PreviewSize = 16
    sender.image(1, blob=compress_bslz4(pixels(1)), encoding=Encoding.BSLZ4)  # is not as its series: not of the file
    sender.image(2)
    wait(lambda: shows(receiver, 2), 10, "a smaller one")
    wait(lambda: receiver.nFramesCorrupt == 1, 10, "its count: counters and pictures are told separately")
    assert receiver.PreviewFactor == 3
    np.testing.assert_array_equal(receiver.Preview, reduced(pixels(2), 3, PreviewMethod.MAX))

    receiver.PreviewMethod = "MEAN"
    assert receiver.PreviewMethod == "mean"
    sender.image(3)
    wait(lambda: shows(receiver, 3), 10, "its mean")
    np.testing.assert_array_equal(receiver.Preview, reduced(pixels(3), 3, PreviewMethod.MEAN))
    receiver.Abort("enough")
    wait(lambda: receiver.AcquisitionState == "IDLE", 10, "the end")
    np.testing.assert_array_equal(receiver.Preview, reduced(pixels(3), 3, PreviewMethod.MEAN))


@pytest.mark.lesson(44)
def test_one_viewer_gets_a_smaller_picture_and_the_others_keep_theirs(fresh, sender, wait) -> None:
    prepare(fresh, sender)
    sender.header()
    sender.image(7)
    wait(lambda: shows(fresh, 7), 10, "the frame")
    number, rows, columns, *values = fresh.PreviewOf(20)
    assert (number, rows, columns) == (7, 20, 15)
    np.testing.assert_array_equal(np.reshape(values, (20, 15)), reduced(pixels(7), 2, PreviewMethod.MAX))
    assert len(fresh.PreviewOf(1024)) == 3 + SHAPE[0] * SHAPE[1]
    np.testing.assert_array_equal(fresh.Preview, pixels(7))
    fresh.Abort("enough")
    wait(lambda: fresh.AcquisitionState == "IDLE", 10, "the end")


@pytest.mark.lesson(37)
def test_a_series_of_an_eiger_is_shown_to_its_last_frame_and_stays_until_the_next(fresh, sender, site, wait) -> None:
    prepare(fresh, sender, str(site.data / "eiger.h5"), stream_format="dectris-v1", expected_frames=40)
    send_v1(sender, list(range(40)), encoding=Encoding.LZ4_BLOCK)
    wait(lambda: fresh.Verdict == "COMPLETE", 10, "the end")
    wait(lambda: shows(fresh, 39), 10, "the last frame")
    np.testing.assert_array_equal(fresh.Preview, pixels(39))
    prepare(fresh, sender, str(site.data / "next.h5"))
    assert shows(fresh, 39)
    fresh.Abort("enough")
    wait(lambda: fresh.AcquisitionState == "IDLE", 10, "the end")
    assert shows(fresh, 39)


def test_every_new_picture_is_an_event(fresh, sender, wait) -> None:
    seen: list[Any] = []
    arrived = threading.Condition()

    def hear(event: Any) -> None:
        with arrived:
            seen.append(event)
            arrived.notify_all()

    def last() -> Any:
        value = seen[-1].attr_value if seen and not seen[-1].err else None
        return None if value is None or value.quality == INVALID else value.value

    number = fresh.subscribe_event("Preview", tango.EventType.CHANGE_EVENT, hear)
    try:
        prepare(fresh, sender)
        sender.header()
        for frame in range(3):
            sender.image(frame)
            wait(lambda frame=frame: last() is not None and np.array_equal(last(), pixels(frame)), 10, "its event")
    finally:
        fresh.unsubscribe_event(number)
    assert not [event for event in seen if event.err]
    fresh.Abort("enough")
    wait(lambda: fresh.AcquisitionState == "IDLE", 10, "the end")


def test_the_size_that_was_chosen_outlives_init(fresh, sender, wait) -> None:
    fresh.PreviewSize, fresh.PreviewMethod = 16, "mean"
    pid = fresh.EnginePid
    fresh.Init()
    wait(lambda: fresh.State() == tango.DevState.ON and fresh.EnginePid not in (0, pid), 30, "another engine")
    for name, value in (("PreviewSize", 16), ("PreviewMethod", "mean")):
        read = fresh.read_attribute(name)
        assert (read.value, read.w_value) == (value, value)
    prepare(fresh, sender)
    sender.header()
    sender.image(0)
    wait(lambda: shows(fresh, 0), 10, "the frame")
    np.testing.assert_array_equal(fresh.Preview, reduced(pixels(0), 3, PreviewMethod.MEAN))
    fresh.Abort("enough")
    wait(lambda: fresh.AcquisitionState == "IDLE", 10, "the end")
