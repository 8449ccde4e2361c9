from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from maxdaq_tango.deployment.typed_yaml import Described, Document, nearest
from maxdaq_tango.errors import ConfigurationError


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Round(msgspec.Struct, frozen=True, kw_only=True, tag_field="shape", tag="round"):
    radius: Annotated[int, Meta(ge=1), Described("a whole number from 1")] = 1


class Square(msgspec.Struct, frozen=True, kw_only=True, tag_field="shape", tag="square"):
    side: float


class Box(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    colour: Colour = Colour.RED
    things: dict[str, Round | Square] = {}
    words: tuple[str, ...] = ()


class Picky(msgspec.Struct, frozen=True, kw_only=True):
    low: int = 0
    high: int = 1

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ConfigurationError("low above high", accepted="low <= high")


def read(text: str, kind: type = Box) -> object:
    return Document(text, "box.yaml").typed(kind)


def test_a_document_becomes_typed_values() -> None:
    box = read("name: a\ncolour: blue\nthings:\n  x: {shape: round, radius: 3}\n  y: {shape: square, side: 2}\n")
    assert box == Box(name="a", colour=Colour.BLUE, things={"x": Round(radius=3), "y": Square(side=2.0)})


def test_an_empty_mapping_may_be_left_empty() -> None:
    assert read("name: a\nthings:\n") == Box(name="a")


@pytest.mark.parametrize(
    ("text", "place", "answer", "accepted"),
    [
        ("colour: red", "the document (of box.yaml, line 1)", "name is missing", "name"),
        ("name: a\ncolour: green", "colour (of box.yaml, line 2)", "found 'green'", "one of red, blue"),
        ("name: a\ncolor: red", "color (of box.yaml, line 2)", "did you mean colour?", "one of name, colour, things"),
        ("name: 7", "name (of box.yaml, line 1)", "found 7", "text"),
        ("name: a\nwords: b", "words (of box.yaml, line 2)", "found 'b'", "a list"),
        ("name: a\nthings:\n  x: 3", "things.x (of box.yaml, line 3)", "found 3", "a mapping"),
        ("name: a\nthings:\n  x: {}", "things.x (of box.yaml, line 3)", "shape is missing", "one of round, square"),
        (
            "name: a\nthings:\n  x:\n    shape: rond",
            "things.x.shape (of box.yaml, line 4)",
            "found 'rond' (did you mean round?)",
            "one of round, square",
        ),
        (
            "name: a\nthings:\n  x:\n    shape: round\n    radius: 0",
            "things.x.radius (of box.yaml, line 5)",
            "found 0",
            "a whole number from 1",
        ),
        ("name: a\nthings: {x: {shape: square}}", "things.x", "side is missing", "side"),
        ("name: a\n1: b", "1 (of box.yaml, line 2)", "is not text", "in quotes"),
        ("name: a\nname: b", "name (of box.yaml, line 2)", "already on line 1", "each name once"),
        ("- a", "the document (of box.yaml, line 1)", "found ['a']", "a mapping"),
        ("", "the document (of box.yaml, line 1)", "name is missing", "name"),
        ("name: [a", "YAML (of box.yaml, line 1)", "expected ',' or ']'", "well-formed YAML"),
        ("name: a\n\tcolour: red", "YAML (of box.yaml, line 2)", "", "well-formed YAML"),
        ("name: !!python/object:os.system x", "YAML (of box.yaml, line 1)", "could not determine", "YAML"),
    ],
)
def test_an_error_names_place_finding_and_alternative(text: str, place: str, answer: str, accepted: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    assert place in str(caught.value)
    assert answer in caught.value.answer
    assert accepted in caught.value.accepted


def test_a_struct_that_checks_itself_is_placed_too() -> None:
    with pytest.raises(ConfigurationError, match="low above high"):
        read("low: 3\nhigh: 2", Picky)


def test_an_alias_cycle_is_an_error_not_a_crash() -> None:
    with pytest.raises(ConfigurationError):
        read("name: &a [*a]")


@given(st.text(max_size=200))
def test_no_text_makes_anything_but_a_value_or_a_configuration_error(text: str) -> None:
    try:
        value = read(text)
    except ConfigurationError as error:
        value = error.of
    assert isinstance(value, Box) or "box.yaml" in str(value)


def test_nearest_says_nothing_when_nothing_is_near() -> None:
    assert nearest("zzz", ["rows"]) == ""
    assert nearest("row", ["rows"]) == " (did you mean rows?)"
