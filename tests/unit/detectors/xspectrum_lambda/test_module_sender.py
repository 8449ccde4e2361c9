"""The queue before one module's socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import zmq

from maxdaq_tango.detectors.streaming.outlet import StreamOutlet
from maxdaq_tango.detectors.xspectrum_lambda.module_sender import ModuleSender
from maxdaq_tango.testing.driver_contract import wait_for


def never() -> bool:
    return False


@pytest.fixture
def sender() -> Iterator[ModuleSender]:
    sender = ModuleSender(0, StreamOutlet("127.0.0.1", high_water=1), limit_bytes=100)
    sender.start()
    yield sender
    sender.close()


class Receiver:
    def __init__(self, port: int) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.rcvhwm = 1
        self._socket.connect(f"tcp://127.0.0.1:{port}")

    def take(self, count: int) -> list[bytes]:
        taken = []
        for _ in range(count):
            assert self._socket.poll(5000), f"only {taken} came"
            taken.append(self._socket.recv_multipart()[0])
        return taken

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def receiver(sender: ModuleSender) -> Iterator[Receiver]:
    receiver = Receiver(sender.outlet.port)
    yield receiver
    receiver.close()


def test_a_series_leaves_in_its_order(sender: ModuleSender, receiver: Receiver) -> None:
    sender.begin(1, [b"header"])
    for name in (b"a", b"b"):
        assert sender.image([name], 10, never)
    sender.end([b"end"])
    assert receiver.take(4) == [b"header", b"a", b"b", b"end"]
    wait_for("the count", lambda: sender.sent == 2)
    assert (sender.nbytes, sender.given_up) == (0, 0)


def test_who_brings_too_much_waits_until_there_is_room(sender: ModuleSender) -> None:
    sender.begin(1, [b"header"])
    put = []

    def bring() -> None:
        put.extend(sender.image([b"%d" % number], 60, never) for number in range(8))

    bringing = threading.Thread(target=bring, name="brings")
    bringing.start()
    wait_for("a full queue", lambda: sender.nbytes == 60)
    receiver = Receiver(sender.outlet.port)
    assert receiver.take(9) == [b"header", *(b"%d" % number for number in range(8))]
    bringing.join(5)
    assert put == [True] * 8
    receiver.close()


def test_what_finds_no_room_before_it_is_enough_is_given_up_and_counted(sender: ModuleSender) -> None:
    sender.begin(1, [b"header"])
    assert sender.image([b"a"], 60, never)
    enough = threading.Event()
    timer = threading.Timer(0.1, enough.set)
    timer.start()
    assert not sender.image([b"b"], 60, enough.is_set)
    timer.join()
    assert sender.given_up == 1


def test_one_frame_larger_than_the_queue_still_passes(sender: ModuleSender, receiver: Receiver) -> None:
    sender.begin(1, [b"header"])
    assert sender.image([b"large"], 1000, never)
    assert receiver.take(2) == [b"header", b"large"]


def test_an_abort_throws_images_away_and_leaves_header_and_end(sender: ModuleSender) -> None:
    sender.begin(1, [b"header"])
    for name in (b"a", b"b"):
        sender.image([name], 10, never)
    sender.drop(images_only=True)
    sender.end([b"end"])
    assert (sender.nbytes, sender.given_up) == (0, 2)
    receiver = Receiver(sender.outlet.port)
    assert receiver.take(2) == [b"header", b"end"]
    receiver.close()


def test_the_next_series_throws_away_what_is_left_of_the_one_before(sender: ModuleSender) -> None:
    sender.begin(1, [b"header 1"])
    sender.image([b"a"], 10, never)
    sender.end([b"end 1"])
    sender.begin(2, [b"header 2"])
    sender.image([b"b"], 10, never)
    sender.end([b"end 2"])
    receiver = Receiver(sender.outlet.port)
    assert receiver.take(3) == [b"header 2", b"b", b"end 2"]
    wait_for("the count", lambda: sender.sent == 1)
    assert sender.given_up == 0  # that of the series before is no business of this one
    receiver.close()


def test_closing_frees_who_waits(sender: ModuleSender) -> None:
    sender.begin(1, [b"header"])
    sender.image([b"a"], 60, never)
    put: list[bool] = []
    waiting = threading.Thread(target=lambda: put.append(sender.image([b"b"], 60, never)), name="waits")
    waiting.start()
    sender.close()
    sender.close()
    waiting.join(5)
    assert put == [False]


def test_what_comes_behind_an_abort_is_not_sent_although_there_is_room(
    sender: ModuleSender, receiver: Receiver
) -> None:
    sender.begin(1, [b"header"])
    assert sender.image([b"a"], 10, never)
    assert receiver.take(2) == [b"header", b"a"]
    sender.drop(images_only=True)
    assert not sender.image([b"c"], 10, lambda: True)  # or the receiver would have a, c, and never b
    sender.end([b"end"])
    assert receiver.take(1) == [b"end"]
    assert sender.given_up == 1
