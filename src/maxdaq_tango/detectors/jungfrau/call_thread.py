"""One thread in which all calls of a library are made that must not be called by two threads.

A call that hangs cannot be ended from outside. Whoever waits for it is told after his own patience, the next ones as
well, and the thread goes on when the library comes back; what was given up meanwhile is not called any more.

Patience that ends behind another call which has time left says nothing of the detector: that is `CallsBusy`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from maxdaq_tango.errors import DetectorOffline, DetectorTimeout

T = TypeVar("T")
CLOSE_S = 2.0


class CallsBusy(DetectorTimeout):
    """Nothing is known: the call had to wait for another one, which is within its own time."""

    running = ""
    """What the library was asked before."""


class _Job:
    def __init__(self, what: str, call: Callable[[], Any]) -> None:
        self.what, self.call = what, call
        self.done = threading.Event()
        self.given_up = False
        self.value: Any = None
        self.error: BaseException | None = None


class CallThread:
    """Started by the first call; `run` may be called from any thread."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._running: _Job | None = None

    def run(self, what: str, call: Callable[[], T], timeout_s: float) -> T:
        """What `call` returns or raises. DetectorTimeout when it has not come back after `timeout_s`.

        CallsBusy when that was for another call that still has time.
        """
        job = _Job(what, call)
        with self._lock:
            before = self._running
            if self._thread is None:
                # Daemon: a library that hangs must not keep the process.
                self._thread = threading.Thread(target=self._work, args=(self._jobs,), name=self._name, daemon=True)
                self._thread.start()
            self._jobs.put(job)
        if not job.done.wait(timeout_s):
            job.given_up = True
            running = self._running
            # One that had to wait may have begun just now: then it was held up all the same.
            other = before if running is job or running is None else running
            if other is None or other.given_up:
                busy = f" (it is at: {running.what})" if running is not None and running is not job else ""
                raise DetectorTimeout(what, of="slsdet", answer=f"no answer within {timeout_s:g} s{busy}")
            error = CallsBusy(
                what, of="slsdet", answer=f"not within {timeout_s:g} s (it is at: {other.what})", accepted="later"
            )
            error.running = other.what
            raise error
        if job.error is not None:
            raise job.error
        value: T = job.value
        return value

    def close(self) -> None:
        """End the thread after what was asked of it before; the next `run` starts another. May be called twice."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._jobs.put(None)
            self._jobs = queue.SimpleQueue()
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_S)

    def _work(self, jobs: queue.SimpleQueue[_Job | None]) -> None:
        while (job := jobs.get()) is not None:
            if not job.given_up:
                self._running = job
                try:
                    job.value = job.call()
                except Exception as error:
                    job.error = error
                self._running = None
            job.done.set()
        # Whoever has put something behind the end would wait in vain.
        while not jobs.empty():
            if (late := jobs.get()) is not None:
                late.error = DetectorOffline(late.what, of="slsdet", answer="the connection was closed")
                late.done.set()
