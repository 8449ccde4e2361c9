from __future__ import annotations

from collections import Counter

import pytest

from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import Encoding, TriggerMode
from maxdaq_tango.soak.menu import DISHES, Group, allowed_of
from maxdaq_tango.soak.recipe import ENDS, MOST_FRAMES, SETUP_LASTS, End, draw

ALL = allowed_of("all", ENDS)
MANY = [draw(7, number, ALL) for number in range(1500)]

NOT_DRAWN = {"seed", "number_sent", "delay_s", "vanish_s", "bomb_depth"}
"""They say how, not what."""


def test_an_acquisition_follows_from_seed_and_number_alone() -> None:
    assert [draw(7, number, ALL) for number in (0, 5, 1499)] == [MANY[0], MANY[5], MANY[1499]]
    assert draw(8, 5, ALL) != MANY[5]


def test_every_fault_and_every_end_comes() -> None:
    drawn = Counter(name for recipe in MANY for name in recipe.dishes)
    assert set(drawn) == set(DISHES)
    assert {recipe.end for recipe in MANY} == set(End)
    assert any(not recipe.dishes and recipe.end is End.ITSELF for recipe in MANY)


def test_every_fault_of_the_simulator_is_drawn() -> None:
    """A fault that the simulator learns later must be put on the menu."""
    default = Faults()
    drawn = [recipe.parsed for recipe in MANY if recipe.faults]
    fields = Faults.__struct_fields__
    used = {name for name in fields if any(getattr(one, name) != getattr(default, name) for one in drawn)}
    assert set(Faults.__struct_fields__) - NOT_DRAWN - used == set()


def test_every_trigger_mode_format_packing_and_way_to_the_disk_comes() -> None:
    assert {recipe.trigger_mode for recipe in MANY} == set(TriggerMode)
    assert {recipe.encoding for recipe in MANY} == {
        Encoding.BSLZ4, Encoding.LZ4_BLOCK, Encoding.LZ4_HDF5, Encoding.NONE
    }  # fmt: skip
    assert {recipe.setup.backend for recipe in MANY} == {"auto", "swmr", "direct"}
    assert {bool(recipe.setup.frames_per_file) for recipe in MANY} == {True, False}
    assert {recipe.setup.engines for recipe in MANY} == {1, 2}


def test_what_is_drawn_can_be_judged() -> None:
    for recipe in MANY:
        groups = [DISHES[name].group for name in recipe.dishes]
        assert len(groups) <= 1 or set(groups) == {Group.PER_FRAME}, recipe
        assert recipe.end is End.ITSELF or set(groups) <= {Group.PER_FRAME}, recipe
        assert all(recipe.encoding not in DISHES[name].not_with for name in recipe.dishes), recipe
        assert 2 <= recipe.frames <= MOST_FRAMES
        assert recipe.trigger_mode is not TriggerMode.EXTERNAL_MULTI_GATE or recipe.frames_per_trigger == 1


def test_properties_stay_for_a_while() -> None:
    assert len({recipe.setup for recipe in MANY[:SETUP_LASTS]}) == 1
    assert len({recipe.setup for recipe in MANY}) > 5


def test_faults_can_be_chosen() -> None:
    only = allowed_of("drop,stop", ENDS)
    drawn = [draw(1, number, only) for number in range(300)]
    assert {name for recipe in drawn for name in recipe.dishes} == {"drop"}
    assert {recipe.end for recipe in drawn} == {End.ITSELF, End.STOP}
    assert allowed_of("all,-thief", ENDS) == ALL - {"thief"}
    assert allowed_of("none", ENDS) == frozenset()
    assert {r.dishes for r in (draw(1, n, frozenset()) for n in range(50))} == {()}


def test_an_unknown_fault_names_all() -> None:
    with pytest.raises(ConfigurationError) as caught:
        allowed_of("lightning", ENDS)
    assert "thief" in caught.value.accepted
    assert "kill-engine" in caught.value.accepted


def test_a_recipe_tells_what_it_takes_to_repeat_it() -> None:
    recipe = next(one for one in MANY if "cut" in one.dishes)
    assert f"{recipe.triggers} x {recipe.frames_per_trigger} frames at {recipe.rate_hz:g} Hz" in recipe.describe()
    assert all(word in recipe.describe() for word in recipe.faults)
