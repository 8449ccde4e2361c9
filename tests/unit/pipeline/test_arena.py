"""Shared memory between an engine and a writer process: no two pieces overlap, and all that fits is taken."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxdaq_tango.pipeline.arena import ALIGNMENT, Arena, Ring, mapped


@given(st.integers(0, 40), st.lists(st.one_of(st.none(), st.integers(0, 45 * ALIGNMENT)), max_size=200))
def test_pieces_never_overlap_and_are_given_back_in_order(size: int, steps: list[int | None]) -> None:
    ring = Ring(size * ALIGNMENT)
    held: deque[tuple[int, int]] = deque()
    for step in steps:
        if step is None:
            if held:
                held.popleft()
                ring.give_back()
            continue
        found = ring.find(step)
        length = max(1, -(-step // ALIGNMENT)) * ALIGNMENT
        if found is None:
            free = ring.nbytes - sum(nbytes for _, nbytes in held)
            assert held or length > ring.nbytes, "an empty ring takes what fits"
            assert len(held) > 1 or free < 2 * length + ALIGNMENT or length > ring.nbytes // 2
            with pytest.raises(ValueError, match="no room"):
                ring.take(step)
            continue
        assert ring.take(step) == found
        assert 0 <= found <= ring.nbytes - length
        assert all(found + length <= start or start + nbytes <= found for start, nbytes in held)
        held.append((found, length))
        assert len(ring) == len(held)
        assert ring.used == sum(nbytes for _, nbytes in held)


@pytest.fixture
def arena() -> Iterator[Arena]:
    arena = Arena()
    yield arena
    arena.close()
    arena.close()


@pytest.mark.parametrize("nbytes", [0, 1, 100, 1 << 20, (1 << 20) + 1])
def test_what_is_put_in_is_seen_on_the_other_side(arena: Arena, nbytes: int) -> None:
    arena.resize(5 << 20)
    other = memoryview(mapped(os.dup(arena.handle), arena.ring.nbytes))
    for _ in range(5):
        blobs = [os.urandom(nbytes), b"abc", memoryview(os.urandom(8)).cast("H")]
        places = arena.put([blobs[0], blobs[1], memoryview(blobs[2]).cast("B")])
        assert [bytes(other[offset : offset + length]) for offset, length in places] == [bytes(blob) for blob in blobs]
        if len(arena.ring) > 1:
            arena.ring.give_back()


def test_its_length_is_changed_only_while_it_is_empty(arena: Arena) -> None:
    arena.resize(100)
    assert arena.ring.nbytes == 4096
    arena.put([b"x"])
    with pytest.raises(ValueError, match="in use"):
        arena.resize(10_000)
    arena.ring.give_back()
    arena.resize(10_000)
    assert arena.ring.nbytes == 12288
    arena.resize(0)
    assert os.fstat(arena.handle).st_size == 0
