"""The driver's view of its streamer: commands, the newest status, and the wait for one that is still busy."""

from __future__ import annotations

import threading
import time

from maxdaq_tango.detectors.pilatus import streamer_words
from maxdaq_tango.detectors.pilatus.streamer_words import SeriesWish, StreamerStatus
from maxdaq_tango.detectors.streaming.link import StreamerLink
from maxdaq_tango.errors import DetectorRefused, DetectorTimeout

LOOK_TIMEOUT_S = 2.0
"""It answers at once, whatever it is doing."""
TAKEN_S = 2.0
"""Images wait for a receiver that takes none for so long: nobody waits for it any more."""
QUIET_S, POLL_S = 3.0, 0.02
"""How long an earlier series may take to end, and between two looks at that."""


class StreamerSide:
    """The streamer of a driver. Any thread may call. Raises the errors of `StreamerLink`."""

    def __init__(self, link: StreamerLink) -> None:
        self._link = link
        self.last_status: StreamerStatus | None = None
        """As it was seen last; None before that, and from an `arm` to its answer."""
        self._finished = False
        self._taken = 0, 0.0  # images of the finished series that had left, and when that was seen first

    def tell(self, word: str, wish: SeriesWish | None = None) -> StreamerStatus:
        """One command."""
        status = self._link.call(word, StreamerStatus, wish, timeout_s=LOOK_TIMEOUT_S)
        self.last_status = status
        if word != streamer_words.STATUS:
            self._finished = word == streamer_words.FINISH and status.frames_sent > 0  # else nobody receives
            self._taken = status.frames_sent, time.monotonic()
        return status

    def is_being_taken(self) -> bool:
        """Images of a series that has been finished still leave: who closes the file now loses them."""
        if not self._finished:
            return False
        status, now_s = self.tell(streamer_words.STATUS), time.monotonic()
        if status.frames_sent != self._taken[0]:
            self._taken = status.frames_sent, now_s
        self._finished = status.is_open and now_s - self._taken[1] < TAKEN_S
        return self._finished

    def look(self) -> StreamerStatus:
        """What it says. DetectorRefused when it cannot watch its folder."""
        status = self.tell(streamer_words.STATUS)
        if status.trouble:
            raise DetectorRefused(
                "watch the image folder", of=self._link.url, answer=status.trouble, accepted="a folder that is there"
            )
        return status

    def quiet(self) -> StreamerStatus:
        """Nothing of an earlier series may reach the receiver that is about to connect."""
        status, deadline, pause = self.look(), time.monotonic() + QUIET_S, threading.Event()
        while status.is_open:
            if time.monotonic() > deadline:
                raise DetectorTimeout(
                    "end an earlier series", of=self._link.url, answer=f"it is still open after {QUIET_S:g} s"
                )
            self.tell(streamer_words.ABORT)
            pause.wait(POLL_S)
            status = self.look()
        return status

    def close(self) -> None:
        """Hang up."""
        self._link.close()
