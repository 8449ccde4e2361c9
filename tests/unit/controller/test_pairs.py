"""A controller looks for its pairs in the background, and may be closed meanwhile."""

from __future__ import annotations

import threading
from typing import Any

from maxdaq_tango.controller import pairs as module
from maxdaq_tango.controller.pairs import Pairs


class SlowDetector:
    """Used by us, and slow to be aborted."""

    name = "a/detector/a"

    def __init__(self) -> None:
        self.aborting, self.go_on = threading.Event(), threading.Event()

    def is_used_by_us(self) -> bool:
        return True

    def abort(self) -> None:
        self.aborting.set()
        self.go_on.wait(10.0)


class Receiver:
    name = "a/receiver/a"

    def let_go(self, reason: str) -> None:
        pass


def test_one_that_is_closed_while_it_ends_what_was_left_begins_nothing_afterwards(monkeypatch):
    detector = SlowDetector()
    made: list[Any] = []

    class Made:
        def __init__(self, *args: Any, **options: Any) -> None:
            made.append(self)

        def start(self) -> None:
            pass

    monkeypatch.setattr(module, "CLOSE_S", 0.1)
    monkeypatch.setattr(module, "Executor", Made)
    monkeypatch.setattr(Pairs, "_member", lambda self, name: (detector, Receiver()))
    threads: list[threading.Thread] = []

    def thread(**options: Any) -> threading.Thread:
        threads.append(threading.Thread(**options))
        return threads[-1]

    found = Pairs("a/daq/a", (detector.name,), thread=thread)
    found.start()
    assert detector.aborting.wait(10.0)
    found.close()
    detector.go_on.set()
    threads[0].join(10.0)
    assert not threads[0].is_alive()
    assert not made, "nobody would close it"
