"""The newest frame of a receiver, for whoever wants to show it: at most one is kept, and nobody waits for anybody.

The thread that takes frames puts each one here when it has been handed to the file, which takes no lock and costs some
hundredths of a microsecond; the one before is let go. So memory is bounded by one frame, whoever looks, or does not.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

from maxdaq_tango.model import Frame, Orientation


class Taken(NamedTuple):
    """A frame as it came, still packed."""

    frame: Frame
    orientation: Orientation
    """How it is turned before it is stored."""
    run_number: int


class NewestFrame:
    """`put`, `begin` and `end` belong to the thread that takes frames, all else to whoever shows them."""

    def __init__(self) -> None:
        self._slot: deque[Frame] = deque(maxlen=1)
        self.put = self._slot.append
        """A frame of the series that was begun last."""
        self._changed = threading.Condition()  # guards the next four, and that a frame meets its own orientation
        self._orientation = Orientation()
        self._run_number = 0
        self._flows = False
        self._closed = False

    def begin(self, run_number: int, orientation: Orientation) -> None:
        """Frames of another series come from now on; one of the last series that nobody took is forgotten."""
        with self._changed:
            self._slot.clear()
            self._run_number, self._orientation = run_number, orientation
            self._flows = True
            self._changed.notify_all()

    def end(self) -> None:
        """No more of this series; the last frame waits until it is taken."""
        with self._changed:
            self._flows = False

    def take(self) -> Taken | None:
        """The newest frame that was not taken yet; it is let go here."""
        with self._changed:
            try:
                frame = self._slot.pop()
            except IndexError:
                return None
            return Taken(frame, self._orientation, self._run_number)

    def wait(self) -> bool:
        """Until there may be a frame; False once this is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._flows or self._slot or self._closed)
            return not self._closed

    def close(self) -> None:
        """Whoever waits goes home, and the frame is let go."""
        with self._changed:
            self._closed = True
            self._slot.clear()
            self._changed.notify_all()
