"""A StreamReceiver without a detector: what it tells when its stream falls silent, and when its engine dies."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import zmq
from tango import DevState

from maxdaq_tango.model import Encoding, Frame, FrameFormat
from maxdaq_tango.wire import stins

FORMAT = FrameFormat((8, 6), "uint16", Encoding.NONE)


class Sender:
    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket
        self.number = 0
        self.endpoint: str = socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def header(self) -> None:
        self.socket.send_multipart(stins.encode_header(0, "", {}))
        self.number = 1

    def image(self) -> None:
        blob = np.full(FORMAT.shape, self.number, "<u2").tobytes()
        frame = Frame(series="", frame_number=self.number - 1, format=FORMAT, blobs=(blob,))
        self.socket.send_multipart(stins.encode_image(self.number, frame))
        self.number += 1

    def end(self) -> None:
        self.socket.send_multipart(stins.encode_end(self.number))


@pytest.fixture
def sender() -> Iterator[Sender]:
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.linger, socket.sndtimeo = 0, 5000
        socket.bind("tcp://127.0.0.1:*")
        yield Sender(socket)


@pytest.fixture(scope="module")
def receiver(site, connect, wait_on) -> Any:
    device = connect(site.receiver("alone", Grace=0.2))
    wait_on(device)
    return device


def prepare(receiver, sender: Sender, site, name: str, **fields: object) -> None:
    receiver.Prepare(
        json.dumps(
            {
                "sources": [sender.endpoint],
                "stream_format": "stins",
                "destination": str(site.data / name),
                "run_id": name,
                **fields,
            }
        )
    )


@pytest.mark.parametrize("triggered", [False, True])
def test_a_stalled_stream_is_reported_and_goes_on(receiver, sender, site, wait, triggered):
    prepare(receiver, sender, site, f"stalled_{triggered}.h5", expected_frames=2, triggered=triggered)
    sender.header()
    sender.image()
    wait(lambda: receiver.Stalled >= 1.0, 5, "the report")
    assert "The stream has been silent for " in receiver.Status()
    assert "the newest frame is 0" in receiver.Status()
    assert ("between triggers" in receiver.Status()) == triggered
    assert receiver.State() == (DevState.RUNNING if triggered else DevState.ALARM)
    assert receiver.AcquisitionState == "ACQUIRING"
    sender.image()
    sender.end()
    wait(lambda: receiver.Verdict == "COMPLETE", 5, "the end")
    assert (receiver.State(), receiver.Stalled) == (DevState.ON, 0.0)


def test_an_engine_that_gives_no_sign_of_life_is_an_alarm_until_it_goes_on(receiver, sender, site, wait):
    prepare(receiver, sender, site, "silent.h5", expected_frames=2)
    sender.header()
    sender.image()
    wait(lambda: receiver.nFramesWritten == 1, 5, "a frame")
    pid = receiver.EnginePid
    os.kill(pid, signal.SIGSTOP)
    try:
        wait(lambda: "The receiver engine has given no sign of life for " in receiver.Status(), 10, "the report")
        assert receiver.State() == DevState.ALARM
        assert receiver.AcquisitionState == "ACQUIRING"
    finally:
        os.kill(pid, signal.SIGCONT)
    wait(lambda: "no sign of life" not in receiver.Status(), 5, "a sign of life")
    sender.image()
    sender.end()
    wait(lambda: receiver.Verdict == "COMPLETE", 5, "the end")
    assert receiver.State() == DevState.ON


@pytest.mark.lesson(27)
def test_an_engine_that_hangs_is_replaced_on_request(receiver, sender, site, wait):
    prepare(receiver, sender, site, "hangs.h5", expected_frames=2)
    sender.header()
    sender.image()
    wait(lambda: receiver.nFramesWritten == 1, 5, "a frame")
    pid = receiver.EnginePid
    os.kill(pid, signal.SIGSTOP)
    receiver.RestartEngine()
    wait(lambda: receiver.AcquisitionState == "IDLE" and receiver.EnginePid not in (0, pid), 15, "another engine")
    assert json.loads(receiver.LastReceipt)["verdict"] == "FAILED"
    receiver.Reset()
    assert receiver.State() == DevState.ON


@pytest.mark.lesson(25)
def test_an_engine_that_dies_leaves_a_receipt(receiver, sender, site, wait, wait_on):
    prepare(receiver, sender, site, "killed.h5", expected_frames=10)
    sender.header()
    for _ in range(4):
        sender.image()
    wait(lambda: receiver.nFramesWritten == 4, 5, "frames")
    os.kill(receiver.EnginePid, signal.SIGKILL)
    wait(lambda: receiver.State() == DevState.FAULT, 5, "FAULT")
    wait(lambda: receiver.Verdict == "FAILED", 2, "the verdict")
    receipt = json.loads(receiver.LastReceipt)
    assert (receipt["run_id"], receipt["frames_expected"], receipt["frames_written"]) == ("killed.h5", 10, 4)
    assert "killed by signal 9" in receipt["reasons"][0]
    assert receipt["file"].endswith(".killed.h5.part")
    receiver.Reset()
    assert receiver.Verdict == ""
    prepare(receiver, sender, site, "next.h5", expected_frames=1)
    wait(lambda: receiver.AcquisitionState == "ARMED", 20, "a fresh engine")  # Prepare may not wait so long for it
    sender.header()
    sender.image()
    sender.end()
    wait(lambda: receiver.Verdict == "COMPLETE", 10, "the next run")


@pytest.mark.processes_live_on
def test_an_abort_while_prepare_waits_for_a_new_engine_is_not_lost(site, connect, wait_on, sender, wait) -> None:
    """It reaches the engine first, which has nothing to abort yet."""
    receiver = connect(site.receiver("early", PrepareWait=0.01))
    wait_on(receiver)
    os.kill(receiver.EnginePid, signal.SIGKILL)
    wait(lambda: receiver.State() == DevState.FAULT, 10, "the death being noticed")
    prepare(receiver, sender, site, "called_off.h5", expected_frames=2)
    assert receiver.State() == DevState.RUNNING
    receiver.Abort("changed my mind")
    wait(lambda: receiver.State() != DevState.RUNNING, 20, "the end")
    receipt = json.loads(receiver.LastReceipt)
    assert (receipt["run_id"], receipt["verdict"]) == ("called_off.h5", "ABORTED")
    assert "changed my mind" in receipt["reasons"]
    assert not list(site.data.glob("*called_off*.h5*"))
    prepare(receiver, sender, site, "afterwards.h5", expected_frames=1)
    wait(lambda: receiver.AcquisitionState == "ARMED", 20, "the next one")
    receiver.Abort("")
    wait(lambda: receiver.State() != DevState.RUNNING, 10, "the end")
