"""What leaves a streamer, seen by a receiver's socket and by our own decoder."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import zmq

from maxdaq_tango.detectors.streaming import outlet as module
from maxdaq_tango.detectors.streaming.outlet import NOT_COPIED_FROM, StinsSeries, StreamOutlet
from maxdaq_tango.model import Encoding, Frame, FrameFormat, SeriesEnd, SeriesStart, WireEvent
from maxdaq_tango.testing.driver_contract import wait_for
from maxdaq_tango.wire.stins import StinsDecoder


def never() -> bool:
    return False


class Listener:
    """A PULL socket of a receiver."""

    def __init__(self, port: int, high_water: int = 1000) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.rcvhwm = high_water
        self._socket.connect(f"tcp://127.0.0.1:{port}")

    def event(self) -> WireEvent:
        assert self._socket.poll(5000), "nothing came"
        return StinsDecoder().decode(self._socket.recv_multipart())

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def outlet() -> Iterator[StreamOutlet]:
    outlet = StreamOutlet("127.0.0.1", high_water=1)
    yield outlet
    outlet.close()


@pytest.fixture
def listener(outlet: StreamOutlet) -> Iterator[Listener]:
    listener = Listener(outlet.port)
    yield listener
    listener.close()


def frame(number: int, pixels: np.ndarray) -> Frame:
    format = FrameFormat(pixels.shape, str(pixels.dtype), Encoding.NONE, ())
    return Frame(series="", frame_number=number, format=format, blobs=(pixels.data.cast("B"),))


def test_series_are_numbered_through(outlet: StreamOutlet, listener: Listener) -> None:
    series, pixels = StinsSeries(outlet), np.arange(12, dtype=np.uint16).reshape(3, 4)
    numbers: list[int | None] = []
    for _ in range(2):
        assert series.begin("/data/a.h5", {"nimages": 1}, never)
        assert series.frame(frame(0, pixels), never)
        assert series.end(never)
        start, image, end = listener.event(), listener.event(), listener.event()
        assert isinstance(start, SeriesStart)
        assert isinstance(image, Frame)
        assert isinstance(end, SeriesEnd)
        assert (start.filename, start.metadata["nimages"]) == ("/data/a.h5", 1)
        assert bytes(image.blobs[0]) == pixels.tobytes()
        numbers += [start.msg_number, image.msg_number, end.msg_number]
        assert (series.frames_sent, series.frames_lost) == (1, 0)
    assert numbers == [0, 1, 2, 3, 4, 5]


def test_an_end_is_sent_once(outlet: StreamOutlet, listener: Listener) -> None:
    series = StinsSeries(outlet)
    assert series.end(never)  # nothing was begun
    series.begin("", {}, never)
    assert series.end(never)
    assert series.end(never)
    series.begin("", {}, never)
    assert [type(listener.event()) for _ in range(3)] == [SeriesStart, SeriesEnd, SeriesStart]


def test_what_nobody_takes_is_given_up_when_it_is_enough_and_counted(outlet: StreamOutlet) -> None:
    series, enough = StinsSeries(outlet), threading.Event()
    pixels = np.zeros((2, 2), np.uint8)
    timer = threading.Timer(0.05, enough.set)
    timer.start()
    assert not series.begin("", {}, enough.is_set)  # nobody has connected
    timer.join()
    assert series.frame(frame(0, pixels), enough.is_set) is False
    assert (series.frames_sent, series.frames_lost) == (0, 1)


def test_a_message_that_was_given_up_leaves_a_gap_in_the_numbers(outlet: StreamOutlet, listener: Listener) -> None:
    series, pixels = StinsSeries(outlet), np.zeros((2, 2), np.uint8)
    series.begin("", {}, never)
    assert series.frame(frame(0, pixels), lambda: True) is False
    assert series.frame(frame(1, pixels), never)
    start, image = listener.event(), listener.event()
    assert isinstance(start, SeriesStart)
    assert isinstance(image, Frame)
    assert (start.msg_number, image.msg_number, image.frame_number) == (0, 2, 1)


def test_numbers_in_step_with_frames_tell_what_never_came(outlet: StreamOutlet, listener: Listener) -> None:
    series, pixels = StinsSeries(outlet), np.zeros((4, 4), np.uint16)
    for expected in ([0, 3, 1, 3, 4], [5, 6, 7]):
        series.begin("", {}, never)
        first = expected[0]
        for number in expected[1:-1]:
            assert series.frame(frame(number - first - 1, pixels), never, in_step=True)
        series.end(never)
        assert [listener.event().msg_number for _ in expected] == expected


def test_frames_that_never_became_messages_leave_their_numbers_free(outlet: StreamOutlet, listener: Listener) -> None:
    series, pixels = StinsSeries(outlet), np.zeros((2, 2), np.uint8)
    series.begin("", {}, never)
    series.skip(3)
    assert series.frame(frame(3, pixels), never)
    start, image = listener.event(), listener.event()
    assert isinstance(start, SeriesStart)
    assert isinstance(image, Frame)
    assert image.msg_number == start.msg_number + 1 + image.frame_number
    assert (series.frames_sent, series.frames_lost) == (1, 3)


def test_memory_that_is_not_copied_is_free_when_its_tracker_says_so(outlet: StreamOutlet, listener: Listener) -> None:
    series, pixels = StinsSeries(outlet), np.arange(NOT_COPIED_FROM, dtype=np.uint16).reshape(256, -1)
    series.begin("", {}, never)
    tracker = series.frame(frame(0, pixels), never, track=True)
    assert isinstance(tracker, zmq.MessageTracker)
    assert isinstance(listener.event(), SeriesStart)
    image = listener.event()
    tracker.wait(5)
    assert isinstance(image, Frame)
    assert bytes(image.blobs[0]) == pixels.tobytes()


def inside(outlet: StreamOutlet, listener: Listener, pixels: np.ndarray, *, track: bool) -> int:
    """How many images get into ZeroMQ before there is no room, of a peer that takes none."""
    series = StinsSeries(outlet)
    series.begin("", {}, never)
    assert isinstance(listener.event(), SeriesStart)
    for number in range(1000):
        looks = iter(range(25))
        if series.frame(frame(number, pixels), lambda looks=looks: next(looks, None) is None, track=track) is False:
            break
    return series.frames_sent


@pytest.mark.parametrize("track", [True, False])
def test_what_is_inside_zeromq_is_bounded_in_bytes(track: bool) -> None:
    pixels = np.zeros((1 << 20,), np.uint8).reshape(1024, -1)
    counts = []
    for limit in (4 << 20, 1 << 40):
        outlet = StreamOutlet("127.0.0.1", high_water=64, high_water_bytes=limit)
        listener = Listener(outlet.port, high_water=1)
        counts.append(inside(outlet, listener, pixels, track=track))
        outlet.close()  # first: ZeroMQ may hang when it ends at the moment in which a peer goes
        listener.close()
    assert counts[0] + 40 <= counts[1]  # of 64; the network takes the same of both


def test_a_peer_that_goes_with_the_bound_full_holds_up_nothing() -> None:
    outlet = StreamOutlet("127.0.0.1", high_water=64, high_water_bytes=4 << 20)
    listener = Listener(outlet.port, high_water=1)
    pixels = np.zeros((1 << 20,), np.uint8).reshape(1024, -1)
    assert inside(outlet, listener, pixels, track=True) < 1000
    listener.close()
    heir, series, given_up = Listener(outlet.port), StinsSeries(outlet), threading.Event()
    timer = threading.Timer(5.0, given_up.set)
    timer.start()
    for number in range(10):
        assert series.frame(frame(number, pixels), given_up.is_set, track=True)
    timer.cancel()
    timer.join()
    assert isinstance(heir.event(), Frame)
    outlet.close()
    heir.close()


def test_a_message_larger_than_the_bound_passes_alone(listener: Listener, outlet: StreamOutlet) -> None:
    outlet._limit_bytes = 1000
    series, pixels = StinsSeries(outlet), np.zeros((512, 512), np.uint8)
    series.begin("", {}, never)
    for number in range(3):
        assert series.frame(frame(number, pixels), never)
    assert [type(listener.event()) for _ in range(4)] == [SeriesStart, Frame, Frame, Frame]


def test_a_caller_may_change_its_memory_at_once_where_it_does_not_track(
    outlet: StreamOutlet, listener: Listener
) -> None:
    series, pixels = StinsSeries(outlet), np.zeros((512, 512), np.uint8)
    series.begin("", {}, never)
    assert series.frame(frame(0, pixels), never) is True
    pixels[:] = 7
    assert isinstance(listener.event(), SeriesStart)
    image = listener.event()
    assert isinstance(image, Frame)
    assert not any(bytes(image.blobs[0]))


def test_a_peer_that_goes_is_told_of_before_its_messages_count_as_done() -> None:
    outlet = StreamOutlet("127.0.0.1", high_water=64, watch_peers=True)
    listener = Listener(outlet.port, high_water=1)
    series, pixels = StinsSeries(outlet), np.zeros((1024, 1024), np.uint8)
    series.begin("", {}, never)
    assert isinstance(listener.event(), SeriesStart)
    trackers = [series.frame(frame(number, pixels), never, track=True) for number in range(40)]
    trackers.append(series.frame(frame(40, np.zeros((2, 2), np.uint8)), never, track=True))
    assert outlet.lost_peers() == 0
    assert not trackers[-1].done  # however small it is
    listener.close()
    wait_for("ZeroMQ to let go of its messages", lambda: not outlet._socket.poll(0, zmq.POLLOUT) and trackers[-1].done)
    assert outlet.lost_peers() == 1
    assert outlet.lost_peers() == 0
    outlet.close()


def test_a_port_that_is_taken_is_told(outlet: StreamOutlet) -> None:
    with pytest.raises(zmq.ZMQError, match="in use"):
        StreamOutlet("127.0.0.1", outlet.port)


def test_it_closes_twice() -> None:
    outlet = StreamOutlet("127.0.0.1")
    outlet.close()
    outlet.close()


def test_a_library_that_does_not_let_go_holds_up_no_stop(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "END_S", 0.1)
    outlet, may_end = StreamOutlet("127.0.0.1"), threading.Event()
    plain = outlet._context.destroy

    def hang(linger: int) -> None:
        may_end.wait(10)
        plain(linger=linger)

    monkeypatch.setattr(outlet._context, "destroy", hang)
    outlet.close()
    assert f"{outlet.endpoint}: ZeroMQ does not let go" in caplog.text
    may_end.set()
    wait_for("its end", lambda: outlet._context.closed)
