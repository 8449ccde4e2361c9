"""Frames and bytes a second from counters that somebody looks at now and then. Pure."""

from __future__ import annotations

from collections import deque

from maxdaq_tango.model import Counters

WINDOW_S = 1.0


class RateMeter:
    """Rates over the last second of looks; a new run begins anew."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, Counters]] = deque()
        self.frames_hz = 0.0
        self.bytes_hz = 0.0

    def update(self, counters: Counters, now_s: float) -> None:
        """One look at `now_s`, monotonic."""
        if self._looks and self._looks[-1][1].run_number != counters.run_number:
            self._looks.clear()
        self._looks.append((now_s, counters))
        while len(self._looks) > 2 and now_s - self._looks[1][0] >= WINDOW_S:
            self._looks.popleft()
        then_s, then = self._looks[0]
        passed_s = now_s - then_s
        if passed_s <= 0:
            self.frames_hz = self.bytes_hz = 0.0
            return
        self.frames_hz = (counters.frames_received - then.frames_received) / passed_s
        self.bytes_hz = (counters.bytes_received - then.bytes_received) / passed_s
