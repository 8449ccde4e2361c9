"""How a series is made of acquisitions, and the numbers of its frames."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxdaq_tango.detectors.xspectrum_lambda.protocol import DetectorSettings, SeriesSettings
from maxdaq_tango.detectors.xspectrum_lambda.series import LONGEST_S, ModuleNumbers, SeriesPlan, plan_series
from maxdaq_tango.detectors.xspectrum_lambda.words import (
    NUMBER_MODULUS,
    BitDepth,
    CounterMode,
    Switch,
    XspTrigger,
)
from maxdaq_tango.errors import DetectorRefused
from maxdaq_tango.model import TriggerMode


def plan(
    depth: int = 12, counters: str = "SINGLE", thresholds: tuple[float, ...] = (6000.0,), **series: Any
) -> SeriesPlan:
    detector = DetectorSettings(
        bit_depth=BitDepth(depth),
        charge_summing=Switch.OFF,
        counter_mode=CounterMode(counters),
        gating=Switch.OFF,
        thresholds_ev=thresholds,
        energy_ev=12000.0,
    )
    return plan_series(SeriesSettings(**{"exposure_time_s": 0.01, **series}), detector)


def shape(made: SeriesPlan) -> tuple[str, int, int, int]:
    return made.trigger.value, made.bursts, made.shots, made.exposures


@pytest.mark.parametrize(
    ("mode", "frames", "triggers", "expected"),
    [
        (TriggerMode.INTERNAL, 3, 2, ("SOFTWARE", 1, 1, 6)),
        (TriggerMode.SOFTWARE, 3, 2, ("SOFTWARE", 2, 1, 3)),
        (TriggerMode.EXTERNAL_MULTI, 3, 1, ("EXT_SEQUENCE", 1, 1, 3)),
        (TriggerMode.EXTERNAL_MULTI, 3, 2, ("EXT_FRAMES", 1, 1, 6)),
    ],
)
def test_every_trigger_mode_is_a_number_of_acquisitions(
    mode: TriggerMode, frames: int, triggers: int, expected: tuple[str, int, int, int]
) -> None:
    made = plan(trigger_mode=mode, frames_per_trigger=frames, trigger_count=triggers)
    assert shape(made) == expected
    assert made.frame_count == frames * triggers


def test_time_between_exposures_makes_each_an_acquisition_of_its_own() -> None:
    made = plan(latency_time_s=0.05, frames_per_trigger=4, trigger_mode=TriggerMode.SOFTWARE, trigger_count=2)
    assert shape(made) == ("SOFTWARE", 2, 4, 1)
    assert made.frame_period_s == made.shot_period_s == pytest.approx(0.06)
    assert made.notes


def test_what_24_bits_need_for_reading_is_no_reason_to_begin_each_exposure_by_hand() -> None:
    made = plan(depth=24, latency_time_s=0.0005, frames_per_trigger=4)
    assert shape(made) == ("SOFTWARE", 1, 1, 4)
    assert made.frame_period_s == pytest.approx(0.011)


def test_both_counters_make_two_frames_an_exposure() -> None:
    made = plan(counters="DUAL", frames_per_trigger=3)
    assert (made.exposures, made.subframes, made.frame_count) == (3, 2, 6)


@pytest.mark.parametrize(("depth", "noted"), [(12, True), (24, False)])
def test_frames_that_last_from_edge_to_edge_are_told(depth: int, noted: bool) -> None:
    made = plan(depth=depth, trigger_mode=TriggerMode.EXTERNAL_MULTI, trigger_count=5)
    assert any("edge to edge" in note for note in made.notes) == noted


@pytest.mark.parametrize(
    ("arguments", "told", "accepted"),
    [
        ({"thresholds": ()}, "forgets them", "Threshold"),
        ({"exposure_time_s": 1e-4}, "12 bit", "0.0005 to 3600 s"),
        ({"exposure_time_s": 1e-4, "depth": 24}, "24 bit", "0.001"),
        ({"exposure_time_s": LONGEST_S * 1.01}, "out of range", "3600"),
        ({"trigger_mode": TriggerMode.EXTERNAL_MULTI_GATE}, "gate", "EXTERNAL_MULTI"),
        ({"frames_per_trigger": NUMBER_MODULUS}, "24 bits", str(NUMBER_MODULUS - 1)),
        ({"frames_per_trigger": 4096, "trigger_count": 4096}, "24 bits", "16777215"),
        (
            {"trigger_mode": TriggerMode.EXTERNAL_MULTI, "frames_per_trigger": 2, "latency_time_s": 0.1},
            "edges decide",
            "LatencyTime 0",
        ),
    ],
)
def test_what_the_hardware_cannot_do_is_refused_with_what_it_can(
    arguments: dict[str, Any], told: str, accepted: str
) -> None:
    with pytest.raises(DetectorRefused) as refusal:
        plan(**arguments)
    assert told in refusal.value.answer
    assert accepted in refusal.value.accepted


def test_exposures_that_are_acquisitions_of_their_own_may_be_more_as_well() -> None:
    assert plan(latency_time_s=0.1, frames_per_trigger=NUMBER_MODULUS).frame_count == NUMBER_MODULUS


def test_bursts_that_software_begins_may_be_more_than_24_bits_together() -> None:
    made = plan(trigger_mode=TriggerMode.SOFTWARE, frames_per_trigger=NUMBER_MODULUS - 1, trigger_count=2)
    assert made.frame_count == 2 * (NUMBER_MODULUS - 1)
    assert made.trigger is XspTrigger.SOFTWARE


# --- numbers ----------------------------------------------------------------------------------------------------------


def numbers_of(numbers: ModuleNumbers, *nrs: int) -> list[int | None]:
    return [numbers.frame_number(nr) for nr in nrs]


def test_frames_count_from_0_over_acquisitions_that_count_from_1() -> None:
    numbers = ModuleNumbers()
    for burst in range(3):
        numbers.begin(burst * 4, 4)
        assert numbers_of(numbers, 1, 2, 3, 4) == [burst * 4 + n for n in range(4)]
    assert (numbers.taken, numbers.next_frame, numbers.strays) == (12, 12, 0)


def test_lost_frames_shift_nothing_also_where_the_first_is_lost() -> None:
    numbers = ModuleNumbers()
    numbers.begin(0, 10)
    assert numbers_of(numbers, 3, 5, 10) == [2, 4, 9]
    numbers.begin(10, 10)
    assert numbers_of(numbers, 2) == [11]


def test_numbers_that_run_on_roll_over_at_24_bits() -> None:
    numbers = ModuleNumbers()
    first = NUMBER_MODULUS - 2
    numbers.begin(0, 4)
    assert numbers_of(numbers, first, first + 1, 0, 1) == [0, 1, 2, 3]
    numbers.begin(4, 4)
    assert numbers_of(numbers, 2, 4, 5) == [4, 6, 7]


def test_a_frame_that_comes_twice_or_belongs_elsewhere_is_a_stray() -> None:
    numbers = ModuleNumbers()
    numbers.begin(0, 3)
    assert numbers_of(numbers, 1, 1, 2, 9, 3, 2) == [0, None, 1, None, 2, None]
    assert (numbers.strays, numbers.taken) == (3, 3)


def test_frames_out_of_order_keep_their_numbers() -> None:
    numbers = ModuleNumbers()
    numbers.begin(0, 4)
    assert numbers_of(numbers, 2, 1, 4, 3) == [1, 0, 3, 2]


def test_nothing_belongs_to_a_series_that_has_not_begun() -> None:
    numbers = ModuleNumbers()
    assert numbers_of(numbers, 1, 7) == [None, None]


def test_subframes_are_neighbours_and_the_second_of_single_counters_is_a_stray() -> None:
    numbers = ModuleNumbers(subframes=2)
    numbers.begin(5, 2)
    assert [numbers.frame_number(nr, sub) for nr, sub in ((1, 0), (1, 1), (2, 1), (2, 0))] == [10, 11, 13, 12]
    single = ModuleNumbers()
    single.begin(0, 2)
    assert single.frame_number(1, 1) is None


def test_numbers_that_run_on_from_1_are_known_by_the_first_that_does_not_begin_again() -> None:
    numbers = ModuleNumbers()
    for first in (1, 4, 7):
        numbers.begin(first - 1, 3)
        assert numbers_of(numbers, first, first + 2) == [first - 1, first + 1]


@given(
    start=st.integers(200, NUMBER_MODULUS - 1),
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    data=st.data(),
)
def test_whatever_is_lost_and_wherever_counting_began_numbers_are_those_of_the_exposures(
    start: int, counts: list[int], data: st.DataObject
) -> None:
    """Of a library that counts on, whose very first frame comes."""
    numbers = ModuleNumbers()
    base = 0
    for count in counts:
        kept = data.draw(st.sets(st.integers(0, count - 1), min_size=1)) | ({0} if base == 0 else set())
        numbers.begin(base, count)
        for index in sorted(kept):
            assert numbers.frame_number((start + base + index) % NUMBER_MODULUS) == base + index
        base += count


@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=5), data=st.data())
def test_whatever_is_lost_numbers_of_a_library_that_begins_with_1_are_those_of_the_exposures(
    counts: list[int], data: st.DataObject
) -> None:
    """Acquisitions of one series are equally long."""
    numbers = ModuleNumbers()
    for number in range(len(counts)):
        kept = data.draw(st.sets(st.integers(0, counts[0] - 1)))
        numbers.begin(number * counts[0], counts[0])
        for index in data.draw(st.permutations(sorted(kept))):
            assert numbers.frame_number(1 + index) == number * counts[0] + index
