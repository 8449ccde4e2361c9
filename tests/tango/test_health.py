"""What tells people and programs how a receiver is: version, health, the fate of every frame, time for each stage."""

from __future__ import annotations

import importlib
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import tango
import zmq

from maxdaq_tango import __version__
from receiving import SHAPE, Sender

FATES = {
    "nFramesReceived": 4,
    "nFramesWritten": 3,
    "nFramesSafe": 3,
    "nFramesQueued": 0,
    "nFramesDiscarded": 1,
    "nFramesMissing": 1,
    "nFramesDuplicate": 1,
    "nFramesCorrupt": 1,
    "nFramesLost": 0,
    "nFramesLate": 0,
    "nFramesUnexpected": 1,
    "nFramesOutOfSeries": 0,
}


@pytest.fixture
def sender() -> Iterator[Sender]:
    with zmq.Context() as context:
        yield (sender := Sender(context))
        sender.socket.close(0)


@pytest.fixture(scope="module")
def receiver(site, connect, wait_on) -> Any:
    device = connect(site.receiver("health", Grace=0.2, Compression="none"))
    wait_on(device)
    return device


@pytest.fixture(scope="module")
def hindered(site, connect) -> tuple[Any, Any]:
    """One that may write nowhere, and one whose properties cannot work."""
    names = site.receiver("without", Roots=[]), site.receiver("trouble", Roots="/no/such/folder")
    return connect(names[0]), connect(names[1])


def health(receiver: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(receiver.Health)
    return told


def prepare(receiver: Any, sender: Sender, site: Any, name: str, **fields: object) -> None:
    request = {
        "sources": [sender.endpoint],
        "stream_format": "stins",
        "destination": str(site.data / name),
        "run_id": name,
        **fields,
    }
    receiver.Prepare(json.dumps(request))


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("maxdaq_tango.detectors.eiger.device", "EigerDetector"),
        ("maxdaq_tango.receiver.device", "StreamReceiver"),
        ("maxdaq_tango.controller.device", "DAQController"),
    ],
)
@pytest.mark.lesson(46)
def test_every_device_class_tells_its_version(module: str, name: str) -> None:
    assert "Version" in getattr(importlib.import_module(module), name).TangoClassClass.attr_list


@pytest.mark.lesson(46)
def test_health_says_whether_a_run_can_be_prepared(receiver, sender, site, wait) -> None:
    assert receiver.Version == __version__
    wait(lambda: health(receiver)["ready"], 10, "readiness")
    told = health(receiver)
    assert list(told) == ["ready", "why_not", "concerns", "state", "engine", "roots", "version"]
    assert (told["why_not"], told["concerns"], told["state"], told["version"]) == ([], [], "IDLE", __version__)
    assert told["engine"] == {"alive": True, "pid": receiver.EnginePid, "silent_s": 0}
    wait(lambda: health(receiver)["roots"][0]["free_bytes"] is not None, 10, "a look at the disk")
    (root,) = health(receiver)["roots"]
    assert (root["path"], root["problem"]) == (str(site.data), "")
    assert root["free_bytes"] > 0

    prepare(receiver, sender, site, "busy.h5")
    told = health(receiver)
    assert (told["ready"], told["why_not"]) == (False, ["a run is under way (ARMED)"])
    receiver.Abort("enough")
    wait(lambda: health(receiver)["ready"], 10, "readiness after the run")


@pytest.mark.lesson(46)
def test_health_tells_of_an_engine_that_died(receiver, wait) -> None:
    os.kill(receiver.EnginePid, signal.SIGKILL)
    wait(lambda: not health(receiver)["engine"]["alive"], 10, "the death")
    wait(lambda: receiver.State() == tango.DevState.FAULT, 10, "FAULT")
    told = health(receiver)
    assert told["ready"]
    assert told["state"] == "FAULT"
    assert "the receiver engine does not run: the next Prepare starts one" in told["concerns"]
    assert any("killed by signal 9" in concern for concern in told["concerns"])
    receiver.RestartEngine()
    wait(lambda: health(receiver)["engine"]["alive"], 20, "another engine")
    receiver.Reset()


def test_a_receiver_that_cannot_write_says_why(hindered, wait) -> None:
    without, trouble = hindered
    wait(lambda: health(without)["ready"], 20, "readiness")
    assert health(without)["concerns"] == ["Roots is empty: only runs without a file can be prepared"]
    told = health(trouble)
    assert not told["ready"]
    assert "Roots" in told["why_not"][0]


@pytest.mark.lesson(46)
def test_every_fate_has_its_counter_and_every_stage_its_time(receiver, sender, site, wait) -> None:
    prepare(receiver, sender, site, "fates.h5", expected_frames=6)
    wait(lambda: receiver.AcquisitionState == "ARMED", 20, "ARMED")
    sender.header()
    sender.image(0)
    sender.image(1)
    sender.image(1)  # twice
    sender.image(2, discard=True)
    sender.image(3, blob=b"too short")
    sender.image(90)  # cannot be of this series
    sender.image(5)  # 4 never comes
    sender.end()
    wait(lambda: receiver.Verdict == "INCOMPLETE", 10, "the end")
    fates = {name: receiver.read_attribute(name).value for name in FATES}
    assert fates == FATES
    receipt = json.loads(receiver.LastReceipt)
    assert receiver.NewestFrame == 5
    assert receiver.BytesWritten == 6 * 2 * SHAPE[0] * SHAPE[1]  # with three blanks
    assert receiver.BytesReceived == sender.nbytes == receipt["bytes_received"]

    stages = json.loads(receiver.StageTimes)
    assert list(stages) == ["idle", "queue", "take", "room", "pool", "write", "checkpoint"]
    assert stages["write"]["count"] == 3
    assert stages["take"]["count"] == 9
    assert stages["write"]["seconds"] > 0
    assert stages["take"]["seconds"] > 0
    assert stages["idle"]["seconds"] > 0
