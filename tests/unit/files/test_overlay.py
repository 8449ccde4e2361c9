"""The sparse image of metadata equals a plain array of bytes with a mask, whatever is written and forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from maxdaq_tango.files.overlay import PAGE, MetadataOverlay

SPAN = 4 * PAGE
places = st.tuples(st.integers(0, SPAN - 1), st.integers(0, 2 * PAGE)).map(lambda p: (p[0], min(p[1], SPAN - p[0])))
steps = st.lists(st.tuples(st.sampled_from(["write", "forget", "cut"]), places, st.integers(1, 255)), max_size=12)


@given(steps)
def test_it_remembers_exactly_what_was_written(history: list[tuple[str, tuple[int, int], int]]) -> None:
    overlay, model, known = MetadataOverlay(), bytearray(SPAN), bytearray(SPAN)
    for what, (offset, nbytes), value in history:
        if what == "write":
            overlay.write(offset, bytes([value]) * nbytes)
            model[offset : offset + nbytes], known[offset : offset + nbytes] = bytes([value]) * nbytes, b"\1" * nbytes
        elif what == "forget":
            overlay.forget(offset, nbytes)
            known[offset : offset + nbytes] = bytes(nbytes)
        else:
            overlay.cut(offset)
            known[offset:] = bytes(SPAN - offset)
    there = bytearray(b"\xaa" * SPAN)
    expected = bytearray(m if k else 0xAA for m, k in zip(model, known, strict=True))
    laid = bytearray(there)
    for offset, data in overlay.extents():
        laid[offset : offset + len(data)] = data
    assert laid == expected
    overlay.patch(0, memoryview(there))
    assert there == expected


@given(steps, places)
def test_a_patch_touches_only_its_range(
    history: list[tuple[str, tuple[int, int], int]], where: tuple[int, int]
) -> None:
    overlay = MetadataOverlay()
    for _, (offset, nbytes), value in history:
        overlay.write(offset, bytes([value]) * nbytes)
    whole = bytearray(SPAN)
    overlay.patch(0, memoryview(whole))
    offset, nbytes = where
    part = bytearray(nbytes)
    overlay.patch(offset, memoryview(part))
    assert part == whole[offset : offset + nbytes]
    assert overlay.covers(offset, nbytes) == (b"\0" not in part)
