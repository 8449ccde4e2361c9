"""EigerDetector, StreamReceiver and DAQController against simulated Eigers that other people wrote.

tickit-devices (Diamond): SIMPLON 1.8.0, streams v1 and v2. eiger-simulator (ALBA): SIMPLON 1.6.0, stream v1, with and
without bitshuffle. What they get wrong stands in the tests of the driver.
"""

from __future__ import annotations

import json
import math

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import numpy as np
import pytest
from tango import DevState

from maxdaq_tango.files import check_file

pytestmark = [pytest.mark.counterpart, pytest.mark.timeout(180)]

SETTLED = (DevState.ON, DevState.ALARM, DevState.FAULT)
NAMES = iter(range(10_000))
ALBA_IMAGES = 4


def small_site(site, make_clients, wait_on, counterpart, member: str, **properties):
    receiver = site.receiver(member, MemoryBudget=512 << 20, StallTimeout=20.0, Grace=1.0)
    known = {
        "Host": counterpart.host, "Port": counterpart.ports["http"], "StreamPort": counterpart.ports["legacy"],
        "CborPort": counterpart.ports.get("cbor", 31001), "Receiver": receiver,
    }  # fmt: skip
    detector = site.device_name("detector", member)
    site.serve("maxdaq_tango.detectors.eiger.device", "EigerDetector", {detector: {**known, **properties}})
    clients = make_clients(site, detector=detector, receiver=receiver, controller=site.controller(member, detector))
    wait_on(clients.detector, clients.receiver, clients.controller)
    return clients


@pytest.fixture(scope="module", params=["dectris-v1", "dectris-v2"])
def tickit(request, site, make_clients, wait_on, tickit_eiger):
    properties = {"StreamFormat": request.param, "HeaderDetail": "basic", "TrustSeriesId": False}
    return small_site(site, make_clients, wait_on, tickit_eiger, f"tickit{request.param[-1]}", **properties)


@pytest.fixture(autouse=True)
def _settled(request, wait_on):
    """A series that failed before, or a simulator that was started afresh, is acknowledged first."""
    if "tickit" in request.fixturenames:
        clients = request.getfixturevalue("tickit")
        for daq in (clients.controller, clients.detector):
            daq.Abort()
        wait_on(clients.detector, clients.receiver, clients.controller)


@pytest.fixture(scope="module")
def alba(request, site, make_clients, wait_on, eiger_simulator):
    member = f"alba{next(NAMES)}"
    return small_site(site, make_clients, wait_on, eiger_simulator, member, HeaderDetail="basic")


def arm(daq, clients, frames: int, triggers: int = 1, mode: str = "INTERNAL", exposure: float = 0.05) -> str:
    path = str(clients.file(f"run_{next(NAMES):06d}.h5"))
    daq.ExposureTime, daq.nFramesPerTrigger, daq.nTriggers, daq.TriggerMode = exposure, frames, triggers, mode
    daq.DestinationFilename = path
    daq.Arm()
    return path


def finish(daq, wait, what: str) -> None:
    wait(lambda: daq.state() in SETTLED, 90.0, what)


def receipt_of(clients) -> dict:
    return json.loads(clients.receiver.LastReceipt)


def pixels(path: str) -> np.ndarray:
    with h5py.File(path, "r") as file:
        (name,) = file["entry/instrument"]
        return file[f"entry/instrument/{name}/data"][...]


@pytest.mark.parametrize("who", ["detector", "controller"])
def test_tickit_series_are_complete(tickit, wait, who):
    daq = getattr(tickit, who)
    path = arm(daq, tickit, frames=3)
    finish(daq, wait, "the end of the series")
    receipt = receipt_of(tickit)
    assert (receipt["verdict"], receipt["frames_written"]) == ("COMPLETE", 3), receipt["reasons"]
    assert check_file(path).problems == []
    data = pixels(path)
    assert data.shape == (3, 4362, 4148)
    assert np.array_equal(data[0], data[2])  # this simulator knows one picture
    assert {0, 65535} < set(np.unique(data[0]))  # a real picture: counts beside masked pixels


def test_tickit_is_triggered_by_software(tickit, wait):
    daq = tickit.detector
    path = arm(daq, tickit, frames=2, triggers=2, mode="SOFTWARE")
    for done in (2, 4):
        wait(lambda: daq.ReadyForSwTrigger, 20.0, "ready for a trigger")
        daq.SoftwareTrigger()
        wait(lambda done=done: daq.nFramesAcquired >= done, 60.0, f"{done} frames")
    finish(daq, wait, "the end of the series")
    assert receipt_of(tickit)["verdict"] == "COMPLETE"
    assert check_file(path).frames_valid == 4


@pytest.mark.parametrize("how", ["Stop", "Abort"])
def test_tickit_series_are_ended_early_and_the_next_one_works(tickit, wait, how):
    daq = tickit.detector
    path = arm(daq, tickit, frames=500)
    wait(lambda: tickit.receiver.nFramesReceived >= 1, 60.0, "the first frame")
    daq.command_inout(how)
    finish(daq, wait, f"the end after {how}")
    receipt = receipt_of(tickit)
    assert receipt["verdict"] in ("ABORTED", "INCOMPLETE")
    assert receipt["frames_written"] >= 1
    assert check_file(path).problems == []
    daq.Reset()
    path = arm(daq, tickit, frames=2)
    finish(daq, wait, "the end of the next series")
    assert receipt_of(tickit)["verdict"] == "COMPLETE", receipt_of(tickit)["reasons"]
    assert check_file(path).frames_valid == 2


@pytest.mark.parametrize("who", ["detector", "controller"])
def test_alba_series_are_complete_pixel_by_pixel(alba, wait, who):
    daq = getattr(alba, who)
    path = arm(daq, alba, frames=6, exposure=0.02)
    finish(daq, wait, "the end of the series")
    receipt = receipt_of(alba)
    assert (receipt["verdict"], receipt["frames_written"]) == ("COMPLETE", 6), receipt["reasons"]
    assert check_file(path).problems == []
    rows, columns = np.ogrid[:512, :1028]
    expected = [((n % ALBA_IMAGES) * 1000 + rows + columns) % 65521 for n in range(6)]
    assert np.array_equal(pixels(path), expected)


@pytest.mark.parametrize("how", ["Stop", "Abort"])
def test_alba_series_are_ended_early_and_the_next_one_works(alba, wait, how):
    daq = alba.detector
    path = arm(daq, alba, frames=1000, exposure=0.02)
    wait(lambda: alba.receiver.nFramesReceived >= 3, 30.0, "the first frames")
    daq.command_inout(how)
    finish(daq, wait, f"the end after {how}")
    assert receipt_of(alba)["frames_written"] >= 3
    assert check_file(path).problems == []
    daq.Reset()
    arm(daq, alba, frames=3, exposure=0.02)
    finish(daq, wait, "the end of the next series")
    assert receipt_of(alba)["verdict"] == "COMPLETE", receipt_of(alba)["reasons"]


def test_alba_series_that_were_armed_and_never_triggered_can_be_stopped(alba, wait):
    daq = alba.detector
    arm(daq, alba, frames=2, mode="SOFTWARE", exposure=0.02)
    daq.Stop()
    finish(daq, wait, "the end after Stop")
    assert math.isclose(daq.ExposureTime, 0.02)
    daq.Reset()
    path = arm(daq, alba, frames=2, exposure=0.02)
    finish(daq, wait, "the end of the next series")
    assert check_file(path).frames_valid == 2
