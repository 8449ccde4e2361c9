"""Tells which files are renamed into a folder: Linux' inotify, by the C library that Python is linked to.

Only whole files matter, so only IN_MOVED_TO is listened to: who writes an image writes it elsewhere on the same file
system and renames it in. Events get lost when their queue is full; then, and after the folder was away, it says so, and
the folder has to be looked through.

Source: inotify(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct

IN_MOVED_TO = 0x80
IN_DELETE_SELF, IN_MOVE_SELF, IN_UNMOUNT = 0x400, 0x800, 0x2000
IN_Q_OVERFLOW, IN_IGNORED, IN_ISDIR = 0x4000, 0x8000, 0x40000000
IN_ONLYDIR = 0x01000000
_GONE = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED
_HEAD = struct.Struct("iIII")
READ_BYTES = 1 << 16
AWAY_LOOK_S = 0.2
"""Between two looks for a folder that is not there."""


class FolderWatch:
    """`wait` from one thread; `wake` and `trouble` from any; `close` when that thread has ended."""

    def __init__(self, folder: str) -> None:
        """The folder need not be there yet. OSError where there is no inotify."""
        self.folder = folder
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._inotify < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._woken, self._waking = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._watch = -1
        self.trouble = "not looked at yet"
        """Why the folder is not watched; "" while it is."""
        self._add()

    def wait(self, timeout_s: float) -> tuple[list[str], bool]:
        """Names of files that have come in, in that order; and whether some may have been missed."""
        came_back = self._watch < 0 and self._add()
        if self._watch < 0:
            timeout_s = min(timeout_s, AWAY_LOOK_S)
        readable, _, _ = select.select([self._inotify, self._woken], [], [], 0.0 if came_back else timeout_s)
        if self._woken in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(self._woken, 4096)
        names, missed = self._read() if self._inotify in readable else ([], False)
        return names, missed or came_back

    def wake(self) -> None:
        """`wait` returns at once."""
        with contextlib.suppress(OSError):  # full: it is awake anyway
            os.write(self._waking, b"!")

    def close(self) -> None:
        """Let go of everything."""
        for descriptor in (self._inotify, self._woken, self._waking):
            os.close(descriptor)

    def _add(self) -> bool:
        """True when the folder is watched from now on."""
        mask = IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR
        self._watch = self._libc.inotify_add_watch(self._inotify, os.fsencode(self.folder), mask)
        if self._watch < 0:
            self.trouble = f"{self.folder}: {os.strerror(ctypes.get_errno())}"
            return False
        # Moved and deleted folders are still watched by their old number, of which nothing is to be heard any more.
        self.trouble = ""
        return True

    def _read(self) -> tuple[list[str], bool]:
        names, missed = [], False
        try:
            data = os.read(self._inotify, READ_BYTES)
        except BlockingIOError:
            return [], False
        at = 0
        while at < len(data):
            watch, mask, _, length = _HEAD.unpack_from(data, at)
            name = data[at + _HEAD.size : at + _HEAD.size + length].rstrip(b"\0")
            at += _HEAD.size + length
            if mask & IN_Q_OVERFLOW:
                missed = True
            elif watch != self._watch:
                continue
            elif mask & _GONE:
                if mask & IN_MOVE_SELF:
                    self._libc.inotify_rm_watch(self._inotify, watch)
                self._watch, self.trouble = -1, f"{self.folder}: the folder has gone"
            elif mask & IN_MOVED_TO and not mask & IN_ISDIR:
                names.append(os.fsdecode(name))
        return names, missed
