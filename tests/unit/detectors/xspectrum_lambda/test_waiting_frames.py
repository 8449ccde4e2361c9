"""Frames that wait for a receiver: one that never comes, that stalls, or that is slow; and ends that meet an arm."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from lambda_probes import ModuleProbes
from maxdaq_tango.detectors.streaming.outlet import StreamOutlet
from maxdaq_tango.detectors.xspectrum_lambda import acquisition, conductor, module_sender
from maxdaq_tango.detectors.xspectrum_lambda.client import LambdaClient
from maxdaq_tango.detectors.xspectrum_lambda.protocol import State
from maxdaq_tango.detectors.xspectrum_lambda.simulator import SimulatorOptions
from maxdaq_tango.detectors.xspectrum_lambda.simulator_server import LambdaSimulatorServer
from maxdaq_tango.detectors.xspectrum_lambda.streamer import LambdaStreamer
from maxdaq_tango.errors import DetectorError, DetectorRefused
from maxdaq_tango.model import ModuleEnd, ModuleFrame, ModuleStart, TriggerMode
from maxdaq_tango.testing.driver_contract import wait_for
from maxdaq_tango.wire.lambda_modules import LambdaModulesDecoder
from maxdaq_tango.wire.marked import mark

LIBRARY = "maxdaq_tango.detectors.xspectrum_lambda.simulated_pyxsp"
SMALL_QUEUE = {"compression": "none", "queue_bytes": 3 * 2000}
"""Room for five frames a module."""
FRAME = 8 * 24 * 2
LARGE: dict[str, Any] = {"modules": 1, "rows": 256, "columns": 256, "streamer": {"compression": "none"}}
"""128 KiB a frame: sixty of them do not fit into the buffers of the system and of ZeroMQ."""


class SlowReceiver:
    """A PULL for one module that takes as little as it can."""

    def __init__(self, port: int) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.rcvhwm, self._socket.rcvbuf = 1, 4096
        self._socket.connect(f"tcp://127.0.0.1:{port}")

    def series(self, pause_s: float = 0.0) -> list[int]:
        """Numbers of the frames of the next series."""
        numbers: list[int] = []
        while True:
            assert self._socket.poll(10_000), f"nothing came after {numbers}"
            event = LambdaModulesDecoder().decode([mark(0), *self._socket.recv_multipart()])
            if isinstance(event, ModuleEnd):
                return numbers
            assert isinstance(event, ModuleStart if not numbers and not isinstance(event, ModuleFrame) else ModuleFrame)
            if isinstance(event, ModuleFrame):
                numbers.append(event.frame_number)
                time.sleep(pause_s)  # a receiver that works on it

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def slow(make_stand: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, SlowReceiver]]:
    """A stand of one module with large frames, sixty configured, and its receiver."""
    monkeypatch.setattr(conductor, "StreamOutlet", functools.partial(StreamOutlet, high_water=1))
    stand = make_stand(**LARGE).ready()
    configured = stand.configured(frames_per_trigger=60)
    receiver = SlowReceiver(configured.ports[0])
    yield stand, receiver
    receiver.close()


def begun(act: Callable[[], Any]) -> tuple[threading.Thread, list[Exception]]:
    """In a thread, with what it raises."""
    errors: list[Exception] = []

    def run() -> None:
        try:
            act()
        except DetectorError as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="acts")
    thread.start()
    return thread, errors


# --- nobody takes them ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [6, 100])
def test_a_series_larger_than_the_queue_that_nobody_receives_ends_and_says_so(
    make_stand: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, frames: int
) -> None:
    monkeypatch.setattr(acquisition, "GIVE_UP_S", 0.4, raising=False)
    stand = make_stand(streamer=SMALL_QUEUE).ready()
    stand.configured(frames_per_trigger=frames)
    stand.client.arm()
    triggering, errors = begun(lambda: stand.client.trigger(1.0))
    triggering.join(10)
    ended = not triggering.is_alive()
    if not ended:
        stand.client.abort()
        triggering.join()
    assert ended
    assert "nobody took a frame of modules [0, 1, 2]" in str(errors[0])
    status = stand.status()
    assert status.state is State.IDLE
    assert "nobody took a frame" in status.message
    assert "5 frames of module 0, 5 frames of module 1" in status.message
    for module in status.modules:
        assert (module.taken, module.given_up, module.queued_bytes) == (frames, frames - 5, 5 * FRAME)
    assert stand.unreleased() == 0


def test_an_external_series_that_nobody_receives_ends_as_well(
    make_stand: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acquisition, "GIVE_UP_S", 0.4, raising=False)
    stand = make_stand(streamer=SMALL_QUEUE).ready()
    stand.configured(frames_per_trigger=20, trigger_mode=TriggerMode.EXTERNAL_MULTI)
    stand.client.arm()
    wait_for("the detector waiting", lambda: stand.server.simulator._exposures is not None)
    stand.edge()
    wait_for("the end", lambda: stand.status().state is State.IDLE)
    assert [module.given_up for module in stand.status().modules] == [15] * 3


def test_a_module_that_nobody_receives_costs_the_others_nothing(
    make_stand: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acquisition, "GIVE_UP_S", 0.4, raising=False)
    stand = make_stand(streamer=SMALL_QUEUE).ready()
    configured = stand.configured(frames_per_trigger=20)
    with ModuleProbes(configured.ports[:2]) as probes:
        stand.client.arm()
        with pytest.raises(DetectorRefused, match=r"nobody took a frame of modules \[2\]"):
            stand.client.trigger(1.0)
        assert [probes.series(module).numbers for module in (0, 1)] == [list(range(20))] * 2
    assert [module.given_up for module in stand.status().modules] == [0, 0, 15]


def test_frames_that_an_abort_throws_away_are_counted_wherever_they_are(make_stand: Callable[..., Any]) -> None:
    stand = make_stand(streamer=SMALL_QUEUE).ready()
    stand.configured(frames_per_trigger=40)
    stand.client.arm()
    triggering, _ = begun(lambda: stand.client.trigger(1.0))
    wait_for("the last exposure", lambda: stand.server.simulator._next_nr == 41)
    stand.client.abort()
    triggering.join()
    assert [(module.taken, module.given_up) for module in stand.status().modules] == [(40, 40)] * 3


def test_what_is_left_of_the_series_before_is_told_when_it_is_thrown_away(
    stand: Any, caplog: pytest.LogCaptureFixture
) -> None:
    stand.configured(frames_per_trigger=3)
    for _ in range(2):
        stand.client.arm()
        with caplog.at_level(logging.WARNING):
            stand.client.trigger(1.0)
    assert "module 1: nobody took 3 frames of the series before; they are given up" in caplog.text


@pytest.mark.parametrize("receives", ["nobody", "one that is stalled"])
def test_closing_ends_however_many_frames_wait(
    make_stand: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, receives: str
) -> None:
    monkeypatch.setattr(conductor, "StreamOutlet", functools.partial(StreamOutlet, high_water=1))
    options = {**LARGE, "streamer": {"compression": "none", "queue_bytes": 1 << 20}}
    stand = make_stand(**options).ready()
    configured = stand.configured(frames_per_trigger=60)
    receiver = SlowReceiver(configured.ports[0]) if receives != "nobody" else None
    stand.client.arm()
    triggering, _ = begun(lambda: stand.client.trigger(1.0))
    wait_for("a full queue", lambda: stand.status().modules[0].queued_bytes > (1 << 20) - (1 << 17))
    closing = threading.Thread(target=stand.streamer.close, name="closes")
    closing.start()
    closing.join(10)
    assert not closing.is_alive()
    triggering.join(10)
    assert not triggering.is_alive()
    if receiver is not None:
        receiver.close()


# --- a receiver takes them --------------------------------------------------------------------------------------------


def test_while_a_receiver_takes_what_waits_the_state_is_acquiring(slow: tuple[Any, SlowReceiver]) -> None:
    stand, receiver = slow
    stand.client.arm()
    stand.client.trigger(1.0)
    came: list[list[int]] = []
    taking = threading.Thread(target=lambda: came.append(receiver.series(0.01)), name="takes")
    taking.start()
    seen = []
    while True:
        status = stand.status()
        seen.append(status.state)
        if not status.modules[0].queued_bytes:
            break
        assert status.state is State.ACQUIRING
    assert len(seen) > 3
    wait_for("IDLE", lambda: stand.status().state is State.IDLE)
    taking.join()
    assert came == [list(range(60))]


def test_a_receiver_that_is_slow_is_waited_for_however_long_the_series_takes_it(
    make_stand: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acquisition, "GIVE_UP_S", 1.5, raising=False)
    monkeypatch.setattr(conductor, "StreamOutlet", functools.partial(StreamOutlet, high_water=1))
    options = {**LARGE, "streamer": {"compression": "none", "queue_bytes": 1 << 20}}
    stand = make_stand(**options).ready()
    receiver = SlowReceiver(stand.configured(frames_per_trigger=60).ports[0])
    stand.client.arm()
    triggering, errors = begun(lambda: stand.client.trigger(1.0))
    assert receiver.series(0.05) == list(range(60))
    triggering.join()
    assert errors == []
    assert stand.status().modules[0].given_up == 0
    receiver.close()


def test_the_next_series_waits_until_the_last_frame_of_the_one_before_is_taken(slow: tuple[Any, SlowReceiver]) -> None:
    stand, receiver = slow
    came: list[list[int]] = []
    taking = threading.Thread(target=lambda: came.extend(receiver.series(0.01) for _ in range(2)), name="takes")
    taking.start()
    for _ in range(2):
        stand.client.arm()
        stand.client.trigger(1.0)
    taking.join()
    assert came == [list(range(60))] * 2


def test_a_receiver_that_takes_nothing_any_more_is_not_waited_for(
    slow: tuple[Any, SlowReceiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_sender, "PATIENCE_S", 0.3, raising=False)
    stand, _ = slow
    stand.client.arm()
    stand.client.trigger(1.0)
    wait_for("IDLE", lambda: stand.status().state is State.IDLE)
    status = stand.status()
    assert status.modules[0].queued_bytes > 0
    assert "wait for a receiver, and none takes them" in status.message
    stand.client.arm()
    stand.client.abort()


def test_an_abort_throws_away_what_waits_of_a_series_that_is_over(slow: tuple[Any, SlowReceiver]) -> None:
    stand, _ = slow
    stand.client.arm()
    stand.client.trigger(1.0)
    assert stand.status().state is State.ACQUIRING
    stand.client.abort()
    assert stand.status().state is State.IDLE
    wait_for("an empty queue", lambda: not stand.status().modules[0].queued_bytes)
    (module,) = stand.status().modules
    assert (module.sent + module.given_up, module.queued_bytes) == (60, 0)
    assert module.given_up > 0


# --- half way ---------------------------------------------------------------------------------------------------------


def test_an_abort_that_comes_while_arm_waits_for_another_command_is_not_lost(stand: Any) -> None:
    stand.configured()
    lock, came = threading.Lock(), threading.Event()

    class Slow:
        def __enter__(self) -> None:
            came.set()
            lock.acquire()

        def __exit__(self, *_: Any) -> None:
            lock.release()

    stand.streamer.conductor._working = Slow()
    with lock:
        arming, errors = begun(stand.client.arm)
        assert came.wait(10)
        stand.client.abort()
    arming.join(10)
    assert "ended meanwhile" in str(errors[0])
    assert stand.status().state is State.IDLE


def test_a_look_that_began_before_arm_and_fails_after_it_leaves_the_series_armed(
    stand: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.configured(frames_per_trigger=2, trigger_mode=TriggerMode.EXTERNAL_MULTI)
    looking, armed = threading.Event(), threading.Event()
    system, looks = stand.streamer.conductor._system, []
    is_busy = system.is_busy

    def slow_look() -> bool:
        if threading.current_thread().name.startswith("lambda-series"):
            return bool(is_busy())
        looking.set()
        assert armed.wait(10)
        raise DetectorRefused("read is_busy", answer="it was another moment")

    time.sleep(conductor.IDLE_LOOK_S)  # until the last look is old
    monkeypatch.setattr(system, "is_busy", slow_look)
    other = LambdaClient("127.0.0.1", stand.streamer.port)
    watching = threading.Thread(target=lambda: looks.append(other.status()), name="watches")
    watching.start()
    assert looking.wait(10)
    stand.client.arm()
    armed.set()
    watching.join(10)
    monkeypatch.setattr(system, "is_busy", is_busy)
    assert (looks[0].frames_acquired, looks[0].ready_for_trigger) == (0, False)
    assert stand.status().state is State.ARMED
    wait_for("the detector waiting", lambda: stand.server.simulator._exposures is not None)
    stand.edge()
    wait_for("the frames", lambda: stand.status().frames_acquired == 2)
    other.close()


def test_one_look_never_mixes_two_series(stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stand.configured(frames_per_trigger=3)
    stand.client.arm()
    stand.client.trigger(1.0)
    real, armed = stand.streamer.conductor._look, []

    def look(*arguments: Any) -> Any:
        if not armed:
            armed.append(stand.streamer.conductor.arm())
        return real(*arguments)

    monkeypatch.setattr(stand.streamer.conductor, "_look", look)
    status = stand.status()
    assert (status.state, status.frames_acquired) in ((State.IDLE, 3), (State.ARMED, 0))
    assert (stand.status().state, stand.status().frames_acquired) == (State.ARMED, 0)


# --- a detector that comes late ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ports", [1, 3])
def test_modules_of_a_detector_that_comes_late_share_the_memory_and_have_a_port_each(ports: int) -> None:
    options = SimulatorOptions(modules=2, rows=8, columns=24)
    with LambdaSimulatorServer(options) as server:
        port = server.http_port
    system = f"http://127.0.0.1:{port}"
    with LambdaStreamer(library=LIBRARY, system=system, queue_bytes=4000, stream_ports=(0,) * ports) as streamer:
        client = LambdaClient("127.0.0.1", streamer.port)
        with LambdaSimulatorServer(options, http_port=port):
            client.connect()
            assert [sender.limit_bytes for sender in streamer.conductor._senders] == [2000, 2000]
            assert len(streamer.conductor.stream_ports) == 2
        client.close()
