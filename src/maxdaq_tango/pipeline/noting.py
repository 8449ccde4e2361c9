"""What of a run goes into its black box, and when that is kept. Nothing here is called for a single frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from maxdaq_tango.model import Counters, Receipt, RunRequest, Verdict
from maxdaq_tango.pipeline.blackbox import BlackBox, write_blackbox

NOTE_S = 1.0
"""Between two looks that the black box keeps."""
NOTED = (
    *("frames_received", "frames_written", "frames_missing", "frames_corrupt", "frames_duplicate"),
    *("frames_out_of_series", "newest_frame_number", "bytes_received", "bytes_written", "queue_bytes"),
    *("queue_limit_bytes", "queue_full_count", "write_latency_us", "stalled_ms", "frames_queued", "messages_queued"),
    *("idle_us", "queue_us", "take_us", "room_us", "pool_us", "write_us", "checkpoint_us"),
)
"""Counters in it."""


class Notes:
    """The collector's pen. `heard` tells what became of connections since it was called last: (endpoint, word)."""

    def __init__(self, box: BlackBox, heard: Callable[[], list[tuple[str, str]]]) -> None:
        self.box = box
        self._heard = heard
        self._noted_at = 0.0
        self._missing = 0

    def begin(self, request: RunRequest) -> None:
        """A run is prepared; what was noted before is not of it."""
        self.box.begin()
        self.box.note("prepared", request=msgspec.to_builtins(msgspec.structs.replace(request, metadata={})))

    def asked(self, name: str, **arguments: Any) -> None:
        """The owner asks for something."""
        self.box.note("request", name=name, **arguments)

    def look(self, counters: Counters, now: float) -> None:
        """At every look that is published: a new gap, and once a second everything else."""
        if counters.frames_missing != self._missing:
            self._missing = counters.frames_missing
            first, last = counters.gap_first, counters.gap_last
            self.box.note_gap(counters.frames_missing, first, last, counters.newest_frame_number)
        if now - self._noted_at >= NOTE_S:
            self._noted_at = now
            self.connections()
            self.box.note("second", **{name: getattr(counters, name) for name in NOTED})

    def connections(self) -> None:
        """What became of them."""
        for endpoint, what in self._heard():
            self.box.note(what, endpoint=endpoint)

    def end(self, receipt: Receipt) -> str:
        """A series is over: its black box is kept beside its data unless it is COMPLETE. Raises nothing; see `keep`."""
        self._missing = 0
        return "" if receipt.verdict is Verdict.COMPLETE else keep(self.box, receipt)


def keep(box: BlackBox, receipt: Receipt) -> str:
    """Write it beside the file of the receipt, where there is one. Why it could not be done, or "": the disk may be
    what is wrong, so nothing is raised."""
    if not receipt.file or not Path(receipt.file).exists():
        return ""
    box.note("receipt", receipt=msgspec.to_builtins(msgspec.structs.replace(receipt, settings={})))
    try:
        write_blackbox(Path(receipt.file), box.records())
    except OSError as error:
        return f"the black box of {receipt.file} could not be written: {error}"
    return ""
