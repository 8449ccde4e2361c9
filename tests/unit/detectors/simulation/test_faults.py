from __future__ import annotations

import msgspec
import pytest

from maxdaq_tango.detectors.simulation.faults import DeliveryPlan, Faults
from maxdaq_tango.errors import ConfigurationError


def sent(count: int, **faults) -> list[int]:
    plan = DeliveryPlan(Faults(**faults))
    numbers = [delivery.number for n in range(count) for delivery in plan.frame(n)]
    return numbers + [delivery.number for delivery in plan.end()]


def test_a_healthy_detector_sends_each_frame_once_in_order():
    assert sent(5) == [0, 1, 2, 3, 4]


def test_named_frames_are_dropped_doubled_and_turned_round():
    assert sent(5, drop_frames=(1, 3)) == [0, 2, 4]
    assert sent(4, duplicate_frames=(2,)) == [0, 1, 2, 2, 3]
    assert sent(5, reorder_frames=(1,)) == [0, 2, 1, 3, 4]
    assert sent(5, reorder_frames=(1, 2)) == [0, 1, 3, 2, 4]


def test_a_held_frame_is_sent_at_the_end_of_the_series():
    assert sent(3, reorder_frames=(2,)) == [0, 1, 2]
    assert sent(3, reorder_frames=(1,), drop_frames=(2,)) == [0, 1]


def test_a_fraction_drops_about_so_many_and_always_the_same():
    first, second = sent(2000, drop_fraction=0.1, seed=4), sent(2000, drop_fraction=0.1, seed=4)
    assert first == second
    assert 1700 < len(first) < 1900
    assert sent(2000, drop_fraction=0.1, seed=5) != first
    assert sent(20, drop_fraction=1.0) == []


def test_a_sender_that_has_gone_sends_nothing_more():
    plan = DeliveryPlan(Faults(stop_after=2, reorder_frames=(1,)))
    assert [d.number for n in range(5) for d in plan.frame(n)] == [0, 1]
    assert plan.gone
    assert not list(plan.end())
    assert DeliveryPlan(Faults(stop_after=0)).gone


def test_damage_is_marked_on_the_frame_it_is_asked_for():
    plan = DeliveryPlan(Faults(truncate_frames=(1,), wrong_series_frames=(2,)))
    deliveries = [d for n in range(4) for d in plan.frame(n)]
    assert [(d.truncated, d.wrong_series) for d in deliveries] == [
        (False, False),
        (True, False),
        (False, True),
        (False, False),
    ]


def test_impossible_faults_are_refused():
    with pytest.raises(ConfigurationError, match="0 to 1"):
        Faults(drop_fraction=1.5)
    with pytest.raises(ConfigurationError):
        Faults(stop_after=-1)
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.json.decode(b'{"drop_frame": [1]}', type=Faults)
