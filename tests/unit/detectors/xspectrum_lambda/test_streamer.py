"""The streamer before a simulated Lambda, seen by the sockets of a receiver."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lambda_probes import ModuleProbes
from maxdaq_tango.curve import make_keys
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.xspectrum_lambda import acquisition, simulated_pyxsp
from maxdaq_tango.detectors.xspectrum_lambda.adapter import TakenFrame
from maxdaq_tango.detectors.xspectrum_lambda.client import LambdaClient
from maxdaq_tango.detectors.xspectrum_lambda.geometry import ModulePlace
from maxdaq_tango.detectors.xspectrum_lambda.protocol import Change, State
from maxdaq_tango.detectors.xspectrum_lambda.simulator import SimulatorOptions, expected_pixels
from maxdaq_tango.detectors.xspectrum_lambda.simulator_server import LambdaSimulatorServer
from maxdaq_tango.detectors.xspectrum_lambda.streamer import LambdaStreamer, main
from maxdaq_tango.detectors.xspectrum_lambda.words import BitDepth, CounterMode
from maxdaq_tango.errors import DetectorOffline, DetectorRefused
from maxdaq_tango.model import Encoding, FrameFormat, TriggerMode
from maxdaq_tango.testing.driver_contract import wait_for

MODULES = 3
LIBRARY = "maxdaq_tango.detectors.xspectrum_lambda.simulated_pyxsp"


def check_pixels(stand: Any, series: Any, module: int, depth: int = 12, first: int = 0) -> None:
    """Of a series whose frames are exposures from `first` of one acquisition."""
    for number, pixels in series.pixels().items():
        expected = expected_pixels(stand.options, module, number - first, BitDepth(depth))
        np.testing.assert_array_equal(pixels, expected)


def numbers_of(probes: ModuleProbes, *modules: int) -> list[list[int]]:
    return [probes.series(module).numbers for module in modules or range(MODULES)]


# --- series -----------------------------------------------------------------------------------------------------------


def test_every_module_sends_its_header_its_pixels_and_its_end(stand: Any) -> None:
    configured = stand.configured(frames_per_trigger=4, metadata={"sample": "mica"}, filename="/data/a.h5")
    with ModuleProbes(configured.ports) as probes:
        armed = stand.client.arm()
        stand.client.trigger(1.0)
        wait_for("IDLE", lambda: stand.status().state is State.IDLE)
        series = [probes.series(module) for module in range(MODULES)]
    assert (armed.series, armed.frame_count) == (1, 4)
    for module, one in enumerate(series):
        start = one.start.start
        assert start.filename == "/data/a.h5"
        told = start.metadata
        assert (told["x"], told["y"], told["rotation"]) == (0, module * 12, 0)
        assert (told["full_shape"], told["sample"], told["exptime"]) == ([32, 24], "mica", 0.001)
        assert told["thresholds"] == [7000.0]
        assert one.numbers == [0, 1, 2, 3]
        assert [frame.msg_number for frame in one.frames] == [1, 2, 3, 4]
        assert (start.msg_number, one.end.msg_number) == (0, 5)
        check_pixels(stand, one, module)
    assert stand.unreleased() == 0
    wait_for("all being sent", lambda: [module.sent for module in stand.status().modules] == [4] * MODULES)


@pytest.mark.parametrize("depth", [1, 6, 12, 24])
@pytest.mark.parametrize("compression", ["none", "bslz4"])
def test_every_depth_in_every_packing(make_stand: Callable[..., Any], depth: int, compression: str) -> None:
    stand = make_stand(streamer={"compression": compression}).ready(bit_depth=BitDepth(depth))
    configured = stand.configured(frames_per_trigger=3)
    with ModuleProbes(configured.ports) as probes:
        stand.client.arm()
        stand.client.trigger(1.0)
        for module in range(MODULES):
            series = probes.series(module)
            assert series.numbers == [0, 1, 2]
            assert {frame.format.encoding.value for frame in series.frames} == {compression}
            assert {frame.format.dtype for frame in series.frames} == {configured.dtype}
            check_pixels(stand, series, module, depth)


def test_bursts_and_series_are_numbered_through_and_alike_in_all_modules(stand: Any) -> None:
    configured = stand.configured(frames_per_trigger=2, trigger_count=3)
    with ModuleProbes(configured.ports) as probes:
        for first in (0, 8):
            stand.client.arm()
            for burst in range(3):
                assert stand.status().ready_for_trigger
                stand.client.trigger(1.0)
                assert stand.status().frames_acquired == 2 * burst + 2
            for module in range(MODULES):
                series = probes.series(module)
                assert series.numbers == [0, 1, 2, 3, 4, 5]
                assert series.start.start.msg_number == first
                assert [frame.msg_number for frame in series.frames] == list(range(first + 1, first + 7))
                assert series.end.msg_number == first + 7


def test_time_between_exposures_is_kept_by_the_streamer(stand: Any) -> None:
    configured = stand.configured(frames_per_trigger=5, latency_time_s=0.02)
    with ModuleProbes(configured.ports) as probes:
        stand.client.arm()
        began = time.monotonic()
        stand.client.trigger(1.0)
        assert time.monotonic() - began >= 4 * 0.021
        assert numbers_of(probes) == [[0, 1, 2, 3, 4]] * MODULES
    assert stand.server.simulator.series == 5


def test_both_counters_make_two_frames_an_exposure(make_stand: Callable[..., Any]) -> None:
    stand = make_stand(modules=1).ready(counter_mode=CounterMode.DUAL, thresholds_ev=(5000.0, 9000.0))
    configured = stand.configured(frames_per_trigger=3)
    assert configured.frame_count == 6
    with ModuleProbes(configured.ports) as probes:
        stand.client.arm()
        stand.client.trigger(1.0)
        series = probes.series(0)
    assert series.numbers == [0, 1, 2, 3, 4, 5]
    assert series.start.start.metadata["subframes"] == 2
    for number, pixels in series.pixels().items():
        expected = expected_pixels(stand.options, 0, number // 2, BitDepth.DEPTH_12, number % 2)
        np.testing.assert_array_equal(pixels, expected)


def test_numbers_that_roll_over_at_24_bits_shift_nothing(make_stand: Callable[..., Any]) -> None:
    stand = make_stand(first_number=2**24 - 3, numbers_run_on=True).ready()
    configured = stand.configured(frames_per_trigger=4, trigger_count=2)
    with ModuleProbes(configured.ports) as probes:
        stand.client.arm()
        stand.client.trigger(1.0)
        stand.client.trigger(1.0)
        assert numbers_of(probes) == [list(range(8))] * MODULES


def test_one_edge_starts_the_whole_series(stand: Any) -> None:
    configured = stand.configured(frames_per_trigger=4, trigger_mode=TriggerMode.EXTERNAL_MULTI)
    with ModuleProbes(configured.ports) as probes:
        stand.client.arm()
        assert stand.status().state is State.ARMED
        wait_for("the detector waiting", lambda: stand.server.simulator._exposures is not None)
        stand.edge()
        assert numbers_of(probes) == [[0, 1, 2, 3]] * MODULES
        wait_for("the end", lambda: stand.status().state is State.IDLE)


def test_each_edge_starts_its_frames_at_24_bit(make_stand: Callable[..., Any]) -> None:
    stand = make_stand().ready(bit_depth=BitDepth.DEPTH_24)
    configured = stand.configured(frames_per_trigger=2, trigger_count=2, trigger_mode=TriggerMode.EXTERNAL_MULTI)
    with ModuleProbes(configured.ports) as probes:
        stand.client.arm()
        wait_for("the detector waiting", lambda: stand.server.simulator._exposures is not None)
        stand.edge()
        wait_for("two frames", lambda: stand.status().frames_acquired == 2)
        assert stand.status().state is State.ACQUIRING
        stand.edge()
        assert numbers_of(probes) == [[0, 1, 2, 3]] * MODULES


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_without_the_library_it_runs_and_says_what_is_missing() -> None:
    with LambdaStreamer(library="pyxsp_that_nobody_has") as streamer:
        client = LambdaClient("127.0.0.1", streamer.port)
        status = client.status()
        assert status.state is State.OFFLINE
        assert "the library pyxsp_that_nobody_has cannot be imported here" in status.message
        with pytest.raises(DetectorRefused, match="pyxsp_that_nobody_has"):
            client.connect()
        with pytest.raises(DetectorOffline, match="pyxsp_that_nobody_has"):
            client.stop()
        assert len(streamer.conductor.stream_ports) == 1
        client.close()


def test_a_detector_that_comes_later_is_found_by_the_next_connect() -> None:
    options = SimulatorOptions(modules=2, rows=8, columns=24)
    with LambdaSimulatorServer(options) as server:
        port = server.http_port
    with LambdaStreamer(library=LIBRARY, system=f"http://127.0.0.1:{port}") as streamer:
        client = LambdaClient("127.0.0.1", streamer.port)
        with pytest.raises(DetectorOffline, match="made none of it"):
            client.connect()
        with LambdaSimulatorServer(options, http_port=port):
            assert client.connect().modules == 2
            assert len(streamer.conductor.stream_ports) == 2
            assert client.status().state is State.IDLE
        client.close()


def test_a_cold_start_without_thresholds_is_refused_before_anything_is_armed(make_stand: Callable[..., Any]) -> None:
    stand = make_stand()
    assert stand.client.connect().modules == MODULES
    assert stand.client.settings().thresholds_ev == ()
    with pytest.raises(DetectorRefused, match=r"no thresholds are set.*Accepted: set Threshold"):
        stand.configured()
    stand.client.set(Change(thresholds_ev=(5000.0,)))
    stand.configured()


def test_a_power_cycle_is_noticed_and_connect_brings_it_back_cold(stand: Any) -> None:
    with stand.server.lock:
        stand.server.simulator.power_cycle()
    wait_for("OFFLINE", lambda: stand.status().state is State.OFFLINE)
    stand.client.connect()
    assert stand.client.settings().thresholds_ev == ()
    assert stand.status().state is State.IDLE


def test_a_silent_module_costs_its_own_frames_and_the_series_ends(stand: Any) -> None:
    configured = stand.configured(frames_per_trigger=3)
    stand.server.simulator.memories[1].silent = True
    with ModuleProbes(configured.ports) as probes:
        stand.client.arm()
        stand.client.trigger(1.0)
        assert numbers_of(probes) == [[0, 1, 2], [], [0, 1, 2]]


def test_a_receiver_of_the_library_that_fails_is_as_one_that_is_silent(stand: Any) -> None:
    def broken(timeout_ms: float) -> None:
        raise simulated_pyxsp.RuntimeError("BAD_INTERNAL_ERROR: the receiver has died", 0x80020000)

    configured = stand.configured(frames_per_trigger=3, trigger_count=2)
    stand.streamer.conductor._system.modules[1]._receiver.get_frame = broken
    with ModuleProbes(configured.ports) as probes:
        with pytest.raises(DetectorRefused, match="has died"):
            stand.client.arm()  # which looks for left-overs
        del stand.streamer.conductor._system.modules[1]._receiver.get_frame
        stand.client.arm()
        stand.streamer.conductor._system.modules[1]._receiver.get_frame = broken
        wait_for("its being met", lambda: stand.streamer.conductor._acquisition._modules[1].told > 0)
        stand.client.trigger(1.0)
        stand.client.trigger(1.0)
        assert [numbers[-3:] for numbers in numbers_of(probes, 0, 2)] == [[3, 4, 5]] * 2
        assert probes.series(1).numbers == []


def test_what_nobody_foresaw_ends_the_series_with_the_reason(stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    configured = stand.configured(frames_per_trigger=1000, exposure_time_s=0.01)
    monkeypatch.setattr(acquisition, "encode_pixels", lambda pixels, encoding: 1 / 0)
    with ModuleProbes(configured.ports) as probes:
        stand.client.arm()
        with pytest.raises(DetectorRefused, match="please report it: ZeroDivisionError"):
            stand.client.trigger(10.0)
        assert numbers_of(probes) == [[]] * MODULES
    assert stand.unreleased() == 0


@pytest.mark.parametrize(
    ("pixels", "status", "usable"),
    [
        (np.arange(6, dtype=np.uint16), "FRAME_OK", True),
        (np.arange(6, dtype=np.uint16).view(np.uint8), "FRAME_OK", True),
        (np.arange(6, dtype=np.uint16), "FRAME_MISSING", False),
        (np.arange(6, dtype=np.int16), "FRAME_OK", False),
        (np.arange(3, dtype=np.uint32), "FRAME_OK", False),
        (np.arange(5, dtype=np.uint16), "FRAME_OK", False),
        (np.zeros(0, np.uint16), "FRAME_OK", False),
    ],
)
def test_pixels_are_used_only_where_they_can_be_those_of_the_module(
    pixels: np.ndarray[Any, Any], status: str, usable: bool
) -> None:
    format = FrameFormat((2, 3), "uint16", Encoding.NONE)
    used = acquisition.usable_pixels(TakenFrame(1, 0, status, pixels), format)
    assert (used is not None) == usable
    if used is not None:
        assert used.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_port_that_nobody_reads_holds_up_neither_the_trigger_nor_the_others(stand: Any) -> None:
    configured = stand.configured(frames_per_trigger=3)
    with ModuleProbes(configured.ports[:1]) as probes:
        stand.client.arm()
        stand.client.trigger(1.0)
        wait_for("IDLE", lambda: stand.status().state is State.IDLE)
        assert numbers_of(probes, 0) == [[0, 1, 2]]
    stand.client.arm()  # and the next series throws away what nobody took
    stand.client.abort()


def test_a_full_queue_keeps_frames_in_the_library_and_a_stop_passes(make_stand: Callable[..., Any]) -> None:
    stand = make_stand(room_frames=4, streamer={"compression": "none", "queue_bytes": 3 * 2000}).ready()
    stand.configured(frames_per_trigger=100_000)
    stand.client.arm()
    triggering = threading.Thread(target=stand.client.trigger, args=(100.0,), name="triggers")
    triggering.start()
    wait_for("full queues", lambda: all(module.queued_bytes > 1500 for module in stand.status().modules), 20.0)
    memories = stand.server.simulator.memories
    before = [memory.lost for memory in memories]
    lost = lambda: all(memory.lost > count for memory, count in zip(memories, before, strict=True))  # noqa: E731
    wait_for("frames being lost", lost, 20.0)
    began = time.monotonic()
    stand.client.stop()
    assert time.monotonic() - began < 10
    triggering.join(10)
    assert not triggering.is_alive()
    assert stand.unreleased() == 0
    modules = stand.status().modules
    assert all(module.given_up > 0 for module in modules)


@pytest.mark.parametrize(
    ("faults", "missing", "faulty"),
    [
        ({"drop_frames": (2,)}, {2}, 0),
        ({"truncate_frames": (1,)}, {1}, 1),
        ({"wrong_size_frames": (0,)}, {0}, 1),
        ({"dtype_at": 3}, {3, 4}, 2),
        ({"shape_at": 4}, {4}, 1),
        ({"duplicate_frames": (1, 3)}, set(), 0),
        ({"reorder_window": 4}, set(), 0),
        ({"delay_frames": (1,), "delay_s": 0.2}, set(), 0),
        ({"restart_at": 3}, {3, 4}, 0),
        ({"stop_after": 2}, {2, 3, 4}, 0),
        ({"number_at": 2, "number_sent": 77}, {2}, 0),
    ],
)
def test_what_the_library_does_to_frames_costs_those_alone(
    stand: Any, faults: dict[str, Any], missing: set[int], faulty: int
) -> None:
    configured = stand.configured(frames_per_trigger=5)
    stand.server.simulator.faults = Faults(**faults)
    with ModuleProbes(configured.ports) as probes:
        stand.client.arm()
        stand.client.trigger(1.0)
        for module in range(MODULES):
            series = probes.series(module)
            assert sorted(series.numbers) == sorted(set(range(5)) - missing)
            check_pixels(stand, series, module)
    assert [module.faulty for module in stand.status().modules] == [faulty] * MODULES
    assert stand.unreleased() == 0


def test_a_frame_is_never_kept_even_when_it_is_faulty_or_a_stray(stand: Any) -> None:
    stand.configured(frames_per_trigger=20)
    stand.server.simulator.faults = Faults(truncate_fraction=0.5, duplicate_fraction=0.5)
    stand.client.arm()
    stand.client.trigger(1.0)
    assert stand.unreleased() == 0


def test_a_stop_before_the_first_frame_sends_an_empty_series(stand: Any) -> None:
    configured = stand.configured(frames_per_trigger=5)
    with ModuleProbes(configured.ports) as probes:
        stand.client.arm()
        stand.client.stop()
        assert stand.status().state is State.IDLE
        for module in range(MODULES):
            series = probes.series(module)
            assert (series.numbers, series.start.start.msg_number, series.end.msg_number) == ([], 0, 1)
        stand.client.arm()
        stand.client.trigger(1.0)
        again = [probes.series(module) for module in (0, 2)]
        assert [one.start.start.msg_number for one in again] == [2, 2]
        assert again[0].numbers == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("ending", ["stop", "abort"])
def test_a_running_series_ends_and_what_was_sent_is_whole(stand: Any, ending: str) -> None:
    configured = stand.configured(frames_per_trigger=100_000, exposure_time_s=0.005)
    with ModuleProbes(configured.ports) as probes:
        stand.client.arm()
        triggering = threading.Thread(target=stand.client.trigger, args=(500.0,), name="triggers")
        triggering.start()
        wait_for("frames", lambda: min(module.sent for module in stand.status().modules) > 3)
        getattr(stand.client, ending)()
        triggering.join(10)
        assert not triggering.is_alive()
        wait_for("IDLE", lambda: stand.status().state is State.IDLE)
        series = [probes.series(module) for module in range(MODULES)]
    for module, one in enumerate(series):
        assert one.numbers == list(range(len(one.numbers)))
        assert len(one.numbers) > 3
        check_pixels(stand, one, module)
    assert len({one.end.msg_number for one in series}) == 1
    assert stand.unreleased() == 0


def test_a_second_arm_is_refused_and_the_first_series_goes_on(stand: Any) -> None:
    configured = stand.configured(frames_per_trigger=3)
    with ModuleProbes(configured.ports) as probes:
        stand.client.arm()
        with pytest.raises(DetectorRefused, match="a series is under way"):
            stand.client.arm()
        stand.client.trigger(1.0)
        assert numbers_of(probes) == [[0, 1, 2]] * MODULES


def test_an_abort_passes_while_an_arm_waits_for_memory(make_stand: Callable[..., Any]) -> None:
    stand = make_stand(allocate_s=60.0)
    stand.ready()
    stand.configured()
    refused: list[Exception] = []

    def arm() -> None:
        try:
            stand.client.arm()
        except DetectorRefused as error:
            refused.append(error)

    arming = threading.Thread(target=arm, name="arms")
    arming.start()
    wait_for("CONFIGURING", lambda: stand.status().state is State.CONFIGURING)
    stand.client.abort()
    arming.join(10)
    assert "ended meanwhile" in str(refused[0])
    assert stand.status().state is State.IDLE


def test_a_start_that_the_detector_refuses_ends_the_series_with_its_words(stand: Any) -> None:
    configured = stand.configured(frames_per_trigger=2)
    stand.server.simulator.faults = Faults(refuse_arm="the door is open")
    with ModuleProbes(configured.ports) as probes:
        stand.client.arm()
        with pytest.raises(DetectorRefused, match="the door is open"):
            stand.client.trigger(1.0)
        assert numbers_of(probes) == [[]] * MODULES
    status = stand.status()
    assert (status.state, "the door is open" in status.message) == (State.IDLE, True)
    stand.server.simulator.faults = Faults()
    stand.client.arm()
    stand.client.trigger(1.0)


def test_the_error_state_is_told_and_initialise_is_the_way_out(stand: Any) -> None:
    stand.server.simulator.faults = Faults(error_state="too hot")
    wait_for("ERROR", lambda: stand.status().state is State.ERROR)
    assert "too hot" in stand.status().message
    stand.client.initialise()
    assert stand.status().state is State.IDLE


def test_an_error_in_mid_run_ends_the_series(stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acquisition, "LOST_S", 0.5)
    configured = stand.configured(frames_per_trigger=100_000, exposure_time_s=0.005)
    with ModuleProbes(configured.ports) as probes:
        stand.client.arm()
        errors: list[Exception] = []

        def trigger() -> None:
            try:
                stand.client.trigger(500.0)
            except DetectorRefused as error:
                errors.append(error)

        triggering = threading.Thread(target=trigger, name="triggers")
        triggering.start()
        wait_for("frames", lambda: min(module.sent for module in stand.status().modules) > 3)
        stand.server.simulator.faults = Faults(error_state="cooling failed")
        triggering.join(15)
        ended = not triggering.is_alive()
        if not ended:
            stand.client.abort()
            triggering.join()
        assert ended
        assert len(probes.series(0).numbers) > 0
    assert ["cooling failed" in str(error) for error in errors] == [True]
    wait_for("ERROR", lambda: stand.status().state is State.ERROR)


def test_an_outage_of_the_detector_in_mid_run_costs_only_what_it_could_not_keep(stand: Any) -> None:
    configured = stand.configured(frames_per_trigger=100, exposure_time_s=0.01)
    with ModuleProbes(configured.ports) as probes:
        stand.client.arm()
        triggering = threading.Thread(target=stand.client.trigger, args=(30.0,), name="triggers")
        triggering.start()
        wait_for("frames", lambda: stand.status().frames_acquired > 3)
        assert stand.server._listener is not None
        stand.server._listener.take_offline(0.3)
        triggering.join(30)
        # A frame whose answer was cut off is lost with its connection; all others wait in the library's memory.
        for numbers in numbers_of(probes):
            assert len(numbers) >= 99


def test_the_modules_may_be_placed_by_hand(make_stand: Callable[..., Any]) -> None:
    places = (ModulePlace(0, 0), ModulePlace(30, 0, 90), ModulePlace(0, 40, 180))
    stand = make_stand(streamer={"places": places, "whole": (64, 64)}).ready()
    configured = stand.configured()
    assert (configured.places, configured.full_shape) == (places, (64, 64))
    with ModuleProbes(configured.ports) as probes:
        stand.client.arm()
        stand.client.trigger(1.0)
        told = probes.series(1).start.start.metadata
    assert (told["x"], told["y"], told["rotation"], told["full_shape"]) == (30, 0, 90, [64, 64])


def test_streams_can_be_encrypted(make_stand: Callable[..., Any], tmp_path: Path) -> None:
    public = make_keys(tmp_path / "streamer.key")
    stand = make_stand(streamer={"curve_key": str(tmp_path / "streamer.key")}).ready()
    configured = stand.configured(frames_per_trigger=2)
    with ModuleProbes(configured.ports) as stranger, ModuleProbes(configured.ports, server_key=public) as probes:
        stand.client.arm()
        stand.client.trigger(1.0)
        assert numbers_of(probes) == [[0, 1]] * MODULES
        assert all(stranger.is_silent(module) for module in range(MODULES))


def three_free_ports() -> int:
    for first in range(21_000, 31_000, 7):
        with ExitStack() as stack:
            try:
                for port in range(first, first + 3):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    pytest.skip("no three free ports in a row on this computer")


def test_the_last_of_the_ports_counts_on(make_stand: Callable[..., Any]) -> None:
    first = three_free_ports()
    stand = make_stand(streamer={"stream_ports": (first,)})
    assert stand.streamer.conductor.stream_ports == (first, first + 1, first + 2)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--place", "1"], "X,Y,ROTATION"),
        (["--place", "0,0,45"], "0, 90, 180 or 270"),
        (["--place=-5,0"], "from 0"),
        (["--full-shape", "wide"], "ROWS,COLUMNS"),
        (["--compression", "zip"], "invalid choice"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
