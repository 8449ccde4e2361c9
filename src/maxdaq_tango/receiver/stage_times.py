"""Where the time of a run goes, as JSON for people and programs. Pure."""

from __future__ import annotations

import msgspec

from maxdaq_tango.model import Counters

STAGES = {
    "idle": ("looks", "idle_us"),
    "queue": ("messages_taken", "queue_us"),
    "take": ("messages_taken", "take_us"),
    "room": ("waits", "room_us"),
    "pool": ("frames_pooled", "pool_us"),
    "write": ("frames_written", "write_us"),
    "checkpoint": ("checkpoints", "checkpoint_us"),
}
"""Stage > its count and its time among the counters, in the order of a frame's way; see `pipeline/stages.py`."""


def stage_times(counters: Counters) -> str:
    """{stage: {"count", "seconds"}} of the present or last run."""
    told = {
        stage: {"count": getattr(counters, count), "seconds": getattr(counters, spent) / 1e6}
        for stage, (count, spent) in STAGES.items()
    }
    return msgspec.json.encode(told).decode()
