"""Deletes image files that have left, and keeps those of which that is not sure.

ZeroMQ is done with a message when it has given it to the network, and also when it throws it away because its receiver
has gone. So whenever a receiver goes, everything that ZeroMQ still had a moment before stays in the folder, whoever it
was meant for; and so does what is handed over in the second after, as ZeroMQ may not have heard of it everywhere yet.

Out of sight, and not protected: what the network and the receiver itself hold when the receiver dies.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable

import zmq

DOUBT_S = 1.0


class DeliveredFiles:
    """For the sending thread; the counts may be read by any."""

    def __init__(self, lost_peers: Callable[[], int], tell: Callable[[str], None]) -> None:
        """`lost_peers`: receivers that went since it was asked last; a receiver is told of before its messages are
        thrown away. `tell` gets what somebody should know.
        """
        self._lost_peers, self._tell = lost_peers, tell
        self._waiting: deque[tuple[zmq.MessageTracker, str, int]] = deque()
        """Images that ZeroMQ has, with the number of their inode."""
        self._doubt_until_s = float("-inf")
        self.deleted = self.kept = 0

    def __len__(self) -> int:
        """Files that are to be deleted."""
        return len(self._waiting)

    def handed_over(self, tracker: zmq.MessageTracker, path: str, inode: int) -> None:
        """ZeroMQ has got this one."""
        if time.monotonic() < self._doubt_until_s:
            self.kept += 1
        else:
            self._waiting.append((tracker, path, inode))

    def tidy(self) -> None:
        """Delete what has left."""
        looked_at = [(item[0].done, item) for item in self._waiting]
        if self._lost_peers():  # behind the look at the trackers
            self._doubt_until_s = time.monotonic() + DOUBT_S
            if looked_at:
                self.kept += len(looked_at)
                self._waiting.clear()
                self._tell(f"a receiver went: {len(looked_at)} images that it may not have got stay in the folder")
            return
        self._waiting = deque(item for has_left, item in looked_at if not has_left)
        for has_left, (_, path, inode) in looked_at:
            if has_left:
                self._delete(path, inode)

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
