"""Faults as people type them."""

from __future__ import annotations

import pytest

from maxdaq_tango.detectors.simulation import Faults
from maxdaq_tango.detectors.simulation.faults import SHORT
from maxdaq_tango.errors import ConfigurationError


def test_nothing_is_a_detector_in_good_health() -> None:
    assert Faults.parse([]) == Faults()


def test_the_words_of_the_issue() -> None:
    assert Faults.parse(["drop=0.01", "reorder=8"]) == Faults(drop_fraction=0.01, reorder_window=8)


@pytest.mark.parametrize(
    ("word", "faults"),
    [
        ("drop_frames=3,7-9", Faults(drop_frames=(3, 7, 8, 9))),
        ("drop-frames=3", Faults(drop_frames=(3,))),
        ("missing_end", Faults(missing_end=True)),
        ("missing_end=no", Faults()),
        ("vanish_s=2", Faults(vanish_s=2.0)),
        ("failing_keys=arm,count_time", Faults(failing_keys=("arm", "count_time"))),
        ("filename=../../a=b.h5", Faults(filename="../../a=b.h5")),
        ("number_sent=-1", Faults(number_sent=-1)),
        ("stop_after=4", Faults(stop_after=4)),
        ("refuse_arm=no high voltage", Faults(refuse_arm="no high voltage")),
    ],
)
def test_each_kind_of_value_is_read(word: str, faults: Faults) -> None:
    assert Faults.parse([word]) == faults


def test_the_last_of_two_values_counts() -> None:
    assert Faults.parse(["drop=0.5", "drop=0.1"]) == Faults(drop_fraction=0.1)


def test_an_unknown_name_is_one_error_that_lists_every_name() -> None:
    with pytest.raises(ConfigurationError, match="did you mean duplicate") as caught:
        Faults.parse(["duplicat=0.5"])
    for name in (*SHORT, *(field for field in Faults.__struct_fields__ if field not in SHORT)):
        assert name in caught.value.accepted


@pytest.mark.parametrize(
    ("word", "accepted"),
    [
        ("drop=often", "drop=VALUE, a number"),
        ("drop=2", "0 to 1"),
        ("drop", "drop=VALUE, a number"),
        ("reorder=2.5", "a whole number"),
        ("reorder=20000", "0 to 10000 frames"),
        ("missing_end=perhaps", "true or false"),
        ("drop_frames=9-3", "numbers and ranges such as 3,7-9"),
        ("drop_frames=0-99999999999", "numbers and ranges"),
        ("drop_frames=x", "numbers and ranges"),
        ("vanish_at=-1", "0 or more"),
        ("delay_s=1e9", "0 to 3600 s"),
        ("delay_s=nan", "0 to 3600 s"),
        ("bomb_depth=0", "1 to 10000000"),
        ("number_sent=99999999999999999999", "2^64"),
        ("=3", "drop"),
        ("", "drop"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_can(word: str, accepted: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Faults.parse([word])
    assert accepted in caught.value.accepted


def test_every_short_word_stands_for_a_fault() -> None:
    assert set(SHORT.values()) <= set(Faults.__struct_fields__)
