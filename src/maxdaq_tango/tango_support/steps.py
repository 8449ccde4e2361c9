"""Work that a command starts and does not wait for longer than a moment: its outcome is read as an attribute.

A command that runs longer than Tango's 3 s makes every client of the device fail. So a step has a thread, the command
waits for it a bounded time, and whoever wants to know later reads `StepResults` and looks for the number.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from maxdaq_tango.engine.protocol import ErrorText
from maxdaq_tango.errors import DetectorError, MaxdaqError

log = logging.getLogger(__name__)

KEPT = 32
CLOSE_S = 5.0


class StepRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How one step stands; a JSON list of them is the attribute StepResults."""

    number: int
    step: str
    done: bool = False
    error: ErrorText | None = None
    """Set when it is done and has failed."""


@dataclass
class _Step:
    record: StepRecord
    error: MaxdaqError | None = None
    thread: threading.Thread | None = None


class Steps:
    """The steps of one device. Thread-safe."""

    def __init__(self, thread: Callable[..., threading.Thread] = threading.Thread) -> None:
        self._thread = thread
        self._changed = threading.Condition()  # guards the two below
        self._steps: list[_Step] = []
        # From the clock, so that no number means one thing before a restart of the server and another after it.
        self._number = time.time_ns() // 1_000_000

    def run(self, name: str, work: Callable[[], Any], wait_s: float) -> int:
        """Start `work`; returns the number of the step when it is done or after `wait_s`, raises what it raised."""
        with self._changed:
            self._number += 1
            step = _Step(StepRecord(number=self._number, step=name))
            self._steps.append(step)
            self._forget_old_ones()
            step.thread = self._thread(target=self._work, args=(step, work), name=f"step {name}", daemon=True)
            step.thread.start()
            self._changed.wait_for(lambda: step.record.done, wait_s)
        if step.error is not None:
            raise step.error
        return step.record.number

    def is_running(self, *names: str) -> bool:
        """A step of one of these names (of any, without names) is under way."""
        with self._changed:
            return any(not step.record.done and (not names or step.record.step in names) for step in self._steps)

    def records(self) -> list[StepRecord]:
        """The newest steps, oldest first."""
        with self._changed:
            return [step.record for step in self._steps]

    def close(self) -> None:
        """Join what runs, for a few seconds."""
        with self._changed:
            threads = [step.thread for step in self._steps if step.thread is not None and not step.record.done]
        for thread in threads:
            thread.join(CLOSE_S)

    def _forget_old_ones(self) -> None:
        # Never one under way: whoever waits for it would take its absence for a restart of the device.
        done = [step for step in self._steps if step.record.done]
        for step in done[: max(0, len(self._steps) - KEPT)]:
            self._steps.remove(step)

    def _work(self, step: _Step, work: Callable[[], Any]) -> None:
        error: MaxdaqError | None = None
        try:
            work()
        except MaxdaqError as raised:
            error = raised
        except Exception as raised:  # the root of a thread: a bug must be told as well
            log.exception("step %s", step.record.step)
            error = DetectorError(step.record.step, answer=f"{type(raised).__name__}: {raised}")
        with self._changed:
            step.error = error
            told = ErrorText.of_error(error) if error is not None else None
            step.record = StepRecord(number=step.record.number, step=step.record.step, done=True, error=told)
            self._changed.notify_all()
