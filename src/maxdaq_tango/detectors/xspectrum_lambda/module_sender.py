"""What leaves for one module: a bounded queue, and the thread that pushes out of it.

The library has a fixed number of places for frames, so frames must come out of it at the detector's pace, also while
the receiver is slow. What waits here is bounded in bytes; when that is full, frames stay in the library.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from maxdaq_tango.detectors.streaming.outlet import StreamOutlet
from maxdaq_tango.model import Buffer

log = logging.getLogger(__name__)

WAIT_S = 0.05
PATIENCE_S = 5.0
"""A receiver that takes nothing for so long, while something waits for it, is not taken to be there."""


class _Message:
    """One that waits."""

    __slots__ = ("dropped", "is_image", "nbytes", "parts", "series")

    def __init__(self, series: int, parts: Sequence[Buffer], nbytes: int, *, is_image: bool) -> None:
        self.series, self.parts, self.nbytes, self.is_image = series, parts, nbytes, is_image
        self.dropped = False


class ModuleSender:
    """Owns the outlet of one module. `start` it, `close` it; any thread may put and look."""

    def __init__(self, number: int, outlet: StreamOutlet, limit_bytes: int) -> None:
        self.number, self.outlet = number, outlet
        self.nbytes = 0
        """That wait."""
        self.waiting = 0
        """Images that do."""
        self.sent = self.given_up = 0
        """Images of the newest series."""
        self.moved_at = -math.inf
        """When the last message of the newest series left, on the monotonic clock."""
        self._waits_since = 0.0
        self.limit_bytes = limit_bytes
        """Of all that wait; one that is larger waits alone."""
        self._queue: deque[_Message] = deque()
        self._current: _Message | None = None
        self._series = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._push_all, name=f"lambda-send-{number}")

    def start(self) -> None:
        """Begin to push."""
        self._thread.start()

    def close(self) -> None:
        """End at once. May be called twice, and before `start`."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        self.outlet.close()

    def begin(self, series: int, header: Sequence[Buffer]) -> None:
        """A new series; what is left of those before is thrown away, as their receiver has gone."""
        if left := self.drop(images_only=False):
            log.warning("module %d: nobody took %d frames of the series before; they are given up", self.number, left)
        with self._changed:
            self._series, self.sent, self.given_up, self.moved_at = series, 0, 0, -math.inf
            self._put(_Message(series, header, 0, is_image=False))

    def image(self, parts: Sequence[Buffer], nbytes: int, enough: Callable[[], bool]) -> bool:
        """Waits for room; False, and counted as given up, when `enough()` says so."""
        with self._changed:
            # Also where there is room: an abort has thrown away what was before this one.
            while not (is_enough := self._closing or enough()):
                if not self.nbytes or self.nbytes + nbytes <= self.limit_bytes:
                    break
                self._changed.wait(WAIT_S)
            if is_enough:
                self.given_up += 1
                return False
            self._put(_Message(self._series, parts, nbytes, is_image=True))
        return True

    def give_up(self) -> None:
        """An image that is not to be sent."""
        with self._changed:
            self.given_up += 1

    def end(self, parts: Sequence[Buffer]) -> None:
        """The series is over."""
        with self._changed:
            self._put(_Message(self._series, parts, 0, is_image=False))

    def drop(self, *, images_only: bool) -> int:
        """Throw away what waits: all of it, or its images alone, which leaves an empty series for the receiver.

        How many images that are, with the one that is just being offered to the receiver.
        """
        with self._changed:
            images = self.waiting
            kept: deque[_Message] = deque()
            for message in self._queue:
                if images_only and not message.is_image:
                    kept.append(message)
                else:
                    self._lose(message)
            self._queue = kept
            if self._current is not None and (self._current.is_image or not images_only):
                self._current.dropped = True
            self._changed.notify_all()
            return images

    @property
    def is_taken(self) -> bool:
        """Images wait, and their receiver takes them: it has taken the header at least."""
        current = self._current
        doomed = current is not None and current.is_image and current.dropped  # and gone in a moment
        if self.waiting <= doomed or self.moved_at == -math.inf:
            return False
        return time.monotonic() - max(self.moved_at, self._waits_since) < PATIENCE_S

    # ---- inside ----

    def _put(self, message: _Message) -> None:
        self._queue.append(message)
        self.nbytes += message.nbytes
        if message.is_image:
            self._waits_since = self._waits_since if self.waiting else time.monotonic()
            self.waiting += 1
        self._changed.notify_all()

    def _lose(self, message: _Message) -> None:
        self.nbytes -= message.nbytes
        self.waiting -= message.is_image
        self.given_up += message.is_image and message.series == self._series

    def _push_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._queue)
                if self._closing:
                    return
                message = self._current = self._queue.popleft()

            def enough(message: _Message = message) -> bool:
                return self._closing or message.dropped

            pushed = self.outlet.push(message.parts, enough)
            with self._changed:
                self._current = None
                if pushed is False:
                    self._lose(message)
                else:
                    self.nbytes -= message.nbytes
                    self.waiting -= message.is_image
                    if message.series == self._series:
                        self.sent += message.is_image
                        self.moved_at = time.monotonic()
                self._changed.notify_all()
