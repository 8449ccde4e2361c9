"""All connections of a detector as one stream: headers, parts and ends of modules become one of each. Pure.

Connections are read one after the other, so they are never at the same message: one may have brought the whole series
before the first message of another has been looked at. Therefore

- a series begins when the headers of all modules are here, or after the wait; with its first image where the format has
  no headers;
- it ends when all connections have ended, or when some have and nothing has come from the others for the wait;
- what a connection brings of the next series meanwhile is `is_ahead`: it is kept by the caller until this one is over.

`tick` lets time pass. It must be told only moments at which all that had arrived was fed: a slow disk is no silence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import (
    DamagedFrame,
    Frame,
    ModuleEnd,
    ModuleEvent,
    ModuleFrame,
    ModuleStart,
    SeriesEnd,
    SeriesStart,
)
from maxdaq_tango.pipeline.assembly import MOST_BLANK_BYTES, Assembler, Made
from maxdaq_tango.pipeline.numbering import Numbering
from maxdaq_tango.wire.lambda_modules import GEOMETRY

Given = SeriesStart | Frame | SeriesEnd | WireError
"""What a decoder of whole frames would have made; an error is a part that could not be used, or a DamagedFrame."""
NEXT_SERIES = SeriesStart(series="")
"""In place of an end: no connection has said that the series is over, but all that still speak are at the next one."""


class _Link:
    """What one connection has brought of the series."""

    def __init__(self) -> None:
        self.header: SeriesStart | None = None
        self.numbering = Numbering()
        self.doubtful: ModuleFrame | None = None
        self.first_number: int | None = None
        self.before: tuple[int, int] | None = None
        """First and newest number of an earlier series that has not ended here: the rest of it may still come."""
        self.heard = False
        """It has brought a part."""
        self.newest = -1
        self.end_number: int | None = None
        self.ended = False
        self.ahead = False

    @property
    def is_over(self) -> bool:
        return self.ended or self.ahead


class ModuleStream:
    """One series. One thread."""

    def __init__(
        self,
        sources: int,
        *,
        headed: bool,
        wait_s: float,
        limit_bytes: int,
        holds: Callable[[int], bool],
        most_blank_bytes: int = MOST_BLANK_BYTES,
    ) -> None:
        """`headed`: every module sends a header of its own (STINS). The others as `Assembler` takes them."""
        self.assembler: Assembler | None = None
        """None before the first part."""
        self.first_number: int | None = None
        """Number of the first frame of the series, as far as any module has told."""
        self.out_of_series = 0
        """Messages of the series before, older than the header of their module, or of an earlier life of its sender."""
        self.wait_s = wait_s
        self._headed = headed
        self._limits = {"limit_bytes": limit_bytes, "most_blank_bytes": most_blank_bytes}
        self._holds = holds
        self._links = [_Link() for _ in range(sources)]
        self._start: SeriesStart | None = None
        self._finished = False
        self._newest = -1
        self._gathering_since: float | None = None
        self._over_since: float | None = None
        self._last_at = 0.0

    def is_ahead(self, event: ModuleEvent, now: float) -> bool:
        """It belongs to the next series, and so does all that this connection brings after it."""
        link = self._links[event.source]
        if not link.ahead:
            if isinstance(event, ModuleStart):
                link.ahead = self._is_next_header(link, event.start)
            elif isinstance(event, ModuleFrame) and not self._headed and not self._is_left_over(link, event):
                link.ahead = self._is_next_part(link, event)
            if link.ahead and self._over_since is None:
                self._over_since = now
        return link.ahead

    def is_stranger(self, part: ModuleFrame) -> bool:
        """It is of an earlier series, or older than the header of its module, or there was none."""
        link = self._links[part.source]
        if not self._headed:
            return self._is_left_over(link, part)
        header = link.header
        if header is None:
            return True
        return header.msg_number is not None and part.msg_number is not None and part.msg_number <= header.msg_number

    def feed(self, event: ModuleEvent, now: float) -> list[Given]:
        """A message that is not ahead; returns what can be said now of the whole detector."""
        if isinstance(event, ModuleStart):
            return self._on_header(event, now)
        if isinstance(event, ModuleEnd):
            return self._on_end(event, now)
        return self._on_part(event, now)

    def tick(self, now: float) -> list[Given]:
        """Let time pass; see the module for `now`."""
        if self._start is None:
            since = self._gathering_since
            return [] if since is None or now - since < self.wait_s else [self._begin()]
        given: list[Given] = []
        if self.assembler is not None:
            if self.assembler.leaders():
                self._last_at = now  # they are not listened to, so they are not silent
            given += self.assembler.due(now)
        waits = self._over_since is not None and not self._finished
        if waits and now - max(self._over_since or 0.0, self._last_at) >= self.wait_s:
            given += self._finish()
        return given

    def follow(self, earlier: ModuleStream) -> None:
        """The series before this one: where it has not ended the rest of it may still come."""
        for link, old in zip(self._links, earlier._links, strict=True):
            if not old.is_over:
                link.before = old.before if old.first_number is None else (old.first_number, old.newest)

    @property
    def is_untouched(self) -> bool:
        """Nothing of this series has come: no part, and no header."""
        return self.assembler is None and all(link.header is None for link in self._links)

    @property
    def all_over(self) -> bool:
        """Every connection has ended the series, or is at the next one."""
        return all(link.is_over for link in self._links)

    def cut(self) -> list[Given]:
        """This series is over, whoever has not ended it."""
        if self._finished:
            return []
        begun = [] if self._start is not None else [self._begin()]
        return [*begun, *self._finish()]

    def flush(self) -> list[Made]:
        """What has come of frames that are not complete: the series is over."""
        self.out_of_series += sum(link.doubtful is not None for link in self._links)
        return self.assembler.flush() if self.assembler is not None else []

    # ---- headers ----

    def _is_next_header(self, link: _Link, start: SeriesStart) -> bool:
        if link.header is not None:
            return not start.repeats(link.header)
        if self._start is None:
            return False
        # The modules of a detector number their messages alike: one that was silent until now may still join.
        return self._finished or start.msg_number != self._start.msg_number

    def _on_header(self, event: ModuleStart, now: float) -> list[Given]:
        link = self._links[event.source]
        if link.header is not None:
            return []  # said twice
        link.header = event.start
        link.numbering = Numbering(event.start.msg_number)
        if self._gathering_since is None:
            self._gathering_since = now
        complete = all(one.header is not None for one in self._links)
        return [self._begin()] if complete and self._start is None else []

    def _begin(self, about: dict[str, Any] | None = None) -> SeriesStart:
        headers = [link.header for link in self._links]
        first = next((header for header in headers if header is not None), SeriesStart(series=""))
        metadata = _joined(headers) if about is None else about
        names = (header.filename for header in headers if header is not None and header.filename is not None)
        self._start = msgspec.structs.replace(
            first,
            filename=next(names, None),
            save_raw=all(header.save_raw for header in headers if header is not None),
            metadata={**metadata, "modules": len(self._links) if self.assembler is None else self.assembler.modules},
        )
        return self._start

    # ---- parts ----

    def _is_left_over(self, link: _Link, part: ModuleFrame) -> bool:
        """Of the series before, as far as its first number tells; a publisher keeps the order."""
        return (
            link.before is not None
            and link.first_number is None
            and part.first_number == link.before[0]
            and part.frame_number > link.before[1]
        )

    def _is_next_part(self, link: _Link, part: ModuleFrame) -> bool:
        if link.ended or self._finished:
            return True
        if part.first_number is None:
            return False
        if link.first_number is not None:
            return part.first_number != link.first_number
        # Silent until now: it may have lost the first frames, but not all that a connection that is over has brought.
        return self._over_since is not None and part.first_number > self._newest

    def _on_part(self, part: ModuleFrame, now: float) -> list[Given]:
        if self.is_stranger(part):
            self.out_of_series += 1
            return []
        link = self._links[part.source]
        link.heard = True
        parts = self._in_step(link, part) if self._headed else [part]
        if not self._headed and link.first_number is None:
            link.first_number = part.first_number
        told = link.numbering.first if self._headed else part.first_number
        if told is not None and (self.first_number is None or told < self.first_number):
            self.first_number = told
        self._last_at = now
        given: list[Given] = []
        for one in parts:
            if self.assembler is None:
                modules = len(self._links) if one.module_count is None else one.module_count
                self.assembler = Assembler(modules, wait_s=self.wait_s, holds=self._holds, **self._limits)
            link.newest = max(link.newest, one.frame_number)
            self._newest = max(self._newest, one.frame_number)
            given += self.assembler.put(one, now)
        if self._start is None and not self._headed:
            given.insert(0, self._begin(part.about))
        elif self._start is None and any(isinstance(one, (Frame, DamagedFrame)) for one in given):
            given.insert(0, self._begin())  # there is no more room to wait for the other headers
        return given

    def _in_step(self, link: _Link, part: ModuleFrame) -> list[ModuleFrame]:
        """The part, unless its message number says that it is of another life of its sender; see `Numbering`."""
        numbering, number = link.numbering, part.msg_number
        if number is None or number - part.frame_number == numbering.offset:
            return [part]
        if not numbering.accepts(number, part.frame_number, link.newest):
            link.doubtful = part
            return []
        before, link.doubtful = (link.doubtful, None) if numbering.is_off else (None, link.doubtful)
        return [part] if before is None else [before, part]

    # ---- ends ----

    def _on_end(self, event: ModuleEnd, now: float) -> list[Given]:
        link = self._links[event.source]
        if not self._is_end_of_this(link, event):
            self.out_of_series += 1
            return []
        link.ended, link.end_number = True, event.msg_number
        if self._over_since is None:
            self._over_since = now
        if self._finished or not self.all_over:
            return []
        if self._start is None:
            return [self._begin(), *self._finish()]
        return self._finish()

    def _is_end_of_this(self, link: _Link, event: ModuleEnd) -> bool:
        """Not a left-over of the series before."""
        if not self._headed:
            link.before = None
            return link.heard  # an end that is all a connection brings may be of this series or not: nobody can tell
        header = link.header
        if header is None:
            return False
        return header.msg_number is None or event.msg_number is None or event.msg_number > header.msg_number

    def _finish(self) -> list[Given]:
        self._finished = True
        given: list[Given] = [*self.assembler.flush()] if self.assembler is not None else []
        if any(link.ended for link in self._links) or self._newest < 0:
            given.append(SeriesEnd(series="", msg_number=self._end_number()))
        else:
            given.append(NEXT_SERIES)
        return given

    def _end_number(self) -> int | None:
        """As if the connection whose header became that of the series had ended after as many frames as any."""
        sent = [
            link.end_number - link.header.msg_number
            for link in self._links
            if link.header is not None and link.header.msg_number is not None and link.end_number is not None
        ]
        if not sent or self._start is None or self._start.msg_number is None:
            return None
        return self._start.msg_number + max(sent)


def _joined(headers: list[SeriesStart | None]) -> dict[str, Any]:
    """Metadata of all modules: where they lie as one list each, in the order of the modules; None where one is silent.

    Of the rest what they have in common, and `<name>_of_modules` where they differ.
    """
    told = [header.metadata if header is not None else {} for header in headers]
    joined: dict[str, Any] = {}
    for key in dict.fromkeys(key for metadata in told for key in metadata):
        values = [metadata.get(key) for metadata in told]
        heard = [metadata[key] for metadata in told if key in metadata]
        if key in GEOMETRY:
            joined[key] = values
            continue
        joined[key] = heard[0]
        if any(value != heard[0] for value in heard):
            joined[f"{key}_of_modules"] = values
    return joined
