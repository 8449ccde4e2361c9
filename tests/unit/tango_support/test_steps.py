"""Steps: bounded waits, outcomes that can be read later."""

from __future__ import annotations

import threading
import time

import pytest

from maxdaq_tango.errors import DetectorError, DetectorRefused
from maxdaq_tango.tango_support.steps import KEPT, Steps


@pytest.fixture
def steps():
    made = Steps()
    yield made
    made.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("step ")]


def test_a_quick_step_is_done_when_run_returns(steps):
    done = []
    number = steps.run("Configure", lambda: done.append(1), 1.0)
    assert done == [1]
    assert [(record.number, record.done, record.error) for record in steps.records()] == [(number, True, None)]


def test_a_quick_failure_is_raised_and_kept(steps):
    def fail() -> None:
        raise DetectorRefused("arm", of="dcu", answer="no")

    with pytest.raises(DetectorRefused, match="no"):
        steps.run("ArmHardware", fail, 1.0)
    assert steps.records()[0].error.kind == "DetectorRefused"


def test_a_slow_step_returns_its_number_and_tells_its_failure_later(steps):
    go = threading.Event()

    def slow() -> None:
        assert go.wait(5)
        raise ZeroDivisionError("oops")

    began = time.monotonic()
    number = steps.run("ArmHardware", slow, 0.05)
    assert time.monotonic() - began < 0.5
    assert steps.is_running()
    assert steps.is_running("ArmHardware", "Configure")
    assert not steps.is_running("Configure")
    go.set()
    steps.close()
    record = steps.records()[0]
    assert (record.number, record.done, record.error.kind) == (number, True, DetectorError.__name__)
    assert "oops" in record.error.answer


def test_numbers_grow_and_do_not_repeat_after_a_restart(steps):
    numbers = [steps.run("x", lambda: None, 1.0) for _ in range(3)]
    assert numbers == sorted(set(numbers))
    threading.Event().wait(0.005)  # numbers begin with the clock, in milliseconds
    assert Steps().run("x", lambda: None, 1.0) not in numbers


def test_only_the_newest_steps_are_kept(steps):
    for _ in range(KEPT + 5):
        steps.run("x", lambda: None, 1.0)
    assert len(steps.records()) == KEPT


def test_a_step_under_way_is_never_forgotten(steps):
    go = threading.Event()
    slow = steps.run("TriggerHardware", go.wait, 0.0)
    for _ in range(2 * KEPT):
        steps.run("Configure", lambda: None, 1.0)
    assert steps.is_running("TriggerHardware")
    assert slow in [record.number for record in steps.records()]
    assert len(steps.records()) <= KEPT + 1
    go.set()
