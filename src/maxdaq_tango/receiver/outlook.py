"""Will a run fit on the disk, and can this receiver keep up? Estimated before anything is armed, from what is asked for
and from the last runs.

Room is what the file system says is free: a quota it does not tell. Several receivers on one disk each look for
themselves; whoever arms them adds up `need`. What frames become when they are packed is not known before a run of
frames of that size has ended; until then they count in full.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

import msgspec

from maxdaq_tango.errors import FileError
from maxdaq_tango.model import Counters, FileNaming, Receipt, RunRequest
from maxdaq_tango.transaction.ports import Need

BESIDE_A_FRAME_BYTES = 1 << 10
"""Its places in index, log and columns."""
LOOK_S = 2.0
"""Longest wait for a file system to say what is free: it may never answer, and Prepare must."""
REMEMBERED = 20
"""Runs."""
LEAST_S, LEAST_BYTES = 1.0, 64 << 20
"""Of a run whose rate says something: a shorter one may be in memory alone."""


class Policy(StrEnum):
    """What becomes of a run that will not fit, or is too fast, as far as can be told."""

    REFUSE = "refuse"
    WARN = "warn"
    IGNORE = "ignore"


class Policies(msgspec.Struct, frozen=True, kw_only=True):
    """Of one receiver."""

    room: Policy = Policy.WARN
    rate: Policy = Policy.WARN


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What one run has taught."""

    frame_nbytes: int
    """Of a frame as it is in memory; 0 = not known."""
    ratio: float
    """Bytes in the file for each of them."""
    bytes_hz: float
    """Written; 0 = too short a run to tell."""
    limited: bool
    """The sender had to wait: the receiver, most likely its disk, set the pace."""


class Free(msgspec.Struct, frozen=True, kw_only=True):
    """Of one file system."""

    nbytes: int
    device: int
    """Its number on this computer."""


def free_at(path: str) -> Free:
    """Where a file of that path would lie, its folder made or not. OSError, ValueError; it may not answer."""
    folder = Path(os.path.realpath(path))
    while not folder.is_dir():
        folder = folder.parent
    found = os.statvfs(folder)
    return Free(nbytes=found.f_bavail * found.f_frsize, device=os.stat(folder).st_dev)


