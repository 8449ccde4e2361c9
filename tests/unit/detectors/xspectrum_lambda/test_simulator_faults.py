"""What each fault does to a simulated Lambda, and that every one of them either does something or is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from lambda_bench import Bench, numbers
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.xspectrum_lambda import simulated_pyxsp as pyxsp
from maxdaq_tango.detectors.xspectrum_lambda.simulator import (
    MEANINGLESS,
    SimulatorOptions,
    check_faults,
    expected_pixels,
    pixels_of,
)
from maxdaq_tango.detectors.xspectrum_lambda.simulator_server import LambdaSimulatorServer
from maxdaq_tango.detectors.xspectrum_lambda.simulator_settings import StatusCode
from maxdaq_tango.detectors.xspectrum_lambda.words import BitDepth, FrameStatus
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.testing.driver_contract import wait_for

ORDERS: list[tuple[dict[str, Any], list[int]]] = [
    ({"drop_frames": (1,)}, [1, 3, 4]),
    ({"drop_fraction": 1.0}, []),
    ({"duplicate_frames": (1,)}, [1, 2, 2, 3, 4]),
    ({"duplicate_fraction": 1.0}, [1, 1, 2, 2, 3, 3, 4, 4]),
    ({"reorder_frames": (1,)}, [1, 3, 2, 4]),
    ({"stop_after": 2}, [1, 2]),
    ({"never_start": True}, []),
    ({"number_at": 1, "number_sent": 9}, [1, 10, 3, 4]),
    ({"restart_at": 2}, [1, 2, 1, 2]),
]
"""Of four frames in a memory that holds eight, as they come."""
INSIDE: list[tuple[dict[str, Any], FrameStatus, int]] = [
    ({"truncate_frames": (0,)}, FrameStatus.FRAME_INCOMPLETE, 384),
    ({"truncate_fraction": 1.0}, FrameStatus.FRAME_INCOMPLETE, 384),
    ({"wrong_size_frames": (0,)}, FrameStatus.FRAME_OK, 386),
    ({"wrong_size_fraction": 1.0}, FrameStatus.FRAME_OK, 386),
    ({"dtype_at": 0}, FrameStatus.FRAME_OK, 768),
    ({"shape_at": 0}, FrameStatus.FRAME_OK, 192),
    ({"corrupt_frames": (0,)}, FrameStatus.FRAME_OK, 384),
    ({"corrupt_fraction": 1.0}, FrameStatus.FRAME_OK, 384),
]
"""What the library says of a frame of 384 bytes, and its bytes."""


@pytest.mark.parametrize(("faults", "expected"), ORDERS)
def test_faults_of_the_order(faults: dict[str, Any], expected: list[int]) -> None:
    healthy, bench = Bench(room_frames=8).started(4), Bench(Faults(**faults), room_frames=8).started(4)
    for one in (healthy, bench):
        one.advance(1.0)
    assert numbers(healthy.take()) == [1, 2, 3, 4] != expected
    assert [numbers(bench.take(module)) for module in (0, 1)] == [expected] * 2


@pytest.mark.parametrize(("faults", "status", "nbytes"), INSIDE)
def test_faults_inside_a_frame(faults: dict[str, Any], status: FrameStatus, nbytes: int) -> None:
    bench = Bench(Faults(**faults)).started(frames=1)
    bench.advance(1.0)
    (frame,) = bench.take()
    pixels = pixels_of(bench.options, 0, frame)
    assert (frame.status, pixels.nbytes) == (status, nbytes)
    assert pixels.tobytes() != expected_pixels(bench.options, 0, 0, BitDepth.DEPTH_12).tobytes()
    account = bench.simulator.accounts.read(1)
    assert (account.intact, account.damaged) == ((), ((0, 0),))


def one_bit(faults: dict[str, Any]) -> None:
    bench = Bench(Faults(**faults)).started(frames=1)
    bench.advance(1.0)
    (frame,) = bench.take()
    wrong = pixels_of(bench.options, 0, frame) ^ expected_pixels(bench.options, 0, 0, BitDepth.DEPTH_12)
    assert np.count_nonzero(wrong) == wrong.sum() == 1


def a_window_has_an_order_of_its_own_that_follows_from_the_seed(faults: dict[str, Any]) -> None:
    orders = []
    for seed in (faults["seed"], faults["seed"], 2, 3):
        bench = Bench(Faults(**{**faults, "seed": seed})).started(frames=6)
        bench.advance(1.0)
        orders.append(tuple(numbers(bench.take())))
    assert orders[0] == orders[1]
    assert len(set(orders)) > 1
    assert all(sorted(order) == [1, 2, 3, 4, 5, 6] for order in orders)
    assert (1, 2, 3, 4, 5, 6) not in orders


def a_delayed_frame_comes_later_and_so_do_those_behind_it(faults: dict[str, Any]) -> None:
    bench = Bench(Faults(**faults)).started(frames=3)
    bench.advance(1.0)
    first = numbers(bench.take())
    assert first == ([1] if "delay_frames" in faults else [])
    bench.advance(5.0)
    assert [*first, *numbers(bench.take())] == [1, 2, 3]


def the_error_state_lasts_until_it_is_initialised_again(faults: dict[str, Any]) -> None:
    bench = Bench().started()
    bench.simulator.faults = Faults(**faults)
    refusal = bench.refuses(bench.simulator.get, "shutter_time", [], bench.now)
    assert (refusal.code, faults["error_state"] in str(refusal)) == (StatusCode.BAD_DEVICE_FAILURE, True)
    bench.simulator.initialize(bench.now)
    assert bench.simulator.get("shutter_time", [], bench.now) == 100.0


def a_start_is_refused(faults: dict[str, Any]) -> None:
    bench = Bench().ready()
    bench.simulator.faults = Faults(**faults)
    assert faults["refuse_arm"] in str(bench.refuses(bench.simulator.start, bench.now))
    bench.simulator.faults = Faults()
    bench.simulator.start(bench.now)


def a_value_can_be_neither_read_nor_set(faults: dict[str, Any]) -> None:
    bench = Bench().ready()
    bench.simulator.faults = Faults(**faults)
    (key,) = faults["failing_keys"]
    bench.refuses(bench.simulator.get, key, [], bench.now)
    bench.refuses(bench.simulator.set, key, [], [7.0], bench.now)
    assert bench.simulator.get("shutter_time", [], bench.now) == 100.0


@contextmanager
def the_library() -> Iterator[tuple[LambdaSimulatorServer, pyxsp.System, pyxsp.Detector]]:
    """In front of a simulator in health."""
    with LambdaSimulatorServer(SimulatorOptions(modules=1, rows=8, columns=24, allocate_s=0.0)) as server:
        system = pyxsp.System(server.url)
        assert system is not None
        system.connect()
        system.initialize()
        detector = system.open_detector("lambda")
        detector.thresholds = [6.0]
        yield server, system, detector
        system.disconnect()


def a_start_takes_longer_and_other_calls_pass(faults: dict[str, Any]) -> None:
    with the_library() as (server, _, detector):
        server.simulator.faults = Faults(**faults)
        began = time.monotonic()
        starting = threading.Thread(target=detector.start_acquisition, name="starts")
        starting.start()
        assert not detector.is_busy  # and this look did not wait for the start
        assert starting.is_alive()
        starting.join()
        assert time.monotonic() - began >= faults["arm_delay_s"]
        assert server.simulator.series == 1


def an_initialisation_takes_longer(faults: dict[str, Any]) -> None:
    with the_library() as (server, system, _):
        server.simulator.faults = Faults(**faults)
        began = time.monotonic()
        system.initialize()
        assert time.monotonic() - began >= faults["initialise_delay_s"]


def nobody_answers_for_a_while(faults: dict[str, Any]) -> None:
    with the_library() as (server, _, detector):
        outages: list[str] = []

        def answers() -> bool:
            try:
                return isinstance(detector.is_busy, bool)
            except pyxsp.RuntimeError as error:
                outages.append(str(error))
                return False

        httpx.post(f"{server.url}/simulator/api/faults", json=faults, trust_env=False)
        wait_for("the outage", lambda: not answers())
        wait_for("its end", answers)
        assert all("BAD_COMMUNICATION_ERROR" in outage for outage in outages)


SHOWN: list[tuple[dict[str, Any], Callable[[dict[str, Any]], None]]] = [
    ({"corrupt_frames": (0,)}, one_bit),
    ({"reorder_window": 6, "seed": 1}, a_window_has_an_order_of_its_own_that_follows_from_the_seed),
    ({"delay_frames": (1,), "delay_s": 5.0}, a_delayed_frame_comes_later_and_so_do_those_behind_it),
    ({"delay_fraction": 1.0, "delay_s": 5.0}, a_delayed_frame_comes_later_and_so_do_those_behind_it),
    ({"error_state": "too hot"}, the_error_state_lasts_until_it_is_initialised_again),
    ({"refuse_arm": "door open"}, a_start_is_refused),
    ({"failing_keys": ("thresholds",)}, a_value_can_be_neither_read_nor_set),
    ({"arm_delay_s": 1.0}, a_start_takes_longer_and_other_calls_pass),
    ({"initialise_delay_s": 0.3}, an_initialisation_takes_longer),
    ({"offline_s": 0.3}, nobody_answers_for_a_while),
]


@pytest.mark.parametrize(("faults", "show"), SHOWN, ids=lambda value: ",".join(value) if type(value) is dict else "")
def test_faults_of_calls_and_of_time(faults: dict[str, Any], show: Callable[[dict[str, Any]], None]) -> None:
    show(faults)


def test_every_fault_is_switched_on_here_or_has_a_reason_why_it_means_nothing() -> None:
    shown = {name for table in (ORDERS, INSIDE, SHOWN) for faults, *_ in table for name in faults}
    assert shown | MEANINGLESS.keys() == set(Faults.__struct_fields__)
    assert not shown & MEANINGLESS.keys()


@pytest.mark.parametrize("name", MEANINGLESS)
def test_a_fault_that_would_do_nothing_is_refused_with_the_reason(name: str) -> None:
    kind = next(field.type for field in msgspec.structs.fields(Faults) if field.name == name)
    value: Any = {"str": "x.h5", "float": 0.25, "bool": True}.get(getattr(kind, "__name__", ""), 1)
    if name.endswith("_frames"):
        value = (1,)
    with pytest.raises(ConfigurationError, match=name) as refused:
        check_faults(Faults(**{name: value}))
    assert refused.value.answer == MEANINGLESS[name]
