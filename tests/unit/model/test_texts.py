from __future__ import annotations

import json

import msgspec
import pytest

from maxdaq_tango.model import Receipt, Verdict, encoded, latin_text, ranges_text


@pytest.mark.parametrize(
    ("ranges", "text"),
    [((), ""), (((3, 3),), "3"), (((3, 3), (7, 9)), "3, 7-9"), (((0, 2**62),), f"0-{2**62}")],
)
def test_ranges_are_told_in_short(ranges: tuple[tuple[int, int], ...], text: str) -> None:
    assert ranges_text(ranges) == text


def test_what_has_no_room_is_told_as_more() -> None:
    text = ranges_text([(2 * n, 2 * n) for n in range(10_000)], 40)
    assert text.startswith("0, 2, 4")
    assert text.endswith(", ...")
    assert len(text) <= 40
    assert ranges_text([(10**50, 10**50)], 20) == "..."


def test_text_that_cannot_be_encoded_is_told_with_its_bytes_spelt_out() -> None:
    receipt = Receipt(verdict=Verdict.FAILED, reasons=("a\udcffb",), settings={"k\udc80": ["v\udc81", 1, None]})
    told = msgspec.json.decode(encoded(receipt), type=Receipt)
    assert told.reasons == ("a\\udcffb",)
    assert told.settings == {"k\\udc80": ["v\\udc81", 1, None]}
    plain = Receipt(verdict=Verdict.COMPLETE)
    assert encoded(plain) == msgspec.json.encode(plain)


@pytest.mark.parametrize("text", ["", "plain", "Malmö 1 µm", 'with "quotes" and \\', "Ω", "a 漢 and 😀", "\ud800"])
def test_what_tango_cannot_tell_is_escaped_and_is_the_same_as_json(text):
    told = latin_text(msgspec.json.encode(text).decode() if text != "\ud800" else json.dumps(text, ensure_ascii=False))
    assert told.encode("latin-1")
    assert json.loads(told) == text


def test_what_tango_can_tell_is_not_touched():
    assert latin_text("Malmö, 20 µs, 3 Å") == "Malmö, 20 µs, 3 Å"
    assert latin_text("set Ω") == "set \\u03a9"
