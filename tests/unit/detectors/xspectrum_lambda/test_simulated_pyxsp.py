"""The stand-in for the vendor's library, before a simulated detector, as its public users call the real one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.xspectrum_lambda import simulated_pyxsp as pyxsp
from maxdaq_tango.detectors.xspectrum_lambda.simulator import SimulatorOptions, expected_pixels
from maxdaq_tango.detectors.xspectrum_lambda.simulator_server import LambdaSimulatorServer
from maxdaq_tango.detectors.xspectrum_lambda.words import BitDepth
from maxdaq_tango.testing.driver_contract import wait_for

OPTIONS = SimulatorOptions(modules=2, rows=8, columns=24)


@pytest.fixture
def server() -> Iterator[LambdaSimulatorServer]:
    with LambdaSimulatorServer(OPTIONS) as server:
        yield server


@pytest.fixture
def system(server: LambdaSimulatorServer) -> Iterator[pyxsp.System]:
    system = pyxsp.System(server.url)
    assert system is not None
    system.connect()
    system.initialize()
    yield system
    system.disconnect()


@pytest.fixture
def detector(system: pyxsp.System) -> pyxsp.Detector:
    detector = system.open_detector(system.list_detectors()[0])
    detector.thresholds = [7.0]
    detector.shutter_time = 2.0
    detector.number_of_frames = 3
    return detector


def ready(system: pyxsp.System, detector: pyxsp.Detector) -> list[pyxsp.Receiver]:
    receivers = [system.open_receiver(name) for name in system.list_receivers()]
    wait_for("memory", lambda: all(receiver.ram_allocated for receiver in receivers))
    wait_for("the voltage", lambda: detector.voltage_settled(1))
    return receivers


def test_a_series_as_its_public_users_take_one(system: pyxsp.System, detector: pyxsp.Detector) -> None:
    receivers = ready(system, detector)
    assert system.list_receivers() == ["lambda/1", "lambda/2"]
    detector.start_acquisition()
    for module, receiver in enumerate(receivers):
        assert (receiver.frame_height, receiver.frame_width, receiver.frame_depth) == (8, 24, 16)
        for number in range(3):
            frame = receiver.get_frame(5000)
            assert frame is not None
            assert (frame.nr, frame.subframe) == (number + 1, 0)
            assert frame.status_code == pyxsp.FrameStatusCode.FRAME_OK
            pixels = np.asarray(frame.data).reshape(8, 24)
            np.testing.assert_array_equal(pixels, expected_pixels(OPTIONS, module, number, BitDepth.DEPTH_12))
            receiver.release_frame(frame)
    assert not detector.is_busy
    system.stop_acquisition()


def test_nobody_at_the_address_is_none_and_no_exception(server: LambdaSimulatorServer) -> None:
    assert pyxsp.System("/opt/xsp/config/system.yml") is None
    server.close()
    assert pyxsp.System(server.url) is None


def test_no_frame_in_time_is_none(system: pyxsp.System, detector: pyxsp.Detector) -> None:
    receiver = ready(system, detector)[0]
    assert receiver.get_frame(1) is None


def test_a_frame_that_comes_wakes_who_waits_for_it(system: pyxsp.System, detector: pyxsp.Detector) -> None:
    receiver = ready(system, detector)[0]
    taken: list[pyxsp.Frame | None] = []
    waiting = threading.Thread(target=lambda: taken.append(receiver.get_frame(20_000)), name="waits-for-a-frame")
    waiting.start()
    began = time.monotonic()
    detector.start_acquisition()
    waiting.join(10)
    assert taken[0] is not None
    assert time.monotonic() - began < 10


def test_a_released_frame_cannot_be_read_and_not_released_again(
    system: pyxsp.System, detector: pyxsp.Detector, server: LambdaSimulatorServer
) -> None:
    receiver = ready(system, detector)[0]
    detector.start_acquisition()
    frame = receiver.get_frame(5000)
    assert frame is not None
    status = httpx.get(f"{server.url}/simulator/api/status", trust_env=False).json()
    assert status["unreleased"] == [1, 0]
    receiver.release_frame(frame)
    with pytest.raises(pyxsp.RuntimeError, match="released"):
        _ = frame.data
    with pytest.raises(pyxsp.RuntimeError, match="not to be released"):
        receiver.release_frame(frame)


def test_enums_are_wanted_where_the_library_wants_them(detector: pyxsp.Detector) -> None:
    with pytest.raises(TypeError, match="BitDepth"):
        detector.bit_depth = 24
    detector.bit_depth = pyxsp.BitDepth.DEPTH_24
    assert detector.bit_depth is pyxsp.BitDepth.DEPTH_24
    detector.charge_summing = pyxsp.ChargeSumming.ON
    assert detector.charge_summing.name == "ON"
    detector.trigger_mode = pyxsp.TrigMode.EXT_FRAMES
    assert detector.trigger_mode is pyxsp.TrigMode.EXT_FRAMES
    detector.set_voltage(2, 150.0)
    assert (detector.voltage(2), detector.voltage_settled(2)) == (150.0, False)


def test_what_the_detector_refuses_is_an_error_of_the_library(detector: pyxsp.Detector) -> None:
    with pytest.raises(pyxsp.RuntimeError, match="BAD_ARG_OUT_OF_RANGE") as refusal:
        detector.shutter_time = 1e10
    assert refusal.value.code == 0x804A0000


def test_an_outage_is_an_error_and_then_it_works_again(
    server: LambdaSimulatorServer, system: pyxsp.System, detector: pyxsp.Detector
) -> None:
    faults = httpx.post(f"{server.url}/simulator/api/faults", json={"offline_s": 0.3}, trust_env=False)
    assert faults.status_code == 200

    outages: list[str] = []

    def works() -> bool:
        try:
            return bool(detector.shutter_time == 2.0)
        except pyxsp.RuntimeError as error:
            outages.append(str(error))
            return False

    wait_for("the outage", lambda: not works())
    wait_for("the end of the outage", works)
    assert all("BAD_COMMUNICATION_ERROR" in outage for outage in outages)


def test_faults_that_cannot_be_are_refused_with_the_reason(server: LambdaSimulatorServer) -> None:
    reply = httpx.post(f"{server.url}/simulator/api/faults", json={"thief_at": 3}, trust_env=False)
    assert reply.status_code == 400
    assert "the streamer has the sockets" in reply.text
    assert server.simulator.faults == Faults()


def test_connections_of_threads_that_have_ended_are_closed(system: pyxsp.System) -> None:
    """A streamer has new threads for every acquisition."""
    process = Path("/proc/self/fd")
    system.open_detector("lambda").number_of_frames  # noqa: B018 - a call of this thread
    before = len(list(process.iterdir()))
    for _ in range(20):
        thread = threading.Thread(target=lambda: system.open_detector("lambda").number_of_frames)
        thread.start()
        thread.join()
    # One of the last thread is left, and its other end in the simulator.
    wait_for("hung up connections", lambda: len(list(process.iterdir())) <= before + 2)
