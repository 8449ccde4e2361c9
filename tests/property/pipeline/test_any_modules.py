"""Whatever the order of parts and whatever is lost: the same frames, each with what came of it and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maxdaq_tango.model import Frame
from maxdaq_tango.pipeline.assembly import PART_COST, Assembler
from maxdaq_tango.pipeline.numbers import NumberRuns, ranges_of
from module_parts import SHAPE, part, seen, whole

FRAMES = 4
MODULES = st.integers(1, 5)
PART_NBYTES = PART_COST + 2 * SHAPE[0] * SHAPE[1]
Step = tuple[int, int, float]


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[int, list[Step]]:
    """(modules, [(frame, module, when)]): some parts never come, some come twice, time goes on or stands still."""
    modules = draw(MODULES)
    every = [(number, module) for number in range(FRAMES) for module in range(modules)]
    order = draw(st.permutations(draw(st.lists(st.sampled_from(every), max_size=2 * len(every)))))
    steps, now = [], 0.0
    for number, module in order:
        now += draw(st.sampled_from((0.0, 0.0, 0.0, 0.3, 1.1)))
        steps.append((number, module, now))
    return modules, steps


def run(modules: int, steps: list[Step], limit_bytes: int = 1 << 20) -> tuple[dict[int, Frame], Assembler, int]:
    frames: dict[int, Frame] = {}
    holds: Callable[[int], bool] = lambda number: number in frames  # noqa: E731
    assembler = Assembler(modules, wait_s=1.0, limit_bytes=limit_bytes, holds=holds)
    most = 0

    def hear(made: list[Frame]) -> None:
        for frame in made:
            assert isinstance(frame, Frame)
            assert frame.frame_number not in frames
            frames[frame.frame_number] = frame

    for number, module, now in steps:
        hear(assembler.due(now))  # type: ignore[arg-type]
        hear(assembler.put(part(number, module), now))  # type: ignore[arg-type]
        most = max(most, assembler.nbytes)
    hear(assembler.flush())  # type: ignore[arg-type]
    return frames, assembler, most


@given(
    MODULES.flatmap(lambda n: st.tuples(st.just(n), st.permutations([(f, m) for f in range(FRAMES) for m in range(n)])))
)
def test_any_order_gives_the_same_frames(given_order: tuple[int, list[tuple[int, int]]]) -> None:
    modules, order = given_order
    frames, assembler, _ = run(modules, [(number, module, 0.0) for number, module in order])
    assert sorted(frames) == list(range(FRAMES))
    for number, frame in frames.items():
        np.testing.assert_array_equal(seen(frame), whole(number, modules))
    assert (assembler.partial.count, assembler.late, assembler.duplicates, len(assembler)) == (0, 0, 0, 0)


@given(arrivals(), st.sampled_from((1, 3 * PART_NBYTES, 1 << 20)))
def test_every_part_is_used_or_counted_and_every_gap_is_told(came: tuple[int, list[Step]], limit_bytes: int) -> None:
    modules, steps = came
    frames, assembler, most = run(modules, steps, limit_bytes)
    assert set(frames) == {number for number, _, _ in steps}
    used = 0
    for number, frame in frames.items():
        mask = frame.extras["modules_mask"]
        without = tuple(module for module in range(modules) if not mask >> module & 1)
        np.testing.assert_array_equal(seen(frame), whole(number, modules, without))
        assert {module for n, module, _ in steps if n == number} >= set(range(modules)) - set(without)
        assert frame.extras["modules_valid"] == modules - len(without)
        used += modules - len(without)
    assert used + assembler.late + assembler.duplicates == len(steps)
    partial = [number for number, frame in frames.items() if frame.extras["modules_valid"] < modules]
    assert assembler.partial.ranges() == ranges_of(partial)
    assert sum(one.count for one in assembler.missing) == modules * len(frames) - used
    assert (assembler.nbytes, len(assembler)) == (0, 0)
    assert most <= max(limit_bytes, modules * PART_NBYTES)


@given(st.lists(st.integers(0, 60)))
def test_runs_of_numbers_are_their_ranges(numbers: list[int]) -> None:
    runs = NumberRuns()
    for number in numbers:
        runs.add(number)
    assert (runs.ranges(), runs.count) == (ranges_of(set(numbers)), len(numbers))
