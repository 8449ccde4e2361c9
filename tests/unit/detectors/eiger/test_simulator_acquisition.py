"""States, triggers and ends of a series, on a clock turned by hand."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from maxdaq_tango.detectors.eiger.protocol import State
from maxdaq_tango.detectors.simulation.pattern import expected_frame, frame_number_in
from maxdaq_tango.kernels.compression import decode_pixels
from maxdaq_tango.model import Frame, SeriesEnd, SeriesStart

FAST = {"count_time": 0.004, "frame_time": 0.01}


def numbers(events) -> list[int]:
    return [event.frame_number for event in events if isinstance(event, Frame)]


def ended(events) -> int:
    return sum(isinstance(event, SeriesEnd) for event in events)


def series_id(answer) -> int:
    assert answer.reply is not None
    assert answer.reply.status == 200, answer.reply
    return json.loads(answer.reply.body)["sequence id"]


def refused(answer) -> str:
    assert answer.reply is not None
    assert answer.reply.status == 400, answer.reply
    return answer.reply.body.decode()


def test_initialize_takes_its_time_and_says_so(bench):
    answer = bench.command("initialize")
    assert bench.state() == "initialize"
    bench.advance(0.5)
    assert answer.reply is None
    bench.advance(0.6)
    assert answer.reply.status == 200
    assert bench.state() == "idle"


def test_arm_sends_the_header_and_counts_the_series(bench):
    bench.streaming()
    assert series_id(bench.command("arm")) == 1
    assert bench.state() == "ready"
    (start,) = bench.events()
    assert isinstance(start, SeriesStart)
    assert start.series == "1"
    series_id(bench.command("disarm"))
    assert series_id(bench.command("arm")) == 2
    bench.command("abort")
    bench.initialised()
    bench.put("mode", "enabled", "stream")
    assert series_id(bench.command("arm")) == 1


def test_a_trigger_blocks_for_its_burst_and_the_frames_leave_at_their_pace(bench):
    bench.armed(nimages=5, **FAST)
    bench.messages()
    answer = bench.command("trigger")
    assert bench.state() == "acquire"
    left = []
    for _ in range(5):
        bench.advance(0.0095)
        left.append(len(bench.messages()))
        bench.advance(0.0005)
        if len(left) < 5:
            assert answer.reply is None
    assert left[:4] == [1, 1, 1, 1]
    assert answer.reply.status == 200
    assert bench.state() == "idle"


def test_the_series_disarms_itself_after_the_last_frame(bench):
    bench.armed(nimages=2, ntrigger=2, **FAST)
    first = bench.command("trigger")
    bench.advance(0.05)
    assert first.reply.status == 200
    assert bench.state() == "ready"
    bench.command("trigger")
    bench.advance(0.05)
    events = bench.events()
    assert numbers(events) == [0, 1, 2, 3]
    assert ended(events) == 1
    assert isinstance(events[-1], SeriesEnd)
    assert bench.state() == "idle"
    assert refused(bench.command("trigger"))


def test_pixels_on_the_wire_are_the_patterns(bench):
    bench.armed(nimages=3, **FAST)
    bench.command("trigger")
    bench.advance(1.0)
    frames = [event for event in bench.events() if isinstance(event, Frame)]
    for frame in frames:
        pixels = decode_pixels(frame.format, frame.blobs)
        assert (pixels == expected_frame(1, frame.frame_number, (64, 48), "uint16")).all()
        assert frame_number_in(pixels) == frame.frame_number
    gaps = [b.start_time_s - a.start_time_s for a, b in pairwise(frames)]
    assert gaps == pytest.approx([0.01, 0.01], abs=1e-7)
    assert frames[0].stop_time_s - frames[0].start_time_s == pytest.approx(0.004, abs=1e-7)
    assert 0 < frames[0].real_time_s <= 0.004


@pytest.mark.parametrize("command", ["disarm", "cancel", "abort"])
def test_a_blocking_trigger_is_ended_from_another_connection(bench, command):
    bench.armed(nimages=1000, **FAST)
    trigger = bench.command("trigger")
    bench.advance(0.1)
    assert trigger.reply is None
    answer = bench.command(command)
    bench.advance(0.02)
    assert series_id(answer) == 1
    assert trigger.reply is not None
    assert bench.state() == "idle"
    events = bench.events()
    assert isinstance(events[-1], SeriesEnd)
    assert ended(events) == 1
    bench.advance(10.0)
    assert bench.messages() == []


def test_cancel_finishes_the_image_under_exposure_and_disarm_does_not(make_bench):
    made = {}
    for command in ("cancel", "disarm"):
        bench = make_bench().armed(nimages=1000, count_time=0.009, frame_time=0.01)
        bench.command("trigger")
        bench.advance(0.035)  # three are out, the fourth is being exposed
        bench.command(command)
        bench.advance(0.1)
        made[command] = numbers(bench.events())
    assert made == {"cancel": [0, 1, 2, 3], "disarm": [0, 1, 2]}


def test_abort_throws_the_pipeline_away_and_keeps_header_and_end(bench):
    bench.armed(nimages=1000, **FAST)
    bench.command("trigger")
    bench.advance(0.1)
    bench.command("abort")
    events = bench.events()
    assert [type(event) for event in events] == [SeriesStart, SeriesEnd]
    assert bench.simulator.queues.purged == 10


def test_ending_is_harmless_when_nothing_runs(bench):
    bench.streaming()
    for command in ("disarm", "cancel", "abort"):
        assert series_id(bench.command(command)) == 0
    assert bench.messages() == []
    assert bench.state() == "idle"


def test_an_armed_detector_that_is_disarmed_sends_header_and_end(bench):
    bench.armed()
    bench.command("disarm")
    assert [type(event) for event in bench.events()] == [SeriesStart, SeriesEnd]


def test_a_slow_arm_can_be_aborted(make_bench):
    bench = make_bench(arm_time_s=2.0).streaming()
    arm = bench.command("arm")
    assert bench.state() == "configure"
    bench.advance(1.0)
    assert arm.reply is None
    assert series_id(bench.command("abort")) == 1
    assert "ended by abort" in refused(arm)
    assert bench.state() == "idle"
    bench.advance(5.0)
    assert bench.messages() == []


def test_initialize_ends_a_series_without_an_end_message(bench):
    bench.armed(nimages=100, **FAST)
    trigger = bench.command("trigger")
    bench.advance(0.05)
    bench.messages()
    bench.command("initialize")
    assert "initialised" in refused(trigger)
    bench.advance(5.0)
    assert bench.messages() == []
    assert bench.state() == "idle"


def test_commands_in_the_wrong_state_are_refused_with_the_state(bench):
    for command in ("arm", "trigger", "disarm"):
        assert "not initialized" in refused(bench.command(command))
    bench.streaming(nimages=10, **FAST)
    assert "idle" in refused(bench.command("trigger"))
    bench.command("arm")
    assert "ready" in refused(bench.command("arm"))
    bench.command("trigger")
    assert "used up" in refused(bench.command("trigger"))
    status, text = bench.try_put("nimages", 3)
    assert status == 400
    assert "acquire" in text
    assert refused(bench.command("check_connections"))


def test_settings_are_frozen_by_arm(bench):
    bench.armed(nimages=2, **FAST)
    assert bench.try_put("nimages", 3)[0] == 400
    bench.put("header_appendix", "late", "stream")  # the stream module may be set, for the next series
    bench.command("trigger")
    bench.advance(1.0)
    assert numbers(bench.events()) == [0, 1]


def test_a_series_of_more_than_a_week_is_refused_at_arm(bench):
    bench.streaming(count_time=1000.0, nimages=1000)
    assert "week" in refused(bench.command("arm"))
    assert bench.state() == "idle"


def test_inte_takes_the_count_time_and_answers_at_once(bench):
    bench.armed(ntrigger=3, trigger_mode="inte")
    assert bench.command("trigger", 0.5).reply.status == 200
    assert bench.command("trigger", 0.25).reply.status == 200  # waits for its turn
    bench.advance(0.45)
    assert len(bench.events()) == 1
    bench.advance(0.1)
    bench.advance(0.25)
    bench.command("trigger")
    bench.advance(1.0)
    frames = [event for event in bench.events() if isinstance(event, Frame)]
    assert [f.stop_time_s - f.start_time_s for f in frames] == pytest.approx([0.5, 0.25, 0.1], abs=1e-6)
    assert bench.state() == "idle"


def test_inte_refuses_an_exposure_it_cannot_make(bench):
    bench.armed(ntrigger=3, trigger_mode="inte")
    assert "out of range" in refused(bench.command("trigger", 1e9))
    assert "no number" in refused(bench.command("trigger", "long"))
    assert bench.state() == "ready"


def test_edges_start_bursts_in_exts(bench):
    bench.armed(nimages=2, ntrigger=3, trigger_mode="exts", **FAST)
    assert "trigger mode exts" in refused(bench.command("trigger"))
    reply = bench.ask("POST", "/simulator/api/edge", count="5").reply
    assert json.loads(reply.body) == {"taken": 3, "ignored": 2}
    bench.advance(1.0)
    events = bench.events()
    assert numbers(events) == list(range(6))
    assert ended(events) == 1
    assert bench.state() == "idle"


def test_edges_that_come_too_early_are_ignored_and_counted(bench):
    bench.armed(nimages=2, ntrigger=10, trigger_mode="exts", **FAST)
    reply = bench.ask("POST", "/simulator/api/edge", count="4", period_s="0.015").reply
    assert json.loads(reply.body) == {"taken": 2, "ignored": 2}
    bench.advance(1.0)
    assert numbers(bench.events()) == [0, 1, 2, 3]
    assert bench.state() == "ready"
    status = json.loads(bench.ask("GET", "/simulator/api/status").reply.body)
    assert status["triggers_ignored"] == 2


def test_signals_mean_nothing_to_a_detector_that_does_not_listen(bench):
    bench.streaming()
    assert json.loads(bench.ask("POST", "/simulator/api/edge").reply.body)["taken"] == 0
    bench.command("arm")
    assert json.loads(bench.ask("POST", "/simulator/api/edge").reply.body)["taken"] == 0
    assert json.loads(bench.ask("POST", "/simulator/api/gate", {"width_s": 0.1}).reply.body)["taken"] == 0
    assert bench.state() == "ready"


def test_gates_are_the_exposures_of_exte(bench):
    bench.armed(ntrigger=3, trigger_mode="exte")
    bench.ask("POST", "/simulator/api/gate", {"width_s": 0.2})
    bench.advance(0.25)
    bench.ask("POST", "/simulator/api/gate", {"width_s": 0.05, "count": 2, "period_s": 0.1})
    bench.advance(1.0)
    events = bench.events()
    frames = [event for event in events if isinstance(event, Frame)]
    assert [f.stop_time_s - f.start_time_s for f in frames] == pytest.approx([0.2, 0.05, 0.05], abs=1e-6)
    assert ended(events) == 1


def test_extg_sums_gates_gives_two_counters_and_stays_armed(bench):
    bench.armed(nimages=2, nexpi=3, trigger_mode="extg")
    reply = bench.ask("POST", "/simulator/api/gate", {"width_s": 0.01, "count": 9}).reply
    assert json.loads(reply.body) == {"taken": 6, "ignored": 3}
    bench.advance(1.0)
    events = bench.events()
    assert numbers(events) == [0, 1, 2, 3]
    frames = [event for event in events if isinstance(event, Frame)]
    assert frames[0].start_time_s == frames[1].start_time_s < frames[2].start_time_s
    assert ended(events) == 0
    assert bench.state() == "ready"
    bench.command("disarm")
    assert ended(bench.events()) == 1


@pytest.mark.parametrize(
    ("path", "body", "query"),
    [
        ("edge", None, {"count": "0"}),
        ("edge", None, {"count": "x"}),
        ("edge", None, {"period_s": "-1"}),
        ("gate", {"width_s": 0}, {}),
        ("gate", {}, {}),
        ("gate", {"width_s": 1, "height": 2}, {}),
        ("faults", {"drop_frame": [1]}, {}),
        ("faults", {"drop_fraction": 2}, {}),
    ],
)
def test_nonsense_to_the_simulators_own_paths_is_refused(bench, path, body, query):
    assert bench.ask("POST", "/simulator/api/" + path, body, **query).reply.status == 400
    assert bench.ask("POST", "/simulator/api/nothing").reply.status == 404


def test_the_start_delay_delays(bench):
    bench.armed(trigger_start_delay=2.0, **FAST)
    bench.messages()
    bench.command("trigger")
    bench.advance(1.9)
    assert bench.messages() == []
    bench.advance(0.2)
    assert numbers(bench.events()) == [0]


def test_a_late_machine_leaves_no_frame_out_and_says_so(bench):
    bench.armed(nimages=50, **FAST)
    bench.command("trigger")
    bench.now += 10.0  # the computer slept
    bench.simulator.run_due(bench.now)
    assert numbers(bench.events()) == list(range(50))
    status = json.loads(bench.ask("GET", "/simulator/api/status").reply.body)
    assert status["frames_late"] == 50
    assert status["lateness_s"] > 9


def test_a_full_queue_drops_images_counts_them_and_keeps_header_and_end(make_bench):
    bench = make_bench(queue_bytes=40_000).armed(nimages=100, **FAST)
    bench.command("trigger")
    bench.advance(5.0)
    dropped = bench.get("dropped", "stream", "status")
    events = bench.events()
    assert isinstance(events[0], SeriesStart)
    assert isinstance(events[-1], SeriesEnd)
    assert dropped > 10
    assert len(numbers(events)) + dropped == 100
    bench.command("arm")
    assert bench.get("dropped", "stream", "status") == 0


def test_restart_brings_it_back_to_na(bench):
    bench.armed()
    assert bench.command("restart", module="system").reply.status == 200
    assert bench.state() == "na"
    assert bench.get("mode", "stream") == "disabled"


def test_error_state_lasts_until_initialize(bench):
    bench.armed(nimages=100, **FAST)
    trigger = bench.command("trigger")
    bench.advance(0.05)
    bench.faults(error_state="HV lost")
    assert bench.state() == "error"
    assert "HV lost" in refused(trigger)
    assert bench.get("error", task="status") == ["HV lost"]
    assert bench.envelope("state", task="status")["state"] == "critical"
    assert bench.get("state", "stream", "status") == "error"
    assert "error" in refused(bench.command("arm"))
    assert bench.command("abort").reply.status == 200
    assert bench.state() == "error"
    failed = bench.command("initialize")
    bench.advance(2.0)
    assert failed.reply.status == 500
    bench.faults()
    bench.initialised()
    assert bench.state() == "idle"


def test_arm_can_be_refused_and_slowed(bench):
    bench.streaming()
    bench.faults(refuse_arm="no beam")
    assert "no beam" in refused(bench.command("arm"))
    assert bench.state() == "idle"
    bench.faults(arm_delay_s=30.0)
    arm = bench.command("arm")
    bench.advance(29.0)
    assert arm.reply is None
    bench.advance(2.0)
    assert series_id(arm) == 1


def test_a_detector_that_never_starts_waits_for_abort(bench):
    bench.faults(never_start=True)
    bench.armed(nimages=3, **FAST)
    trigger = bench.command("trigger")
    bench.advance(3600.0)
    assert trigger.reply is None
    assert bench.state() == "acquire"
    series_id(bench.command("cancel"))
    assert trigger.reply is not None
    assert [type(event) for event in bench.events()] == [SeriesStart, SeriesEnd]


def test_a_key_can_be_made_to_fail(bench):
    bench.initialised()
    bench.faults(failing_keys=["count_time", "arm"])
    assert bench.ask("GET", bench.url("config", "count_time")).reply.status == 500
    assert bench.command("arm").reply.status == 500
    assert bench.get("nimages") == 1


ALL_COMMANDS = ("initialize", "arm", "trigger", "disarm", "cancel", "abort", "status_update", "check_connections")
SETTLED = {State.NA, State.IDLE, State.READY, State.ACQUIRE, State.ERROR}


@pytest.mark.parametrize("command", ALL_COMMANDS)
@pytest.mark.parametrize("state", sorted(set(State) - {State.TEST}))  # no command leads to `test`
def test_every_command_in_every_state_is_answered_and_leaves_a_known_state(make_bench, state, command):
    bench = make_bench(arm_time_s=1.0)
    if state is State.INITIALIZE:
        bench.command("initialize")
    elif state is not State.NA:
        bench.streaming(nimages=100, ntrigger=2, **FAST)
        if state is State.ERROR:
            bench.faults(error_state="broken")
            bench.simulator.acquisition.faults = type(bench.simulator.acquisition.faults)()
        elif state is not State.IDLE:
            bench.command("arm")
            if state is not State.CONFIGURE:
                bench.advance(1.1)
            if state is State.ACQUIRE:
                bench.command("trigger")
    assert bench.state() == state
    answer = bench.command(command)
    bench.advance(5.0)
    assert answer.reply is not None
    assert answer.reply.status in (200, 400)
    assert State(bench.state()) in SETTLED
    bench.initialised()
    assert bench.state() == "idle"
    bench.put("mode", "enabled", "stream")
    assert bench.command("arm").reply is None
    bench.advance(1.5)
    assert bench.state() == "ready"