class Outlook:
    """Of one receiver. `judge` and `learn` may be called from different threads."""

    def __init__(self, free: Callable[[str], Free] = free_at, look_s: float = LOOK_S) -> None:
        self._ask_free, self._look_s = free, look_s
        self._hanging: dict[str, threading.Thread] = {}
        """Path > the look at it that has not come back."""
        self._past: deque[Past] = deque(maxlen=REMEMBERED)
        self.warnings: tuple[str, ...] = ()
        """About the present or last run."""
        self.need: Need | None = None
        """Of it; None: it is not looked at."""

    def judge(self, request: RunRequest, policies: Policies) -> None:
        """FileError when the run is refused; what is only warned of is in `warnings`."""
        self.warnings, self.need = (), None
        frames, nbytes = request.expected_frames, request.frame_nbytes
        written = request.destination and request.save_raw and request.naming is FileNaming.PREPARE
        if not written or not frames or not nbytes:
            return
        ratio = self.ratio(nbytes)
        needed = int(frames * nbytes * ratio) + frames * BESIDE_A_FRAME_BYTES
        told = [self._room(request, needed, ratio, policies.room), self._rate(request, needed, ratio, policies.rate)]
        self.warnings = tuple(warning for warning in told if warning)

    def learn(self, receipt: Receipt, counters: Counters) -> None:
        """From a run that is over."""
        nbytes = receipt.settings.get("frame_nbytes") or 0
        if not receipt.frames_written or not receipt.bytes_written:
            return
        ratio = receipt.bytes_written / (receipt.frames_written * nbytes) if nbytes else 1.0
        tells = receipt.seconds >= LEAST_S and receipt.bytes_written >= LEAST_BYTES
        self._past.append(
            Past(
                frame_nbytes=nbytes,
                ratio=ratio,
                bytes_hz=receipt.bytes_written / receipt.seconds if tells else 0.0,
                limited=counters.queue_full_count > 0,
            )
        )

    def ratio(self, frame_nbytes: int) -> float:
        """Bytes in the file for each of a frame: the largest of the last runs of such frames; 1 = nobody knows."""
        return max((past.ratio for past in self._past if past.frame_nbytes == frame_nbytes), default=1.0)

    @property
    def able_bytes_hz(self) -> float | None:
        """What the receiver has shown that it can write; None as long as it has never set the pace."""
        if not any(past.limited and past.bytes_hz for past in self._past):
            return None
        return max(past.bytes_hz for past in self._past)

    def _room(self, request: RunRequest, needed: int, ratio: float, policy: Policy) -> str:
        if policy is Policy.IGNORE:
            return ""
        frames = request.expected_frames or 0
        asked = f"write {frames} frames, {_size(needed)} ({_packed(ratio)}), to {request.destination}"
        try:
            home = self._free(os.path.dirname(request.destination))
            spill = self._free(request.spill_directory) if request.spill_directory else home
        except OSError as error:
            return f"{asked}: nobody can tell how much room there is ({error.strerror})"
        both = home.nbytes + (spill.nbytes if spill.device != home.device else 0)
        self.need = Need(nbytes=needed, free_nbytes=both)
        if home.nbytes >= needed:
            return ""
        if both >= needed:
            return f"{asked}: only {_size(home.nbytes)} are free there; the rest goes to {request.spill_directory}"
        beside = f", and {_size(spill.nbytes)} in {request.spill_directory}" if spill.device != home.device else ""
        answer = f"only {_size(home.nbytes)} are free there{beside}"
        if policy is Policy.WARN:
            return f"{asked}: {answer}"
        fitting = frames * both // needed
        raise FileError(
            asked,
            answer=answer,
            accepted=f"{fitting} frames at most, another disk, or property RoomPolicy warn",
        )

    def _free(self, path: str) -> Free:
        """OSError, also where the file system does not answer: that look has a thread of its own, and is left to it."""
        silent = TimeoutError(errno.ETIMEDOUT, "its file system does not answer")
        if (hanging := self._hanging.get(path)) is not None and hanging.is_alive():
            raise silent
        found: list[Free | OSError] = []

        def look() -> None:
            try:
                found.append(self._ask_free(path))
            except OSError as error:
                found.append(error)
            except ValueError as error:
                found.append(OSError(errno.EINVAL, str(error)))

        thread = self._hanging[path] = threading.Thread(target=look, name=f"room at {path}", daemon=True)
        thread.start()
        thread.join(self._look_s)
        if thread.is_alive():
            raise silent
        del self._hanging[path]
        if isinstance(answer := found[0], OSError):
            raise answer
        return answer

    def _rate(self, request: RunRequest, needed: int, ratio: float, policy: Policy) -> str:
        able = self.able_bytes_hz
        period_s, nbytes = request.frame_period_s, request.frame_nbytes or 0
        fits_into_memory = needed <= request.memory_bytes // 2
        if policy is Policy.IGNORE or able is None or not period_s or fits_into_memory:
            return ""
        wanted = nbytes * ratio / period_s
        if wanted <= able:
            return ""
        most = " at most" if request.triggered else ""
        asked = f"write {1 / period_s:.4g} frames/s{most}, {_size(wanted)}/s ({_packed(ratio)})"
        answer = f"in the last {len(self._past)} runs the receiver wrote {_size(able)}/s at best"
        if policy is Policy.WARN or request.triggered:  # triggers may come more slowly than the detector could
            return f"{asked}: {answer}"
        raise FileError(
            asked,
            answer=answer,
            accepted=f"{able / (nbytes * ratio):.4g} frames/s at most, or property RatePolicy warn",
        )


def _packed(ratio: float) -> str:
    return "packed as in the last runs" if ratio != 1.0 else "counted unpacked"


def _size(nbytes: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if nbytes >= size:
            return f"{nbytes / size:.3g} {unit}"
    return f"{nbytes / 1e3:.3g} kB"
