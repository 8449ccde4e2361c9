from __future__ import annotations

import pytest

from maxdaq_tango.model import ranges_text


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
