"""Ctrl-C and its relatives as a condition to wait on, so that no instant is a bad one.

A KeyboardInterrupt can land between starting a process and writing down that it was started. Here a signal only sets
a flag; every wait of the launcher is a wait on that flag, and `check` stands between any two steps.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody wants us to end. Not an Exception, so that nobody who catches errors swallows it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_status(self) -> int:
        """What a shell expects of a program that a signal ended."""
        return 128 + self.number


class Interruption:
    """The flag. Without `catch_signals` it is one that only `request` sets, which is what tests use."""

    def __init__(self) -> None:
        self._flag = threading.Event()
        self._number = int(signal.SIGTERM)
        self.count = 0
        """How often we were asked: the second time people are in a hurry."""

    def request(self, number: int = signal.SIGTERM) -> None:
        """Ask for the end."""
        if not self.count:
            self._number = number
        self.count += 1
        self._flag.set()

    def check(self) -> None:
        """Raise Interrupted when somebody asked."""
        if self._flag.is_set():
            raise Interrupted(self._number)

    def wait(self, seconds: float) -> None:
        """Let time pass; raise Interrupted as soon as somebody asks."""
        self._flag.wait(seconds)
        self.check()

    def wait_until(self, condition: Callable[[], bool], deadline_s: float, interval_s: float = 0.02) -> bool:
        """Look at `condition` until it is true or `deadline_s` have passed; says whether it came true."""
        end = monotonic() + deadline_s
        while True:
            self.check()
            if condition():
                return True
            if monotonic() >= end:
                return False
            self.wait(interval_s)

    @contextlib.contextmanager
    def catch_signals(self) -> Iterator[None]:
        """SIGINT, SIGTERM and SIGHUP set the flag while this is open. Main thread only, as Python wants it."""

        def handler(number: int, frame: FrameType | None) -> None:
            self.request(number)

        before = {number: signal.signal(number, handler) for number in SIGNALS}
        try:
            yield
        finally:
            for number, old in before.items():
                signal.signal(number, old)
