"""The simulated Lambda on a clock that is turned by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from lambda_bench import SMALL, Bench, numbers
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.xspectrum_lambda.simulator import (
    SimulatorOptions,
    expected_pixels,
    pixels_of,
)
from maxdaq_tango.detectors.xspectrum_lambda.simulator_settings import StatusCode
from maxdaq_tango.detectors.xspectrum_lambda.words import BitDepth


def test_after_a_cold_start_there_are_no_thresholds_and_nothing_can_be_acquired() -> None:
    bench = Bench()
    bench.simulator.connect()
    bench.simulator.initialize(bench.now)
    bench.advance(1.0)
    assert bench.simulator.get("thresholds", [], bench.now) == []
    assert "thresholds" in str(bench.refuses(bench.simulator.start, bench.now))
    bench.ready()
    bench.simulator.start(bench.now)
    bench.simulator.power_cycle()
    bench.simulator.connect()
    bench.simulator.initialize(bench.now)
    assert bench.simulator.get("thresholds", [], bench.now) == []


def test_frames_come_when_their_exposure_is_over_from_every_module_and_count_from_1() -> None:
    bench = Bench().started()
    bench.advance(0.05)
    assert bench.take() == []
    bench.advance(0.16)
    assert [numbers(bench.take(module)) for module in (0, 1)] == [[1, 2], [1, 2]]
    assert bench.simulator.is_busy(bench.now)
    bench.advance(0.1)
    assert numbers(bench.take()) == [3]
    assert not bench.simulator.is_busy(bench.now)


def test_memory_is_not_allocated_for_a_while_after_a_new_length_or_depth() -> None:
    bench = Bench().ready()
    for name, value in (("number_of_frames", 7), ("bit_depth", 24)):
        bench.simulator.set(name, [], value, bench.now)
        assert not bench.simulator.ram_allocated(bench.now)
        assert bench.refuses(bench.simulator.start, bench.now).code is StatusCode.BAD_DEVICE_NOT_READY
        bench.advance(0.06)
        assert bench.simulator.ram_allocated(bench.now)
    bench.simulator.set("bit_depth", [], 24, bench.now)
    assert bench.simulator.ram_allocated(bench.now)  # nothing has changed


def test_a_frame_that_is_not_released_keeps_its_place_and_the_next_ones_are_lost() -> None:
    bench = Bench().started(frames=20)
    bench.advance(0.45)
    assert len(bench.take(0, release=False)) == 4
    bench.advance(2.0)
    assert numbers(bench.take(0)) == [5, 6]
    assert bench.simulator.memories[0].lost == 14
    assert bench.simulator.memories[1].lost == 14  # nobody has taken anything there
    assert len(bench.simulator.memories[0].taken) == 4


def test_a_frame_is_released_once() -> None:
    bench = Bench().started()
    bench.advance(0.1)
    taken = bench.simulator.take(0, bench.now)
    assert taken is not None
    bench.simulator.release(0, taken[0])
    assert bench.refuses(bench.simulator.release, 0, taken[0]).code is StatusCode.BAD_ARG_INVALID
    bench.refuses(bench.simulator.release, 1, taken[0])


def test_numbers_roll_over_at_24_bits() -> None:
    bench = Bench(first_number=2**24 - 2, numbers_run_on=True).started(frames=3)
    bench.advance(0.31)
    assert numbers(bench.take()) == [2**24 - 2, 2**24 - 1, 0]
    bench.simulator.start(bench.now)
    bench.advance(0.11)
    assert numbers(bench.take()) == [1]


def test_numbers_begin_again_with_every_acquisition() -> None:
    bench = Bench().started(frames=2)
    for _ in range(2):
        bench.advance(0.3)
        assert numbers(bench.take()) == [1, 2]
        bench.simulator.start(bench.now)


def test_both_counters_make_a_subframe_each() -> None:
    bench = Bench().started(frames=2, counter_mode="DUAL")
    bench.advance(0.3)
    frames = bench.take()
    assert [(frame.nr, frame.subframe) for frame in frames] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    low, high = (pixels_of(bench.options, 0, frame) for frame in frames[:2])
    assert not np.array_equal(low, high)


def test_24_bits_take_both_counters() -> None:
    bench = Bench().ready(counter_mode="DUAL")
    assert bench.refuses(bench.simulator.set, "bit_depth", [], 24, bench.now).code is StatusCode.BAD_ARG_INVALID


@pytest.mark.parametrize(("depth", "dtype"), [(1, "uint8"), (6, "uint8"), (12, "uint16"), (24, "uint32")])
def test_a_pixel_counts_as_far_as_its_depth(depth: int, dtype: str) -> None:
    options = SimulatorOptions(**SMALL)
    pixels = expected_pixels(options, 1, 5, BitDepth(depth))
    assert pixels.dtype == dtype
    assert pixels.max() <= 2**depth - 1
    assert not np.array_equal(pixels, expected_pixels(options, 0, 5, BitDepth(depth)))


def test_one_edge_starts_the_sequence() -> None:
    bench = Bench().started(frames=3, trigger_mode="EXT_SEQUENCE")
    bench.advance(5.0)
    assert bench.take() == []
    bench.simulator.edge(bench.now)
    bench.simulator.edge(bench.now)  # too many
    bench.advance(0.35)
    assert numbers(bench.take()) == [1, 2, 3]


def test_at_24_bits_each_edge_starts_an_exposure() -> None:
    bench = Bench().ready(frames=3, trigger_mode="EXT_FRAMES", bit_depth=24)
    bench.simulator.start(bench.now)
    for number in (1, 2, 3):
        bench.advance(1.0)
        assert bench.take() == []
        bench.simulator.edge(bench.now)
        bench.advance(0.11)
        assert numbers(bench.take()) == [number]
    assert not bench.simulator.is_busy(bench.now)


def test_at_other_depths_an_edge_ends_one_frame_and_starts_the_next() -> None:
    bench = Bench().started(frames=2, trigger_mode="EXT_FRAMES")
    bench.simulator.edge(bench.now)
    bench.advance(7.0)
    assert bench.take() == []
    bench.simulator.edge(bench.now)
    bench.advance(0.0)
    assert numbers(bench.take()) == [1]
    bench.simulator.edge(bench.now)
    bench.advance(0.0)
    assert numbers(bench.take()) == [2]
    assert not bench.simulator.is_busy(bench.now)


def test_an_edge_starts_as_many_frames_as_were_asked_for() -> None:
    bench = Bench().ready(frames=6, trigger_mode="EXT_FRAMES", bit_depth=24, frames_per_trigger=3)
    bench.simulator.start(bench.now)
    bench.simulator.edge(bench.now)
    bench.advance(5.0)
    assert numbers(bench.take()) == [1, 2, 3]
    assert bench.simulator.is_busy(bench.now)


def test_what_was_made_before_a_stop_can_still_be_taken() -> None:
    bench = Bench().started(frames=100)
    bench.advance(0.25)
    bench.simulator.stop(bench.now)
    bench.advance(5.0)
    assert numbers(bench.take()) == [1, 2]
    account = bench.simulator.accounts.read(1)
    assert (account.finished, account.frames_made, account.intact) == (True, 2, ((0, 1),))


def test_settings_are_refused_in_an_acquisition() -> None:
    bench = Bench().started(frames=100)
    assert bench.refuses(bench.simulator.set, "shutter_time", [], 5.0, bench.now).code is StatusCode.BAD_DEVICE_BUSY
    assert bench.refuses(bench.simulator.start, bench.now).code is StatusCode.BAD_DEVICE_BUSY


@pytest.mark.parametrize(
    ("name", "value"),
    [("shutter_time", 1e10), ("shutter_time", "long"), ("number_of_frames", 2**24), ("thresholds", []),
     ("thresholds", [1.0] * 9), ("bit_depth", 14), ("trigger_mode", "INTERNAL"), ("humidity", 3.0), ("colour", 1)],
)  # fmt: skip
def test_nonsense_is_refused_and_changes_nothing(name: str, value: Any) -> None:
    bench = Bench().ready()
    before = vars(bench.simulator.settings).copy()
    bench.refuses(bench.simulator.set, name, [], value, bench.now)
    assert vars(bench.simulator.settings) == before


def test_a_module_that_does_not_exist_is_refused() -> None:
    bench = Bench().ready()
    assert bench.simulator.get("temperature", [2], bench.now)
    for module in (0, 3):
        bench.refuses(bench.simulator.get, "temperature", [module], bench.now)


# --- faults: one by one in test_simulator_faults.py -------------------------------------------------------------------


def test_a_silent_module_costs_only_its_own_frames() -> None:
    bench = Bench().ready()
    bench.simulator.memories[1].silent = True
    bench.simulator.start(bench.now)
    bench.advance(1.0)
    assert (numbers(bench.take(0)), bench.take(1)) == ([1, 2, 3], [])


def test_the_account_tells_what_left() -> None:
    bench = Bench(Faults(drop_frames=(1,), truncate_frames=(2,))).started(frames=4)
    bench.advance(1.0)
    account = msgspec.to_builtins(bench.simulator.accounts.read(1))
    assert account["intact"] == ((0, 0), (3, 3))
    assert (account["dropped"], account["damaged"]) == (((1, 1),), ((2, 2),))
