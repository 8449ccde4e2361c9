"""Metadata that nobody means: they cost their message at most, never the run, and what is kept can be read."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.files import check_file
from maxdaq_tango.model import DEEPEST, StreamFormat, Verdict
from maxdaq_tango.wire import dectris_v1
from receiving import WAIT_S, Harness, pixels, send_v1, stored


def nested(levels: int) -> str:
    return "[" * levels + "1" + "]" * levels


@pytest.mark.lesson(16)
@pytest.mark.parametrize("levels", [DEEPEST - 1, DEEPEST, 500, 900])
def test_a_header_that_is_nested_deep_costs_the_series_nothing(harness: Harness, levels: int) -> None:
    harness.prepare()
    text = nested(levels)
    harness.sender.send([b'{"htype":"header","msg_number":0}', b'{"exptime":0.5,"deep":%s}' % text.encode()])
    harness.sender.number = 1
    for number in range(2):
        harness.sender.image(number)
    harness.sender.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.reasons) == (Verdict.COMPLETE, ())
    assert np.array_equal(stored(receipt), [pixels(0), pixels(1)])
    with h5py.File(receipt.file, "r") as file:
        assert file["entry/instrument/eiger/deep"][()].decode() == text
    assert check_file(receipt.file).ok


@pytest.mark.lesson(16)
@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("levels", [DEEPEST, 985, 5000])
def test_an_image_that_is_nested_deep_costs_itself(harness: Harness, levels: int, opening: str) -> None:
    harness.prepare()
    harness.sender.header()
    harness.sender.image(0)
    deep = opening * levels + "1" + {"[": "]", '{"a":': "}"}[opening] * levels
    head = '{"htype":"image","msg_number":2,"frame":1,"shape":[40,30],"type":"uint16","deep":' + deep + "}"
    harness.sender.send([head.encode(), pixels(1).tobytes()])
    harness.sender.skip()
    harness.sender.image(2)
    harness.sender.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_written, receipt.frames_corrupt) == (Verdict.INCOMPLETE, 2, 1)
    assert "corrupt message: read STINS part 0" in receipt.reasons[0]
    data = stored(receipt)
    assert np.array_equal(data[[0, 2]], [pixels(0), pixels(2)])
    assert np.all(data[1] == 65535)


def test_a_header_appendix_that_is_nested_deep_is_stored_as_text(harness: Harness) -> None:
    harness.prepare(stream_format=StreamFormat.DECTRIS_V1)
    config = {"nimages": 2, "ntrigger": 1}
    appendix = '{"filename":"elsewhere","deep":' + nested(900) + "}"
    basic = dectris_v1.HeaderDetail.BASIC
    harness.sender.send(dectris_v1.encode_header(7, detail=basic, config=config, appendix=appendix))
    send_v1(harness.sender, [0, 1])  # the same header again, without it
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_written) == (Verdict.COMPLETE, 2)
    with h5py.File(receipt.file, "r") as file:
        assert file["entry/instrument/eiger/header_appendix"][()].decode() == appendix


def test_metadata_of_a_request_that_are_nested_too_deep_are_refused_by_prepare(harness: Harness) -> None:
    with pytest.raises(ConfigurationError, match="nested deeper than 64"):
        harness.prepare(metadata={"deep": json.loads(nested(DEEPEST))})
    assert list(harness.folder.iterdir()) == []
    harness.prepare(metadata={"deep": json.loads(nested(DEEPEST - 1))})
    harness.sender.series(1)
    assert harness.receipt().verdict is Verdict.COMPLETE


def test_a_message_that_is_larger_than_the_memory_allows_costs_itself_and_the_run_goes_on(harness: Harness) -> None:
    harness.prepare(memory_bytes=16 << 20, expected_frames=3, grace_s=0.5)
    sender = harness.sender
    sender.header()
    sender.image(0)
    harness.wait_written(1)
    connected = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED
    with sender.socket.get_monitor_socket(connected) as monitor:
        sender.image(1, blob=bytes((64 << 20) + 1))
        for event in (zmq.EVENT_DISCONNECTED, zmq.EVENT_HANDSHAKE_SUCCEEDED):
            assert monitor.poll(WAIT_S * 1000)
            assert recv_monitor_message(monitor)["event"] == event
        sender.socket.disable_monitor()
    sender.image(2)
    sender.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_missing, receipt.frames_corrupt) == (Verdict.INCOMPLETE, (1,), 0)
    assert np.array_equal(stored(receipt)[[0, 2]], [pixels(0), pixels(2)])
    assert receipt.decisions["largest message"] == "64 MiB"
    assert receipt.decisions["connections"].startswith("1 closed")
    assert check_file(receipt.file).ok
