from __future__ import annotations

import msgspec
import pytest

from maxdaq_tango.detectors.simulation import Damage, Delivery, DeliveryPlan, Faults, Item
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


def deliveries(count: int, **faults) -> list[Delivery]:
    plan = DeliveryPlan(Faults(**faults))
    return [delivery for n in range(count) for delivery in plan.frame(n)] + list(plan.end())


def test_a_window_is_turned_round_in_itself_and_loses_nothing():
    order = sent(20, reorder_window=8, seed=3)
    assert order != sorted(order)
    for first in (0, 8, 16):
        assert sorted(order[first : first + 8]) == list(range(first, min(20, first + 8)))
    assert order == sent(20, reorder_window=8, seed=3)
    assert order != sent(20, reorder_window=8, seed=4)


def test_a_window_that_is_not_full_leaves_when_the_sender_goes():
    assert sorted(sent(9, reorder_window=8, stop_after=5)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("fault", ["duplicate", "delay", "truncate", "corrupt", "block_length", "wrong_size"])
def test_fractions_meet_the_same_frames_again_and_others_with_another_seed(fault):
    def met(seed: int) -> list[int]:
        faults = Faults(**{f"{fault}_fraction": 0.1}, seed=seed)
        return [n for n in range(2000) if faults.meets(fault, n)]

    assert 140 < len(met(1)) < 260
    assert met(1) == met(1) != met(2)


def test_two_faults_of_one_fraction_meet_different_frames():
    faults = Faults(drop_fraction=0.5, duplicate_fraction=0.5)
    assert [faults.drops(n) for n in range(64)] != [faults.meets("duplicate", n) for n in range(64)]


def test_what_stands_between_the_frames():
    made = deliveries(3, second_header_at=1, end_at=2)
    assert [(d.item, d.number, d.wrong_series) for d in made] == [
        (Item.IMAGE, 0, False),
        (Item.HEADER, 1, True),
        (Item.IMAGE, 1, False),
        (Item.END, 2, False),
        (Item.IMAGE, 2, False),
    ]


def test_another_series_runs_between_the_frames_with_pixels_of_its_own():
    made = deliveries(3, interleave_at=1)
    assert [(d.item.value[0], d.number, d.wrong_series) for d in made] == [
        ("i", 0, False), ("h", 1, True), ("i", 1, False), ("i", 1, True), ("i", 2, False), ("i", 2, True),
    ]  # fmt: skip
    assert [d.pixels_of for d in made if d.wrong_series and d.item is Item.IMAGE] == [1001, 1002]


def test_numbers_begin_again_and_one_can_be_any_number():
    assert [d.wire_number for d in deliveries(5, restart_at=3)] == [0, 1, 2, 0, 1]
    assert [d.wire_number for d in deliveries(3, number_at=1, number_sent=-1)] == [0, -1, 2]
    assert deliveries(2, number_at=1)[1].wire_number > 10**12


def test_the_change_of_a_type_lasts_and_a_bomb_goes_off_once():
    assert [d.damage for d in deliveries(4, dtype_at=1, bomb_at=2)] == [
        Damage.NONE, Damage.DTYPE, Damage.BOMB, Damage.DTYPE,
    ]  # fmt: skip
    assert [d.damage for d in deliveries(2, shape_at=0)] == [Damage.SHAPE] * 2


def test_what_the_socket_does_goes_with_the_next_message_that_leaves():
    made = deliveries(4, vanish_at=1, vanish_s=3.0, thief_at=1, drop_frames=(1,), delay_frames=(3,), delay_s=0.5)
    assert [(d.number, d.away_s, d.thief, d.delay_s) for d in made] == [
        (0, 0.0, False, 0.0), (2, 3.0, True, 0.0), (3, 0.0, False, 0.5),
    ]  # fmt: skip
