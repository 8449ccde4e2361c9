"""Files are checked before anybody gets a word, and the scan master is written when everything is over."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from maxdaq_tango.errors import EngineError, FileError
from maxdaq_tango.model import AcquisitionState, Receipt, Verdict
from maxdaq_tango.model.hardware import HardwareState
from maxdaq_tango.transaction.outcome import Outcome
from maxdaq_tango.transaction.phases import Phase
from maxdaq_tango.transaction.ports import Need
from maxdaq_tango.transaction.scan import link_names, master_of
from maxdaq_tango.transaction.status import sentence
from maxdaq_tango.transaction.words import AbortAsked, Answered, PlaceFields, ScanPlan, Step, StopAsked

S = AcquisitionState
MASTER = "/data/scan-0007.h5"
EXISTS = FileError("write the file '/data/b.h5'", answer="the file exists", accepted="another name")


def test_every_receiver_is_asked_about_its_files_and_the_first_about_the_master(stage):
    play = stage("a", "b", master=MASTER)
    play.begin()
    assert play.call(Step.CHECK, "a").argument == PlaceFields(destination="/data/a.h5", frames=10, scan_master=MASTER)
    assert play.call(Step.CHECK, "b").argument == PlaceFields(destination="/data/b.h5", frames=10)


def test_a_file_in_the_way_ends_it_before_any_detector_has_a_word(stage):
    play = stage("a", "b").to(Phase.CHECK)
    play.answer(Step.CHECK, "a")
    play.fail(Step.CHECK, "b", error=EXISTS)
    outcome = play.sequence.outcome
    assert (play.sequence.state, outcome.armed, outcome.verdict) == (S.IDLE, False, Verdict.FAILED)
    assert play.steps("a") == play.steps("b") == [Step.CHECK]
    assert "check the files with the receiver rec/b: write the file '/data/b.h5': the file exists" in str(
        outcome.errors[0]
    )
    assert play.begin()


def test_a_check_that_never_answers_is_named_and_does_not_hold_up_the_next_arm(stage):
    play = stage().to(Phase.CHECK)
    late = play.call(Step.CHECK)
    play.time_out(Step.CHECK)
    assert "rec/a: no answer within 10 s" in str(play.sequence.outcome.errors[0])
    play.begin()
    assert play(Answered(late.number)) == []  # of the run before: it moves nothing
    assert play.sequence.phase is Phase.CHECK


def test_the_master_links_every_file_and_is_written_before_the_state_leaves_running(stage):
    play = stage("a", "b", master=MASTER).to(Phase.LINK)
    assert (play.sequence.phase, play.sequence.state, play.sequence.outcome) == (Phase.LINK, S.FINALISING, None)
    assert "Writing the scan master" in sentence(play.sequence)
    master = play.call(Step.LINK).argument
    assert (master.path, master.scan_number, master.metadata) == (MASTER, 7, {"sample": "A1"})
    assert [(link.name, link.file, link.dataset) for link in master.links] == [
        (name, f"/data/{name}.h5", f"/entry/instrument/{name}/data") for name in "ab"
    ]
    play.answer(Step.LINK)
    outcome = play.sequence.outcome
    assert (play.sequence.state, outcome.verdict, outcome.reasons) == (S.IDLE, Verdict.COMPLETE, ())
    report = json.loads(outcome.report)
    assert report["scan"] == {"number": 7, "master": MASTER}
    assert json.loads(master.report) == report


def test_an_incomplete_run_has_one_as_well(stage):
    play = stage("a", "b", master=MASTER).to(Phase.RUN)
    play.finish("a")
    play.finish("b", Verdict.INCOMPLETE)
    assert play.call(Step.LINK).argument.verdict is Verdict.INCOMPLETE
    play.answer(Step.LINK)
    assert play.sequence.outcome.verdict is Verdict.INCOMPLETE


@pytest.mark.parametrize("time_out", [False, True])
def test_one_that_cannot_be_written_is_told_and_changes_no_verdict(stage, time_out):
    play = stage(master=MASTER).to(Phase.LINK)
    if time_out:
        play.time_out(Step.LINK)
    else:
        play.fail(Step.LINK, error=FileError(f"write the scan master {MASTER}", answer="No space left on device"))
    outcome = play.sequence.outcome
    assert (play.sequence.state, outcome.verdict, outcome.armed) == (S.IDLE, Verdict.COMPLETE, True)
    told = "no answer within 15 s" if time_out else f"{MASTER}: No space left on device"
    assert told in outcome.reasons[0]
    assert told in sentence(play.sequence)
    assert json.loads(outcome.report)["reasons"] == list(outcome.reasons)
    assert play.begin()  # also while the answer is still out


def test_stop_and_abort_while_it_is_written_change_nothing(stage):
    play = stage(master=MASTER).to(Phase.LINK)
    assert play(StopAsked()) == play(AbortAsked("enough")) == []
    play.answer(Step.LINK)
    assert play.sequence.outcome.verdict is Verdict.COMPLETE


def test_it_is_the_next_receiver_that_writes_where_the_first_is_gone(stage):
    play = stage("a", "b", master=MASTER).to(Phase.RUN)
    for name in "ab":
        play.source(HardwareState.IDLE, name)
    play.receiver(S.IDLE, "a", reachable=False)
    play.receiver(S.IDLE, "b", received=10, verdict=Verdict.COMPLETE)
    play.wait(30)
    play.receiver(S.IDLE, "a", reachable=False)
    assert play.call(Step.LINK, "b").argument.links[0].absent == "its receiver gave no receipt"
    play.answer(Step.LINK, "b")
    assert play.sequence.outcome.verdict is Verdict.FAILED


def test_without_any_receiver_left_it_is_told_that_there_is_no_master(stage):
    play = stage(master=MASTER).to(Phase.RUN)
    play.source(HardwareState.IDLE)
    play.receiver(S.IDLE, reachable=False)
    play.wait(30)
    play.receiver(S.IDLE, reachable=False)
    assert play.sequence.phase is Phase.IDLE
    assert isinstance(play.sequence.outcome.errors[-1], EngineError)
    assert f"{MASTER}: no receiver is left to write it" in play.sequence.outcome.reasons[-1]


def test_an_arming_that_fails_leaves_no_master(stage):
    play = stage(master=MASTER).to(Phase.CONFIGURE)
    play.fail(Step.CONFIGURE)
    assert Step.LINK not in play.steps()
    assert json.loads(play.sequence.outcome.report)["scan"] == {"number": 7, "master": ""}


def test_warnings_of_receivers_are_in_status_and_report(stage):
    play = stage("a", "b").to(Phase.RUN)
    play.receiver(S.ARMED, "b", warnings=("8 GB are needed",))
    assert "Warning: b: 8 GB are needed" in sentence(play.sequence)
    play.finish("a")
    play.source(HardwareState.IDLE, "b")
    play.receiver(S.IDLE, "b", received=10, verdict=Verdict.COMPLETE, warnings=("8 GB are needed",))
    assert json.loads(play.sequence.outcome.report)["warnings"] == ["b: 8 GB are needed"]
    assert sentence(play.sequence).endswith("Warning: b: 8 GB are needed")


@pytest.mark.parametrize(
    ("needs", "told"),
    [
        ((4, 4), True),
        ((3, 3), False),
        ((7, 1), False),  # the first says so itself
        ((4, None), False),
    ],
)
def test_files_of_one_folder_that_only_together_are_too_large_are_told(stage, needs, told):
    play = stage("a", "b").to(Phase.RUN)
    for name, size in zip("ab", needs, strict=True):
        need = Need(nbytes=size * 10**9, free_nbytes=6 * 10**9) if size is not None else None
        play.receiver(S.ARMED, name, need=need)
    assert ("Warning: a, b: 8 GB are needed together in /data, and 6 GB are free" in sentence(play.sequence)) == told


def test_what_lies_in_different_folders_is_not_added_up(stage):
    play = stage("a", "b").to(Phase.RUN)
    pair = play.sequence.pairs["b"]
    pair.plan = replace(pair.plan, destination="/elsewhere/b.h5")
    for name in "ab":
        play.receiver(S.ARMED, name, need=Need(nbytes=4 * 10**9, free_nbytes=6 * 10**9))
    assert "Warning" not in sentence(play.sequence)


def receipt(**fields) -> Receipt:
    return Receipt(verdict=Verdict.COMPLETE, **fields)


@pytest.mark.parametrize(
    ("datasets", "names"),
    [
        (("/entry/instrument/eiger/data", "/entry/instrument/pilatus/data"), ["eiger", "pilatus"]),
        (("/entry/instrument/detector/data", "/entry/instrument/detector/data"), ["one", "two"]),
        (("", ""), ["one", "two"]),
    ],
)
def test_links_are_named_as_in_the_files_or_by_device(datasets, names):
    devices = ["b/det/one", "b/det/two"]
    receipts = {device: receipt(dataset=dataset) for device, dataset in zip(devices, datasets, strict=True)}
    assert link_names(devices, receipts) == names


def test_devices_of_one_name_are_told_apart():
    assert link_names(["a/det/eiger", "b/det/eiger"], {}) == ["a-det-eiger", "b-det-eiger"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"file": ""}, "no file was written"),
        ({"file": "/data/.a.h5.part", "dataset": "/entry/instrument/a/data"}, "not finished: /data/.a.h5.part"),
        ({"file": "/data/a.h5", "data_files_spilled": ("/spill/x",)}, "/data/a.h5 appears when they are home"),
        ({"file": "/data/a.h5", "dataset": ""}, "no frames in /data/a.h5"),
    ],
)
def test_what_is_not_there_is_not_linked_and_it_is_told_why(fields, told):
    outcome = Outcome(
        run_id="r", verdict=Verdict.COMPLETE, armed=True, receipts={"b/det/a": receipt(**fields)}, scan=ScanPlan()
    )
    (link,) = master_of(outcome, ["b/det/a"]).links
    assert not link.file
    assert told in link.absent
