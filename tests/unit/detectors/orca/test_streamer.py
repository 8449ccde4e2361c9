"""The streamer of an ORCA with a receiver that is slow, stalled or not there: nothing waits for it without limit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import zmq

from maxdaq_tango.detectors.orca.protocol import SetProperty
from maxdaq_tango.detectors.orca.simulator_server import OrcaSimulatorServer
from maxdaq_tango.detectors.orca.streamer import OrcaStreamer
from maxdaq_tango.model import AcquisitionSettings
from maxdaq_tango.model.hardware import HardwareState
from maxdaq_tango.testing.driver_contract import wait_for

SETTINGS = AcquisitionSettings(exposure_time_s=0.002, frames_per_trigger=40)
FOR_EVER_S = 1000.0
Make = Callable[..., OrcaStreamer]


@pytest.fixture
def server(make_server: Callable[..., OrcaSimulatorServer]) -> OrcaSimulatorServer:
    """Frames of 2 MB: the buffers of the system hold but a few."""
    return make_server(model="quest", rows=1024, columns=1024)


@pytest.fixture
def make(server: OrcaSimulatorServer) -> Iterator[Make]:
    """With the least memory for frames, and connected."""
    with ExitStack() as stack:

        def made(**options: float) -> OrcaStreamer:
            settings = {"ring_nbytes": 0, "pool_nbytes": 0, "patience_s": 0.2, **options}
            streamer = stack.enter_context(OrcaStreamer(library=str(server.library), **settings))  # type: ignore[arg-type]
            streamer.connect()
            return streamer

        yield made


@pytest.fixture
def stalled() -> Iterator[Callable[[OrcaStreamer], zmq.Socket[bytes]]]:
    """A receiver that is connected, and takes nothing until the test does."""
    with zmq.Context() as context:
        sockets = []

        def connected(streamer: OrcaStreamer) -> zmq.Socket[bytes]:
            socket = context.socket(zmq.PULL)
            sockets.append(socket)
            socket.rcvhwm, socket.rcvbuf, socket.linger, socket.rcvtimeo = 1, 65536, 0, 10_000
            socket.connect(f"tcp://127.0.0.1:{streamer.stream_port}")
            return socket

        yield connected
        for socket in sockets:
            socket.close(0)


def run(streamer: OrcaStreamer, *, connected: bool = True) -> None:
    streamer.configure(SETTINGS)
    streamer.arm()
    if connected:
        wait_for("the header taken", lambda: streamer.sender.was_taken(FOR_EVER_S))
    streamer.trigger()


def ends(act: Callable[[], object], within_s: float = 20.0) -> bool:
    thread = threading.Thread(target=act, name="act", daemon=True)
    thread.start()
    thread.join(within_s)
    return not thread.is_alive()


@pytest.mark.parametrize("receiver", ["absent", "stalled"])
def test_it_closes_although_nobody_takes_the_last_series(
    make: Make, stalled: Callable[[OrcaStreamer], object], receiver: str
) -> None:
    streamer = make()
    if receiver == "stalled":
        stalled(streamer)
    run(streamer, connected=receiver == "stalled")
    assert ends(streamer.close)


@pytest.mark.parametrize("asked", ["configure", "arm", "set_property"])
def test_what_a_stalled_receiver_does_not_take_is_given_up_for_the_next_series(
    make: Make, stalled: Callable[[OrcaStreamer], object], asked: str
) -> None:
    streamer = make()
    stalled(streamer)
    run(streamer)
    acts: dict[str, Callable[[], object]] = {
        "configure": lambda: streamer.configure(SETTINGS),
        "arm": streamer.arm,
        "set_property": lambda: streamer.set_property(SetProperty("BINNING", 2)),
    }
    wait_for("the count", lambda: streamer.status().counts.acquired == SETTINGS.frame_count)
    before = streamer.status().counts
    assert before.sent + before.lost_in_ring < before.acquired
    assert ends(acts[asked])
    if asked != "arm":  # which counts anew
        counts = streamer.status().counts
        assert counts.not_sent > 0
        assert counts.sent + counts.not_sent + counts.lost_in_ring == counts.acquired == SETTINGS.frame_count
    assert ends(lambda: run(streamer, connected=False))  # it is stalled still


def test_an_abort_ends_the_waiting_for_a_stalled_receiver(
    make: Make, stalled: Callable[[OrcaStreamer], object]
) -> None:
    streamer = make(patience_s=FOR_EVER_S)
    stalled(streamer)
    run(streamer)
    thread = threading.Thread(target=lambda: streamer.configure(SETTINGS), name="configure", daemon=True)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    streamer.abort()
    thread.join(20)
    assert not thread.is_alive()


def test_a_series_lasts_while_its_frames_are_being_taken(
    make: Make, stalled: Callable[[OrcaStreamer], zmq.Socket[bytes]]
) -> None:
    streamer = make(patience_s=FOR_EVER_S)
    socket = stalled(streamer)
    run(streamer)
    assert streamer.status().state is HardwareState.ACQUIRING
    while b"series_end" not in socket.recv_multipart()[0]:
        pass
    assert streamer.status().state is HardwareState.IDLE


@pytest.mark.parametrize("ending", ["stop", "abort"])
def test_it_lasts_no_longer_than_somebody_wants_it(
    make: Make, stalled: Callable[[OrcaStreamer], object], ending: str
) -> None:
    streamer = make(patience_s=FOR_EVER_S)
    stalled(streamer)
    run(streamer)
    getattr(streamer, ending)()
    assert streamer.status().state is HardwareState.IDLE


def test_a_receiver_that_takes_nothing_any_more_does_not_make_it_last(
    make: Make, stalled: Callable[[OrcaStreamer], object]
) -> None:
    streamer = make()
    stalled(streamer)
    run(streamer)
    wait_for("IDLE", lambda: streamer.status().state is HardwareState.IDLE)
    counts = streamer.status().counts
    assert counts.sent + counts.lost_in_ring < counts.acquired


def test_a_camera_whose_state_cannot_be_read_is_opened_again(make: Make, server: OrcaSimulatorServer) -> None:
    streamer = make()
    server._hang_up()
    assert streamer.status().state is HardwareState.OFFLINE
    streamer.connect()
    assert streamer.status().state is HardwareState.IDLE
