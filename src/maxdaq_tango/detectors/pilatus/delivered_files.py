"""Deletes image files that have left, and keeps those of which that is not sure.

ZeroMQ is done with a message when it has given it to the network, and also when it throws it away because its receiver
has gone. So whenever a receiver goes, everything that ZeroMQ still had a moment before stays in the folder, whoever it
was meant for; and so does what is handed over in the second after, as ZeroMQ may not have heard of it everywhere yet.

The network holds some megabytes that a receiver has not seen. So within a series the newest images are held back until
as many bytes have left after them as no network holds, and stay as well when a receiver goes. Behind the end message a
receiver that goes is nothing special, and nothing is held back any more.

Out of sight, and not protected: what the receiver itself holds when it dies, and the network behind the end message.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import zmq

DOUBT_S = 1.0
HELD_BACK_BYTES = 64 << 20


class _File(NamedTuple):
    tracker: zmq.MessageTracker
    path: str
    inode: int
    nbytes: int


class DeliveredFiles:
    """For the sending thread; the counts may be read by any."""

    def __init__(self, lost_peers: Callable[[], int], tell: Callable[[str], None]) -> None:
        """`lost_peers`: receivers that went since it was asked last; a receiver is told of before its messages are
        thrown away. `tell` gets what somebody should know.
        """
        self._lost_peers, self._tell = lost_peers, tell
        self._waiting: deque[_File] = deque()
        """Images that ZeroMQ has, with the number of their inode."""
        self._of_ended = 0
        """So many of them, the first, belong to series whose end has been sent."""
        self._held: deque[_File] = deque()
        """Images that the network has, of the series that is under way."""
        self._held_bytes = 0
        self._doubt_until_s = float("-inf")
        self.deleted = self.kept = 0

    def __len__(self) -> int:
        """Files of which it is not decided whether they are deleted."""
        return len(self._waiting) + len(self._held)

    @property
    def must_look(self) -> bool:
        """Some may leave at any moment."""
        return bool(self._waiting)

    def handed_over(self, tracker: zmq.MessageTracker, path: str, inode: int, nbytes: int) -> None:
        """ZeroMQ has got this one."""
        if time.monotonic() < self._doubt_until_s:
            self.kept += 1
        else:
            self._waiting.append(_File(tracker, path, inode, nbytes))

    def series_ended(self, end_was_sent: bool) -> None:
        """The last image of a series has been handed over. Without its end nobody may have got what is held back."""
        self.tidy()
        if not end_was_sent:
            self._keep_all(f"the end of a series was not taken: {len(self)} images of it stay in the folder")
        self._of_ended = len(self._waiting)
        self._let_go_of(0)

    def tidy(self) -> None:
        """Delete what has left."""
        have_left = [file.tracker.done for file in self._waiting]
        if self._lost_peers():  # behind the look at the trackers
            self._doubt_until_s = time.monotonic() + DOUBT_S
            self._keep_all(f"a receiver went: {len(self)} images that it may not have got stay in the folder")
            return
        files, of_ended, self._waiting, self._of_ended = self._waiting, self._of_ended, deque(), 0
        for number, (file, has_left) in enumerate(zip(files, have_left, strict=True)):
            if not has_left:
                self._waiting.append(file)
                self._of_ended += number < of_ended
            elif number < of_ended:
                self._delete(file.path, file.inode)
            else:
                self._held.append(file)
                self._held_bytes += file.nbytes
        self._let_go_of(HELD_BACK_BYTES)

    def _let_go_of(self, most_bytes: int) -> None:
        """Delete the oldest of what is held back, until it is no more than this."""
        while self._held and self._held_bytes > most_bytes:
            file = self._held.popleft()
            self._held_bytes -= file.nbytes
            self._delete(file.path, file.inode)

    def _keep_all(self, why: str) -> None:
        if not len(self):
            return
        self.kept += len(self)
        self._waiting.clear()
        self._held.clear()
        self._held_bytes = self._of_ended = 0
        self._tell(why)

    def _delete(self, path: str, inode: int) -> None:
        try:
            if os.stat(path).st_ino != inode:
                return  # another one has taken its name, and has not been sent yet
            os.unlink(path)
        except FileNotFoundError:
            return
        except OSError as error:
            self._tell(f"delete {path}: {error.strerror}")
            return
        self.deleted += 1
