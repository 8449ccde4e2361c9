"""Times of the stages: their sums, and that a run adds to each of them what belongs there."""

from __future__ import annotations

import pytest

from maxdaq_tango.model import Compression, Counters, Verdict
from maxdaq_tango.pipeline.stages import Stages
from receiving import Harness, slow_writes


def test_what_other_stages_took_is_not_counted_twice() -> None:
    stages = Stages()
    stages.add(3, idle_s=1.0, busy_s=0.5, elsewhere_s=0.25)
    stages.add(0, idle_s=2.0, busy_s=0.125, elsewhere_s=0.5)
    assert (stages.looks, stages.messages, stages.idle_s, stages.take_s) == (2, 3, 3.0, 0.25)
    stages.add(1, idle_s=0.0, busy_s=0.75, elsewhere_s=0.5)
    assert stages.take_s == 1.0


def test_the_queue_counts_message_seconds() -> None:
    stages = Stages()
    stages.see_queue(5, now=10.0)
    assert stages.queue_s == 0.0
    stages.see_queue(4, now=10.5)
    stages.see_queue(0, now=11.0)
    assert stages.queue_s == 2.0


def ended(harness: Harness) -> Counters:
    assert harness.receipt().verdict is Verdict.COMPLETE
    return harness.counters[-1]


def test_a_run_that_waits_for_its_sender_and_writes_slowly(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_writes(monkeypatch, 0.05, range(2))
    harness.prepare(compression=Compression.NONE)
    harness.sender.series(4)
    counters = ended(harness)
    assert (counters.frames_written, counters.messages_taken) == (4, 6)
    assert counters.write_us >= 100_000
    assert counters.looks > 0
    assert counters.take_us > 0
    assert (counters.frames_pooled, counters.pool_us) == (0, 0)
    assert (counters.frames_queued, counters.messages_queued) == (0, 0)


@pytest.mark.parametrize("frames_per_file", [0, 2])
def test_frames_that_are_packed_tell_the_time_of_the_pool_and_of_checkpoints(
    harness: Harness, frames_per_file: int
) -> None:
    harness.prepare(compression=Compression.BSLZ4, frames_per_file=frames_per_file)
    harness.sender.header()
    harness.sender.image(0)
    harness.wait_written(1)
    for number in (1, 2, 3):
        harness.sender.image(number)
    harness.sender.end()
    counters = ended(harness)
    assert counters.frames_pooled == counters.frames_written == 4
    assert counters.pool_us > 0
    assert counters.idle_us > 0
    assert (counters.checkpoints > 0) == (counters.checkpoint_us > 0)


def test_the_next_series_begins_anew(harness: Harness) -> None:
    harness.prepare(series_count=2)
    harness.sender.series(4)
    harness.sender.series(2)
    first = harness.receipt()
    harness.over.clear()
    while harness.reports[-1].receipt in (None, first):
        assert harness.over.wait(10)
        harness.over.clear()
    assert harness.counters[-1].frames_written == 2
    assert harness.counters[-1].messages_taken == 4
