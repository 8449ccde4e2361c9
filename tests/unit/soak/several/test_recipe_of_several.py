from __future__ import annotations

import pytest

from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import TriggerMode
from maxdaq_tango.soak.menu import DISHES, Group, allowed_of
from maxdaq_tango.soak.several.menu import CHECKS, dishes_of
from maxdaq_tango.soak.several.recipe import TRICKS, Moment, SeveralRecipe, Trick, draw

FAMILIES = ("eiger", "pilatus", "lambda")
ALL = allowed_of("all", TRICKS)
MANY = [draw(7, number, FAMILIES, ALL) for number in range(1500)]


def part_of(recipe: SeveralRecipe, family: str) -> set[str]:
    return {name for part in recipe.parts if part.family == family for name in part.dishes}


def test_an_acquisition_follows_from_seed_and_number_alone() -> None:
    assert [draw(7, number, FAMILIES, ALL) for number in (0, 5, 1499)] == [MANY[0], MANY[5], MANY[1499]]
    assert draw(8, 5, FAMILIES, ALL) != MANY[5]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_fault_that_a_simulator_can_have_comes_and_no_other(family: str) -> None:
    drawn = set().union(*(part_of(recipe, family) for recipe in MANY))
    assert drawn == {dish.name for dish in dishes_of(family)}
    for recipe in MANY[:200]:
        for part in recipe.parts:
            CHECKS[part.family](part.faults)  # its simulator refuses none of them


def test_the_eiger_has_the_whole_menu() -> None:
    assert {dish.name for dish in dishes_of("eiger")} == set(DISHES)


def test_every_trick_comes_at_every_moment() -> None:
    assert {recipe.trick for recipe in MANY} == set(Trick)
    assert {(recipe.trick, recipe.moment) for recipe in MANY} >= {
        (trick, moment) for trick in (Trick.STOP, Trick.ABORT, Trick.KILL_ENGINE) for moment in Moment
    }
    assert {recipe.victim for recipe in MANY if recipe.trick is Trick.KILL_STREAMER} == {"pilatus", "lambda"}
    assert all(recipe.victim in {part.family for part in recipe.parts} for recipe in MANY)


def test_every_combination_of_detectors_settings_and_files_comes() -> None:
    assert len({tuple(part.family for part in recipe.parts) for recipe in MANY}) == 7
    assert {recipe.trigger_mode for recipe in MANY} == set(TriggerMode) - {TriggerMode.EXTERNAL_MULTI_GATE}
    assert {recipe.live for recipe in MANY} == {True, False}
    assert any(part.overridden for recipe in MANY for part in recipe.parts)
    assert any(not recipe.labels for recipe in MANY)  # some are left in peace


def test_what_pauses_between_triggers_would_end_comes_in_one_burst() -> None:
    for recipe in MANY:
        names = set().union(*(part.dishes for part in recipe.parts))
        if any(DISHES[name].internal_only for name in names):
            assert recipe.trigger_mode is TriggerMode.INTERNAL, recipe


def test_only_what_is_allowed_is_drawn() -> None:
    peace = [draw(7, number, FAMILIES, allowed_of("none", TRICKS)) for number in range(50)]
    assert {label for recipe in peace for label in recipe.labels} == set()
    assert all(part.faults == Faults() for recipe in peace for part in recipe.parts)
    stops = [draw(7, number, FAMILIES, allowed_of("stop,drop", TRICKS)) for number in range(200)]
    assert {label for recipe in stops for label in recipe.labels} == {"stop", "drop"}


def test_an_unknown_family_is_refused_with_those_that_can_be_soaked() -> None:
    with pytest.raises(ConfigurationError, match="eiger, pilatus, lambda"):
        dishes_of("rayonix")


def test_faults_of_the_control_are_in_the_words_of_the_family() -> None:
    words = {
        word for recipe in MANY for part in recipe.parts if part.family == "pilatus" and part.has(Group.REFUSAL)
        for word in part.words if word.startswith("failing_keys=")
    }  # fmt: skip
    assert words <= {f"failing_keys={key}" for key in ("NImages", "ExpTime", "ExpPeriod", "Exposure", "ImgPath")}
    assert len(words) > 1
