"""Arming, running and ending: what is told to whom, in which order."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from maxdaq_tango.errors import DetectorRefused, DetectorTimeout, EngineError, StateError
from maxdaq_tango.model import AcquisitionState, RunRequest, TriggerMode, Verdict
from maxdaq_tango.model.hardware import DetectorReport, HardwareState
from maxdaq_tango.transaction.phases import Phase
from maxdaq_tango.transaction.status import sentence
from maxdaq_tango.transaction.words import AbortAsked, ExpectFields, ResetAsked, SourceSeen, Step, StopAsked

S = AcquisitionState


def test_every_pair_goes_through_the_steps_in_order_and_each_step_waits_for_all(stage):
    play = stage("a", "b")
    assert [call.step for call in play.begin()] == [Step.CHECK] * 2
    assert play.answer(Step.CHECK, "b") == []
    assert [call.step for call in play.answer(Step.CHECK, "a")] == [Step.CONFIGURE] * 2
    assert play.answer(Step.CONFIGURE, "b") == []
    assert [call.step for call in play.answer(Step.CONFIGURE, "a")] == [Step.PREPARE] * 2
    assert play.answer(Step.PREPARE, "a") == []
    assert [call.step for call in play.answer(Step.PREPARE, "b")] == [Step.ARM] * 2
    play.answer(Step.ARM, "a")
    assert [call.step for call in play.answer(Step.ARM, "b")] == [Step.EXPECT] * 2
    assert play.sequence.state is S.CONFIGURING
    play.answer_all(Step.EXPECT)
    assert (play.sequence.phase, play.sequence.state) == (Phase.RUN, S.ARMED)


def test_the_receiver_is_prepared_for_what_the_detector_described(stage):
    play = stage().to(Phase.PREPARE)
    request = play.call(Step.PREPARE).argument
    assert isinstance(request, RunRequest)
    assert (request.sources, request.expected_frames, request.run_id) == (("tcp://127.0.0.1:9999",), 10, "run-1")
    assert (request.destination, request.roots) == ("/data/a.h5", ())


def test_metadata_of_clients_and_of_the_detector_stand_beside_each_other(stage):
    play = stage().to(Phase.PREPARE)
    play.call(Step.PREPARE)
    pair = play.sequence.pairs["a"]
    assert pair.request("r").metadata == {"detector": {}}
    pair.plan = replace(pair.plan, metadata={"detector": "mine", "sample": "A1"})
    assert pair.request("r").metadata == {"detector": "mine", "sample": "A1", "detector_settings": {}}


def test_the_receiver_learns_series_and_count_from_the_armed_detector(stage):
    play = stage().to(Phase.EXPECT)
    assert play.call(Step.EXPECT).argument == ExpectFields(series="17", frames=10)


def test_internal_triggering_starts_by_itself_once(stage):
    play = stage(mode=TriggerMode.INTERNAL).to(Phase.RUN)
    assert play.steps().count(Step.TRIGGER) == 1
    play.answer(Step.TRIGGER)
    play.source(HardwareState.ACQUIRING)
    assert play.steps().count(Step.TRIGGER) == 1
    assert play.sequence.state is S.ACQUIRING


@pytest.mark.parametrize("mode", [TriggerMode.EXTERNAL_MULTI, TriggerMode.EXTERNAL_MULTI_GATE])
def test_external_triggering_triggers_nothing(stage, mode):
    play = stage(mode=mode).to(Phase.RUN)
    assert Step.TRIGGER not in play.steps()
    play.receiver(S.ACQUIRING, received=1)
    play.finish()
    assert play.sequence.outcome.verdict is Verdict.COMPLETE


def test_states_follow_the_run_to_its_end(stage):
    play = stage().to(Phase.RUN)
    for _ in range(2):
        play.software_trigger()
        play.answer(Step.TRIGGER)
    play.source(HardwareState.ACQUIRING)
    assert play.sequence.state is S.ACQUIRING
    play.source(HardwareState.IDLE)
    assert play.sequence.state is S.DRAINING
    assert "Waiting for the receiver to finish (rec/a)" in sentence(play.sequence)
    play.receiver(S.FINALISING, received=10)
    assert play.sequence.state is S.FINALISING
    play.receiver(S.IDLE, received=10, verdict=Verdict.COMPLETE)
    assert (play.sequence.state, play.sequence.phase) == (S.IDLE, Phase.IDLE)
    assert play.sequence.outcome.receipts["a"].frames_received == 10


def test_a_look_from_before_arm_does_not_end_the_series(stage):
    play = stage().to(Phase.ARM)
    old = play.sequence.tick
    play.answer(Step.ARM)
    play.answer(Step.EXPECT)
    play(SourceSeen("a", DetectorReport(state=HardwareState.IDLE), old))
    assert play.sequence.state is S.ARMED


def test_an_idle_look_while_a_trigger_is_on_its_way_does_not_end_the_series(stage):
    play = stage(mode=TriggerMode.INTERNAL).to(Phase.RUN)
    play.source(HardwareState.IDLE)
    assert play.sequence.state is S.ARMED
    play.answer(Step.TRIGGER)
    play.source(HardwareState.IDLE)
    assert play.sequence.state is S.DRAINING


def test_second_arm_is_refused_and_changes_nothing(stage):
    play = stage().to(Phase.RUN)
    with pytest.raises(StateError, match="under way"):
        play.begin()
    assert play.sequence.state is S.ARMED


def test_unknown_detector_and_no_detector_are_refused(stage):
    play = stage()
    play.names = ("x",)
    with pytest.raises(StateError, match="x named"):
        play.begin()
    play.names = ()
    with pytest.raises(StateError, match="no detector named"):
        play.begin()
    assert play.sequence.phase is Phase.IDLE


# ---- failures while arming ----


def test_a_failed_configure_undoes_nothing_and_tells_all_four_things(stage):
    play = stage().to(Phase.CONFIGURE)
    play.fail(Step.CONFIGURE)
    outcome = play.sequence.outcome
    assert (play.sequence.state, outcome.armed, outcome.verdict) == (S.IDLE, False, Verdict.FAILED)
    error = outcome.errors[0]
    assert isinstance(error, DetectorRefused)
    for part in ("configure the detector det/a", "count_time to 9000", "http://dcu", "above the upper limit", "1800"):
        assert part in str(error)
    assert play.steps() == [Step.CHECK, Step.CONFIGURE]
    assert "everything was undone" in sentence(play.sequence)


def test_a_failed_prepare_aborts_the_other_receivers_but_not_the_one_that_refused(stage):
    play = stage("a", "b").to(Phase.PREPARE)
    play.answer(Step.PREPARE, "b")
    play.fail(Step.PREPARE, "a")
    assert play.sequence.state is S.CONFIGURING  # until all is undone
    assert play.sequence.outcome is None
    assert Step.ABORT_RECEIVER not in play.steps("a")
    play.answer(Step.ABORT_RECEIVER, "b")
    play.answer_all(Step.ABORT_SOURCE)  # both were configured, and so held for us
    assert play.sequence.state is S.IDLE
    assert Step.ARM not in play.steps("a") + play.steps("b")


def test_a_prepare_still_on_its_way_when_another_fails_is_undone_when_it_comes(stage):
    play = stage("a", "b").to(Phase.PREPARE)
    play.fail(Step.PREPARE, "a")
    assert Step.ABORT_RECEIVER not in play.steps("b")
    assert [call.step for call in play.answer(Step.PREPARE, "b")] == [Step.ABORT_RECEIVER]
    play.answer(Step.ABORT_RECEIVER, "b")
    play.answer_all(Step.ABORT_SOURCE)
    assert play.sequence.outcome is not None


def test_a_failed_arm_disarms_every_detector_and_aborts_every_receiver(stage):
    play = stage("a", "b").to(Phase.ARM)
    play.answer(Step.ARM, "b")
    told = play.fail(Step.ARM, "a")
    assert {(call.pair, call.step) for call in told} == {
        (name, step) for name in "ab" for step in (Step.ABORT_SOURCE, Step.ABORT_RECEIVER)
    }
    for name in "ab":
        play.answer(Step.ABORT_SOURCE, name)
        play.answer(Step.ABORT_RECEIVER, name)
    assert play.sequence.state is S.IDLE
    assert "det/a" in str(play.sequence.outcome.errors[0])


def test_an_arm_that_answers_after_the_undoing_began_is_taken_back_again(stage):
    play = stage("a", "b").to(Phase.ARM)
    play.fail(Step.ARM, "a")
    assert [call.step for call in play.answer(Step.ARM, "b")] == [Step.ABORT_SOURCE]


def test_a_step_that_times_out_is_named_with_its_limit_and_its_late_answer_is_undone(stage):
    play = stage().to(Phase.ARM)
    play.time_out(Step.ARM)
    play.answer(Step.ABORT_SOURCE)
    play.answer(Step.ABORT_RECEIVER)
    error = play.sequence.outcome.errors[0]
    assert isinstance(error, DetectorTimeout)
    assert "det/a" in str(error)
    assert "no answer within 130 s" in str(error)
    with pytest.raises(StateError, match="has not come back"):
        play.begin()
    assert [call.step for call in play.answer(Step.ARM)] == [Step.ABORT_SOURCE]
    with pytest.raises(StateError, match="has not come back"):
        play.begin()
    play.answer(Step.ABORT_SOURCE)
    assert [call.step for call in play.begin()] == [Step.CHECK]


def test_a_prepare_that_times_out_is_the_receivers_fault_and_undone_now_and_later(stage):
    play = stage().to(Phase.PREPARE)
    assert [call.step for call in play.time_out(Step.PREPARE)] == [Step.ABORT_SOURCE, Step.ABORT_RECEIVER]
    play.answer(Step.ABORT_SOURCE)
    play.answer(Step.ABORT_RECEIVER)
    error = play.sequence.outcome.errors[0]
    assert isinstance(error, EngineError)
    assert "rec/a" in str(error)
    assert [call.step for call in play.answer(Step.PREPARE)] == [Step.ABORT_RECEIVER]


def test_a_late_failure_needs_no_undoing(stage):
    play = stage().to(Phase.PREPARE)
    play.time_out(Step.PREPARE)
    play.answer(Step.ABORT_SOURCE)
    play.answer(Step.ABORT_RECEIVER)
    assert play.fail(Step.PREPARE) == []
    assert play.begin()


def test_an_undoing_that_fails_is_a_fault_with_both_reasons(stage):
    play = stage().to(Phase.ARM)
    play.fail(Step.ARM)
    play.fail(Step.ABORT_SOURCE, error=DetectorTimeout("abort", of="det/a", answer="no answer"))
    play.answer(Step.ABORT_RECEIVER)
    assert play.sequence.state is S.FAULT
    assert [type(error) for error in play.sequence.outcome.errors] == [DetectorRefused, DetectorTimeout]
    assert "could not be undone" in sentence(play.sequence)
    assert play.begin()  # an operator who simply arms again needs no detour


@pytest.mark.parametrize("phase", [Phase.CHECK, Phase.CONFIGURE, Phase.PREPARE, Phase.ARM, Phase.EXPECT])
@pytest.mark.parametrize("request_", [StopAsked(), AbortAsked("enough")])
def test_stop_and_abort_while_arming_undo_everything(stage, phase, request_):
    play = stage("a", "b").to(phase)
    play(request_)
    assert play.sequence.phase is Phase.UNDO
    while play.open:
        play.answer(next(iter(play.open.values())).step, next(iter(play.open.values())).pair)
    assert (play.sequence.state, play.sequence.outcome.verdict) == (S.IDLE, Verdict.ABORTED)
    assert (Step.ABORT_SOURCE in play.steps()) == (Step.CONFIGURE in play.steps())  # to let go of it
    assert (Step.ABORT_RECEIVER in play.steps()) == (Step.PREPARE in play.steps())


def test_a_detector_that_refused_its_settings_is_left_alone_as_it_may_work_for_somebody_else(stage):
    play = stage("a", "b").to(Phase.CONFIGURE)
    play.answer(Step.CONFIGURE, "a")
    play.fail(Step.CONFIGURE, "b")
    assert play.steps("b") == [Step.CHECK, Step.CONFIGURE]
    assert play.steps("a") == [Step.CHECK, Step.CONFIGURE, Step.ABORT_SOURCE]


# ---- software triggers ----


def test_a_trigger_before_arm_in_the_wrong_mode_or_too_often_is_refused_in_words(stage):
    with pytest.raises(StateError, match="Arm first"):
        stage().software_trigger()
    with pytest.raises(StateError, match="TriggerMode is INTERNAL"):
        stage(mode=TriggerMode.INTERNAL).to(Phase.RUN).software_trigger()
    play = stage(triggers=1).to(Phase.RUN)
    play.software_trigger()
    play.answer(Step.TRIGGER)
    with pytest.raises(StateError, match="all 1 triggers have been given"):
        play.software_trigger()


def test_a_trigger_while_one_is_worked_on_is_refused(stage):
    play = stage(triggers=3).to(Phase.RUN)
    play.software_trigger()
    with pytest.raises(StateError, match="trigger 1 of 3 is still being worked on"):
        play.software_trigger()


def test_a_trigger_is_kept_when_all_frames_of_the_last_one_are_here_and_only_its_answer_is_late(stage):
    play = stage(triggers=3).to(Phase.RUN)
    play.software_trigger()
    play.receiver(S.ACQUIRING, received=5)
    assert play.software_trigger() == []
    assert [call.step for call in play.answer(Step.TRIGGER)] == [Step.TRIGGER]
    with pytest.raises(StateError, match="trigger 2 of 3"):
        play.software_trigger()


def test_hardware_that_says_it_is_not_ready_is_believed(stage):
    play = stage().to(Phase.RUN)
    play.source(HardwareState.ARMED, ready=False)
    with pytest.raises(StateError, match="not ready"):
        play.software_trigger()
    play.source(HardwareState.ARMED, ready=True)
    assert play.software_trigger()


def test_a_refused_trigger_breaks_the_pair_and_closes_its_file(stage):
    play = stage().to(Phase.RUN)
    play.software_trigger()
    play.fail(Step.TRIGGER)
    play.answer(Step.ABORT_SOURCE)
    play.answer(Step.STOP_RECEIVER)
    play.receiver(S.IDLE, received=0, verdict=Verdict.INCOMPLETE)
    outcome = play.sequence.outcome
    assert outcome.verdict is Verdict.INCOMPLETE
    assert any("trigger the detector" in reason for reason in outcome.reasons)


# ---- stop and abort ----


def test_stop_ends_the_source_first_then_the_receiver_then_reports(stage):
    play = stage("a", "b").to(Phase.RUN)
    assert [call.step for call in play(StopAsked())] == [Step.STOP_SOURCE] * 2
    assert [call.step for call in play.answer(Step.STOP_SOURCE, "a")] == [Step.STOP_RECEIVER]
    play.answer(Step.STOP_SOURCE, "b")
    assert play.sequence.state is S.DRAINING
    for name in "ab":
        play.answer(Step.STOP_RECEIVER, name)
        play.receiver(S.IDLE, name, received=3, verdict=Verdict.ABORTED)
    assert (play.sequence.state, play.sequence.outcome.verdict) == (S.IDLE, Verdict.ABORTED)


def test_a_trigger_cut_short_by_stop_is_no_failure(stage):
    play = stage(mode=TriggerMode.INTERNAL).to(Phase.RUN)
    play(StopAsked())
    play.fail(Step.TRIGGER)
    play.answer(Step.STOP_SOURCE)
    play.answer(Step.STOP_RECEIVER)
    play.receiver(S.IDLE, received=3, verdict=Verdict.ABORTED)
    assert play.sequence.outcome.errors == ()


def test_a_source_that_does_not_stop_is_aborted_and_then_given_up(stage):
    play = stage().to(Phase.RUN)
    play(StopAsked())
    play.time_out(Step.STOP_SOURCE)
    play.fail(Step.ABORT_SOURCE)
    play.answer(Step.STOP_RECEIVER)
    play.receiver(S.IDLE, received=3, verdict=Verdict.ABORTED)
    assert len(play.sequence.outcome.errors) == 2


def test_a_trigger_that_stop_does_not_bring_back_holds_the_run_a_moment_and_then_the_next_arm(stage):
    play = stage(mode=TriggerMode.INTERNAL).to(Phase.RUN)
    play(StopAsked())
    play.answer(Step.STOP_SOURCE)
    play.answer(Step.STOP_RECEIVER)
    play.receiver(S.IDLE, received=3, verdict=Verdict.ABORTED)
    assert play.sequence.phase is Phase.STOP
    play.wait(16)
    play.source(HardwareState.IDLE)
    assert play.sequence.phase is Phase.IDLE
    with pytest.raises(StateError, match="has not come back"):
        play.begin()
    play.fail(Step.TRIGGER)
    assert play.begin()


def test_abort_ends_both_sides_at_once(stage):
    play = stage().to(Phase.RUN)
    assert [call.step for call in play(AbortAsked("enough"))] == [Step.ABORT_SOURCE, Step.ABORT_RECEIVER]
    assert play.call(Step.ABORT_RECEIVER).argument == "enough"
    play.answer(Step.ABORT_SOURCE)
    play.answer(Step.ABORT_RECEIVER)
    play.receiver(S.IDLE, received=2, verdict=Verdict.ABORTED)
    assert play.sequence.outcome.verdict is Verdict.ABORTED


def test_an_aborted_receiver_without_a_receipt_is_given_up_as_failed(stage):
    play = stage().to(Phase.RUN)
    play(AbortAsked("enough"))
    play.answer(Step.ABORT_SOURCE)
    play.answer(Step.ABORT_RECEIVER)
    play.wait(16)
    play.receiver(S.FINALISING, received=2)
    assert play.sequence.state is S.FAULT
    assert "does not close" in play.sequence.outcome.reasons[0]


def test_stop_and_abort_of_nothing_are_harmless_and_reset_forgets(stage):
    play = stage()
    assert play(StopAsked()) == play(AbortAsked("x")) == []
    play.to(Phase.CONFIGURE)
    play.fail(Step.CONFIGURE)
    play(ResetAsked())
    assert sentence(play.sequence) == "Ready"
    play.to(Phase.RUN)
    with pytest.raises(StateError, match="Abort first"):
        play(ResetAsked())


# ---- what goes wrong in a run ----


def test_a_finished_source_and_a_silent_receiver_end_in_a_stop_of_the_receiver(stage):
    play = stage().to(Phase.RUN)
    play.source(HardwareState.IDLE)
    play.receiver(S.ACQUIRING, received=4)
    play.wait(1)
    assert play.receiver(S.ACQUIRING, received=5) == []  # it moves: nobody hurries it
    play.wait(2.0)
    assert play.receiver(S.ACQUIRING, received=5) == []
    play.wait(0.4)
    assert [call.step for call in play.receiver(S.ACQUIRING, received=5)] == [Step.STOP_RECEIVER]
    play.answer(Step.STOP_RECEIVER)
    play.receiver(S.IDLE, received=5, verdict=Verdict.INCOMPLETE)
    assert play.sequence.outcome.verdict is Verdict.INCOMPLETE
    assert play.sequence.state is S.IDLE


def test_a_receiver_that_has_not_looked_is_not_taken_for_one_to_which_nothing_comes(stage):
    play = stage().to(Phase.RUN)
    play.receiver(S.ACQUIRING, received=2, updated_ns=1)
    play.source(HardwareState.IDLE)
    play.wait(9)
    assert play.receiver(S.ACQUIRING, received=2, updated_ns=1) == []  # busy with a frame since before the end
    play.receiver(S.ACQUIRING, received=5, updated_ns=2)
    play.wait(2.5)
    (stop,) = play.receiver(S.ACQUIRING, received=5, updated_ns=3)
    assert stop.step is Step.STOP_RECEIVER
    assert "nothing more arrived for 2.5 s" in str(stop.argument)


def test_a_receiver_that_never_looks_again_is_stopped(stage):
    play = stage().to(Phase.RUN)
    play.receiver(S.ACQUIRING, received=2, updated_ns=1)
    play.source(HardwareState.IDLE)
    play.wait(10.5)
    (stop,) = play.receiver(S.ACQUIRING, received=2, updated_ns=1)
    assert stop.step is Step.STOP_RECEIVER
    assert "has not looked for messages for 10 s" in str(stop.argument)


def test_a_stopped_receiver_that_hangs_is_aborted_and_given_up(stage):
    play = stage().to(Phase.RUN)
    play(StopAsked())
    play.answer(Step.STOP_SOURCE)
    play.answer(Step.STOP_RECEIVER)
    play.wait(11)
    assert [call.step for call in play.receiver(S.DRAINING)] == [Step.ABORT_RECEIVER]
    play.fail(Step.ABORT_RECEIVER, error=EngineError("abort", answer="no answer"))
    assert (play.sequence.state, play.sequence.outcome.verdict) == (S.FAULT, Verdict.FAILED)


def test_a_detector_left_armed_when_all_frames_are_here_is_stopped_after_a_moment(stage):
    play = stage().to(Phase.RUN)
    play.receiver(S.IDLE, received=10, verdict=Verdict.COMPLETE)
    play.wait(2)
    assert play.source(HardwareState.ARMED) == []
    play.wait(2)
    assert [call.step for call in play.source(HardwareState.ARMED)] == [Step.STOP_SOURCE]
    play.answer(Step.STOP_SOURCE)
    assert play.sequence.outcome.verdict is Verdict.COMPLETE


def test_a_receiver_that_ends_early_stops_its_detector_at_once_and_leaves_the_other_pair_alone(stage):
    play = stage("a", "b").to(Phase.RUN)
    told = play.receiver(S.IDLE, "a", received=2, verdict=Verdict.INCOMPLETE)
    assert [(call.pair, call.step) for call in told] == [("a", Step.STOP_SOURCE)]
    play.answer(Step.STOP_SOURCE, "a")
    assert play.sequence.phase is Phase.RUN
    play.finish("b")
    assert play.sequence.outcome.verdict is Verdict.INCOMPLETE
    assert play.sequence.outcome.receipts["b"].verdict is Verdict.COMPLETE


def test_a_receiver_in_fault_is_a_failed_run_with_its_words(stage):
    play = stage().to(Phase.RUN)
    told = play.receiver(S.FAULT, message="the receiver engine was killed by signal 9")
    assert [call.step for call in told] == [Step.STOP_SOURCE]
    play.answer(Step.STOP_SOURCE)
    assert play.sequence.state is S.FAULT
    assert "killed by signal 9" in sentence(play.sequence)


def test_a_receiver_that_was_restarted_under_our_feet_is_noticed(stage):
    play = stage().to(Phase.RUN)
    play.receiver(S.IDLE, run_id="")
    play.wait(2.1)
    assert [call.step for call in play.receiver(S.IDLE, run_id="")] == [Step.STOP_SOURCE]
    play.answer(Step.STOP_SOURCE)
    assert "no longer knows this run" in play.sequence.outcome.reasons[0]


def test_sides_out_of_reach_are_given_time_and_then_given_up(stage):
    play = stage().to(Phase.RUN)
    play.receiver(S.IDLE, reachable=False, message="no route")
    play.source(HardwareState.OFFLINE, message="refused")
    assert "det/a cannot be reached" in sentence(play.sequence)
    play.wait(19)
    play.receiver(S.IDLE, reachable=False, message="no route")
    play.source(HardwareState.OFFLINE, message="refused")
    assert play.sequence.phase is Phase.RUN
    play.receiver(S.ACQUIRING, received=1)  # back again: the clock starts anew
    play.source(HardwareState.ACQUIRING)
    assert "cannot be reached" not in sentence(play.sequence)
    for _ in range(2):
        play.receiver(S.IDLE, reachable=False, message="no route")
        play.source(HardwareState.OFFLINE, message="refused")
        play.wait(21)
    play.receiver(S.IDLE, reachable=False, message="no route")
    play.source(HardwareState.OFFLINE, message="refused")
    while play.open:
        call = next(iter(play.open.values()))
        play.answer(call.step, call.pair)
    assert play.sequence.outcome.verdict is Verdict.FAILED
    assert any("no route" in reason for reason in play.sequence.outcome.reasons)


def test_the_frames_of_a_receiver_that_died_are_told(stage):
    play = stage().to(Phase.RUN)
    play.receiver(S.ACQUIRING, received=4)
    play.receiver(S.FAULT, received=4, message="the engine was killed")
    while play.open:
        call = next(iter(play.open.values()))
        play.answer(call.step, call.pair)
    assert play.sequence.outcome.verdict is Verdict.FAILED
    assert "FAILED: 4 frames received" in sentence(play.sequence)


def test_the_report_tells_the_verdict_of_every_detector_with_or_without_a_receipt(stage):
    play = stage("a", "b").to(Phase.RUN)
    play.finish("a")
    play.receiver(S.FAULT, "b", message="the engine was killed")
    while play.open:
        call = next(iter(play.open.values()))
        play.answer(call.step, call.pair)
    told = json.loads(play.sequence.outcome.report)
    assert (told["verdict"], told["verdicts"]) == ("FAILED", {"a": "COMPLETE", "b": "FAILED"})
    assert set(told["receipts"]) == {"a"}


@pytest.mark.parametrize(("end", "verdict"), [("fail", "FAILED"), ("abort", "ABORTED")])
def test_the_report_of_an_arm_that_was_undone_names_every_detector_as_well(stage, end, verdict):
    play = stage("a", "b").to(Phase.CONFIGURE)
    if end == "abort":
        play(AbortAsked("test"))
    while play.open:
        call = next(iter(play.open.values()))
        if (call.step, call.pair, end) == (Step.CONFIGURE, "a", "fail"):
            play.fail(call.step, call.pair)
        else:
            play.answer(call.step, call.pair)
    assert json.loads(play.sequence.outcome.report)["verdicts"] == {"a": verdict, "b": verdict}


def test_a_detector_error_ends_its_pair_with_its_words(stage):
    play = stage().to(Phase.RUN)
    play.receiver(S.ACQUIRING, received=4)
    assert [call.step for call in play.source(HardwareState.ERROR, message="link 2 down")] == [Step.ABORT_SOURCE]
    play.answer(Step.ABORT_SOURCE)
    play.answer(Step.STOP_RECEIVER)
    play.receiver(S.IDLE, received=4, verdict=Verdict.INCOMPLETE)
    assert any("link 2 down" in reason for reason in play.sequence.outcome.reasons)
    assert play.begin()
