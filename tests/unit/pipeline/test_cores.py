"""Threads of a run: as many of ZeroMQ as were asked for, all of them on the cores that were asked for."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import Pinned, Verdict
from maxdaq_tango.pipeline.cores import on_cores
from receiving import WAIT_S, Harness

CORES = sorted(os.sched_getaffinity(0))


def threads_of_this_process() -> dict[int, str]:
    """Id > name."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            found[int(task.name)] = (task / "comm").read_text().strip()
        except FileNotFoundError:  # it has just ended
            continue
    return found


def io_threads(but: set[int]) -> set[int]:
    """Those of ZeroMQ that copy."""
    return {number for number, name in threads_of_this_process().items() if name.startswith("ZMQbg/IO")} - but


def wait_for_names(count: int, but: set[int]) -> None:
    """A thread gives itself its name when it has begun."""
    deadline = time.monotonic() + WAIT_S
    while len(io_threads(but)) < count and time.monotonic() < deadline:
        time.sleep(0.005)


@pytest.mark.lesson(34)
def test_a_run_has_as_many_threads_of_zeromq_as_it_asks_for_and_the_next_one_as_well(harness: Harness) -> None:
    others = set(threads_of_this_process())
    for count in (3, 1):
        destination = str(harness.folder / f"{count}.h5")
        harness.prepare(pinned=Pinned(io_threads=count), expected_frames=2, destination=destination)
        wait_for_names(count, others)
        assert len(io_threads(but=others)) == count
        harness.sender.series(2)
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.COMPLETE
        assert receipt.decisions["io threads"].startswith(f"{count},")
        harness.sender.number = 0


@pytest.mark.lesson(34)
@pytest.mark.skipif(len(CORES) < 2, reason="there is one core only")
def test_all_threads_of_a_run_stay_on_the_cores_that_it_asks_for(harness: Harness) -> None:
    old = set(threads_of_this_process())
    harness.prepare(pinned=Pinned(cores=(CORES[-1],)), expected_frames=2)
    harness.sender.header()
    harness.sender.image(0)
    harness.wait_written(1)
    fresh = set(threads_of_this_process()) - old
    assert len(fresh) >= 3  # collector, packer, ZeroMQ's
    assert {frozenset(os.sched_getaffinity(thread)) for thread in fresh} == {frozenset({CORES[-1]})}
    assert os.sched_getaffinity(0) == set(CORES)  # whoever prepares a run is not moved
    harness.sender.image(1)
    harness.sender.end()
    assert harness.receipt().verdict is Verdict.COMPLETE


def test_cores_that_are_not_there_are_refused_and_nothing_is_moved(harness: Harness) -> None:
    with pytest.raises(ConfigurationError, match=r"cores \[.*4095\].*may not use \[4095\].*some of"):
        harness.prepare(pinned=Pinned(cores=(CORES[0], 4095)))
    assert os.sched_getaffinity(0) == set(CORES)


def test_a_failure_inside_moves_the_caller_back() -> None:
    def fail() -> None:
        assert os.sched_getaffinity(0) == {CORES[0]}
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"), on_cores((CORES[0],)):
        fail()
    assert os.sched_getaffinity(0) == set(CORES)
