from __future__ import annotations

import pytest

from maxdaq_tango.bench.plan import Case, Contestant, Extra
from maxdaq_tango.bench.results import Spread, compressing_ratio, judge, make_rows, over, ratio
from maxdaq_tango.model import Encoding
from unit.bench.samples import SMALL, turn

OURS, PULL, BOTH, PLAIN = Contestant.OURS, Contestant.PULL, Contestant.PULL_WRITE, Contestant.PLAIN


def test_a_spread_is_median_smallest_and_largest() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert Spread.of([4.0, 2.0]).median == 3.0
    assert Spread.of([3.0, 1.0, 2.0]).relative == 1.0


def test_what_a_turn_cost_is_per_frame_and_per_gb() -> None:
    sample = turn(OURS, 5000, cpu_s=2.0)
    assert sample.frames_per_s == 5000
    assert sample.gb_per_s == pytest.approx(1.0)
    assert sample.cpu_s_per_gb == pytest.approx(2.0)
    assert sample.sender_cpu_s_per_gb == pytest.approx(0.5)
    assert sample.faults_per_frame == 2


def test_a_ratio_is_formed_within_a_repeat() -> None:
    """The machine was half as fast in the second repeat: the ratio does not feel it."""
    ours, others = [turn(OURS, 800, 0), turn(OURS, 400, 1)], [turn(PULL, 1000, 0), turn(PULL, 500, 1)]
    assert ratio(ours, others, lambda sample: sample.frames_per_s) == Spread(0.8, 0.8, 0.8)


def test_repeats_that_only_one_has_are_left_out() -> None:
    assert ratio([turn(OURS, 800, 1)], [turn(PULL, 1000, 0)], lambda sample: sample.frames_per_s) is None


def test_a_divisor_that_was_not_measurable_is_left_out() -> None:
    ours, others = [turn(OURS, 800, 0)], [turn(PULL, 800, 0, cpu_s=0.0)]
    assert ratio(ours, others, lambda sample: sample.cpu_s_per_gb) is None


def test_rows_hold_medians_and_the_ratio_of_ours_to_each() -> None:
    samples = [turn(PULL, rate, n) for n, rate in enumerate((1000, 2000, 4000))]
    samples += [turn(OURS, rate, n) for n, rate in enumerate((500, 1200, 3200))]
    samples += [turn(Contestant.OURS_LIVE, rate, n) for n, rate in enumerate((900, 1800, 3600))]
    pull, ours, unsaved = make_rows(samples)
    assert pull.frames_per_s == Spread(2000, 1000, 4000)
    assert pull.ours_over_this == Spread(0.6, 0.5, 0.8)
    assert pull.unsaved_over_this == Spread(0.9, 0.9, 0.9)
    assert ours.turns == 3
    assert ours.ours_over_this is unsaved.ours_over_this is None


def test_cases_are_not_mixed() -> None:
    large = Case(wire_nbytes=20_000_000)
    rows = make_rows([turn(PULL, 100), turn(PULL, 10, case=large), turn(OURS, 9, case=large)])
    assert over(rows, SMALL, PULL).ours_over_this is None
    assert over(rows, large, PULL).ours_over_this == Spread(0.9, 0.9, 0.9)


def test_targets_are_judged_by_medians() -> None:
    rows = make_rows([turn(PLAIN, 1000), turn(BOTH, 4000), turn(OURS, 3800), turn(PULL, 5000)])
    found = {target.what: target for target in judge(rows)}
    assert found["times plain, at least"].holds
    assert found["times pull+write, at least"].reached == pytest.approx(0.95)
    assert found["peak memory in bytes, at most"].holds


def test_a_target_that_is_missed_says_by_how_much() -> None:
    rows = make_rows([turn(PLAIN, 2000), turn(OURS, 3800)])
    (target, _) = judge(rows)
    assert (target.limit, target.reached, target.holds) == (3.5, 1.9, False)


def test_cpu_of_large_frames_is_a_target_of_its_own() -> None:
    large = Case(wire_nbytes=20_000_000)
    rows = make_rows([turn(BOTH, 80, case=large, cpu_s=1.0), turn(OURS, 80, case=large, cpu_s=1.3)])
    (target,) = [target for target in judge(rows) if target.what.startswith("CPU")]
    assert target.reached == pytest.approx(1.3)
    assert not target.holds


def test_small_packed_frames_are_judged_against_the_pull_loop() -> None:
    packed = Case(wire_nbytes=32_000, packing=Encoding.BSLZ4)
    rows = make_rows([turn(PULL, 1000, case=packed), turn(OURS, 600, case=packed)])
    assert next((target.case, target.what) for target in judge(rows)) == ("32 kB bslz4", "times pull, at least")


def test_compressing_is_compared_with_receiving_and_then_packing() -> None:
    case = Case(wire_nbytes=200_000, extra=Extra.COMPRESS)
    samples = [turn(PULL, 6000, case=case), turn(Contestant.COMPRESSION, 3000, case=case), turn(OURS, 1800, case=case)]
    rows = make_rows(samples)
    assert compressing_ratio(rows).median == pytest.approx(0.9)
    assert any(target.case == "200 kB compress" and target.holds for target in judge(rows))


def test_columns_are_compared_with_the_same_frames_without() -> None:
    columns = Case(wire_nbytes=200_000, extra=Extra.COLUMNS)
    rows = make_rows([turn(OURS, 800, case=columns), turn(Contestant.WITHOUT_COLUMNS, 1000, case=columns)])
    (target,) = [target for target in judge(rows) if target.case == "200 kB columns"]
    assert target.reached == pytest.approx(0.8)
    assert not target.holds


def test_nothing_measured_is_nothing_judged() -> None:
    assert make_rows([]) == ()
    assert judge(()) == ()
