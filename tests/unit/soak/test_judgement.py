from __future__ import annotations

from typing import Any

import msgspec
import pytest

from maxdaq_tango.detectors.simulation import SeriesAccount
from maxdaq_tango.detectors.simulation.expected_outcome import expect_outcome
from maxdaq_tango.files import Recovered
from maxdaq_tango.model import Receipt, StreamFormat, TriggerMode, Verdict
from maxdaq_tango.soak.evidence import FileEvidence
from maxdaq_tango.soak.happened import COUNTERS, Happened, Told
from maxdaq_tango.soak.judgement import judge
from maxdaq_tango.soak.recipe import End, Recipe, Setup

COUNT = 10
FILE = "/runs/000001/scan.h5"
SETUP = Setup(stream_format=StreamFormat.DECTRIS_V1, backend="auto", frames_per_file=0, engines=1)
ACCOUNT = SeriesAccount(series=1, frames_made=COUNT, intact=((0, COUNT - 1),), finished=True)


def recipe(end: End = End.ITSELF, *dishes: str) -> Recipe:
    return Recipe(
        number=1,
        setup=SETUP,
        trigger_mode=TriggerMode.INTERNAL,
        triggers=1,
        frames_per_trigger=COUNT,
        rate_hz=100.0,
        compression="bslz4",
        dishes=dishes,
        faults=(),
        end=end,
        end_at=0.5,
        look_seed=1,
    )


def receipt_of(frames: int, verdict: Verdict = Verdict.COMPLETE, **more: Any) -> Receipt:
    missing = ((frames, COUNT - 1),) if frames < COUNT else ()
    return Receipt(
        verdict=verdict,
        reasons=() if verdict is Verdict.COMPLETE else ("why",),
        series="1",
        frames_expected=COUNT,
        frames_received=frames,
        frames_written=frames,
        frames_missing_count=COUNT - frames,
        frames_missing_ranges=missing,
        file=FILE,
        **more,
    )


def told_of(receipt: Receipt, state: str = "ON") -> Told:
    return Told(
        verdict=receipt.verdict,
        armed=True,
        receipt_of_controller=receipt,
        receipt_of_receiver=receipt,
        verdict_of_receiver=receipt.verdict.value,
        state_of_controller=state,
        state_of_receiver=state,
        counters={name: getattr(receipt, field) for name, field in COUNTERS.items()},
    )


def happened(receipt: Receipt, account: SeriesAccount = ACCOUNT, state: str = "ON", **more: Any) -> Happened:
    from maxdaq_tango.detectors.simulation import Faults

    stopped = more.pop("stopped", False)
    numbers = frozenset(range(receipt.frames_written))
    return Happened(
        told=more.pop("told", told_of(receipt, state)),
        account=account,
        outcome=expect_outcome(Faults(), account, COUNT, series_known=True, stopped=stopped),
        files=more.pop("files", (FileEvidence(file=FILE, receipt=receipt, numbers=numbers),)),
        left=more.pop("left", ("scan.h5",)),
        **more,
    )


GOOD = happened(receipt_of(COUNT))
HALF = SeriesAccount(series=1, frames_made=5, intact=((0, 4),), finished=True)


def with_told(**changes: Any) -> Happened:
    return msgspec.structs.replace(GOOD, told=msgspec.structs.replace(GOOD.told, **changes))


def test_when_everybody_says_the_same_there_is_nothing_to_say() -> None:
    assert judge(recipe(), GOOD) == []


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (with_told(verdict=Verdict.INCOMPLETE), "the controller's INCOMPLETE"),
        (with_told(verdict_of_receiver=""), "the receiver's Verdict ''"),
        (with_told(receipt_of_controller=receipt_of(9)), "the controller has another receipt, in frames_received: 9"),
        (with_told(receipt_of_receiver=None), "there is no receipt"),
        (with_told(state_of_receiver="ALARM"), "the receiver is ALARM after a run that was COMPLETE"),
        (with_told(state_of_controller="FAULT"), "the controller is FAULT"),
        (with_told(counters={**GOOD.told.counters, "nFramesWritten": 3}), "nFramesWritten is 3"),
        (msgspec.structs.replace(GOOD, hung="Arm: busy"), "did not come to an end: Arm: busy"),
        (msgspec.structs.replace(GOOD, refusal="no"), "Arm was refused: no"),
        (msgspec.structs.replace(GOOD, strays=("/outside.h5",)), "/outside.h5 was made"),
        (msgspec.structs.replace(GOOD, left=("scan.h5", ".scan.h5.part.owner")), "a finished run has left"),
        (msgspec.structs.replace(GOOD, files=()), "and there is scan.h5"),
        (happened(receipt_of(COUNT), HALF), "holds frames that never left, or not intact: [5, 6, 7, 8, 9]"),
        (happened(receipt_of(5, Verdict.INCOMPLETE), state="ALARM"), "should be COMPLETE"),
    ],
)
def test_any_disagreement_is_found(seen: Happened, words: str) -> None:
    assert words in "; ".join(judge(recipe(), seen))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"problems": ("scan.h5: row 3: the checksum differs",)}, "the checksum differs"),
        ({"receipt": receipt_of(9)}, "the receipt in the file differs"),
        ({"numbers": frozenset(range(9))}, "9 frames are in the file"),
    ],
)
def test_a_file_that_says_something_else_is_found(change: dict[str, Any], words: str) -> None:
    file = msgspec.structs.replace(GOOD.files[0], **change)
    assert words in "; ".join(judge(recipe(), msgspec.structs.replace(GOOD, files=(file,))))


def test_a_stopped_series_is_aborted_or_had_ended_by_itself() -> None:
    assert judge(recipe(End.STOP), happened(receipt_of(5, Verdict.ABORTED), HALF, stopped=True)) == []
    assert judge(recipe(End.STOP), happened(receipt_of(5, Verdict.INCOMPLETE), HALF, state="ALARM", stopped=True)) == []
    assert judge(recipe(End.STOP), happened(receipt_of(5, Verdict.COMPLETE), HALF, stopped=True))
    assert judge(recipe(End.STOP), happened(receipt_of(4, Verdict.ABORTED), HALF, stopped=True))


def test_an_aborted_series_may_lose_frames_but_has_to_say_so() -> None:
    lost = {"frames_lost_at": {"socket": ((3, 4),)}, "frames_lost_count": 2}
    receipt = msgspec.structs.replace(receipt_of(5, Verdict.ABORTED), frames_written=3, **lost)
    assert judge(recipe(End.ABORT), happened(receipt, HALF)) == []
    silent = msgspec.structs.replace(receipt, frames_lost_at={})
    assert "all states together are 8" in "; ".join(judge(recipe(End.ABORT), happened(silent, HALF)))


def test_a_refused_arm_leaves_nothing() -> None:
    told = Told(verdict=Verdict.FAILED, armed=False)
    wish = recipe(End.ITSELF, "refuse-arm")
    assert judge(wish, Happened(refusal="the high voltage is off", told=told)) == []
    assert judge(wish, Happened(refusal="the high voltage is off", told=told, left=("scan.h5",)))
    assert judge(wish, GOOD)


def killed(saved: int, before: int = 0, **more: Any) -> Happened:
    dead = receipt_of(7, Verdict.FAILED)
    file = FileEvidence(
        file="scan_recovered.h5", receipt=receipt_of(saved, Verdict.FAILED), numbers=frozenset(range(saved))
    )
    told = msgspec.structs.replace(told_of(dead, "FAULT"), reasons=("the engine was killed by signal 9",))
    return happened(
        dead, told=told, killed=True, files=(file,), left=("scan_recovered.h5",), written_before_kill=before, **more
    )


def test_a_kill_may_cost_the_youngest_frames_and_no_others() -> None:
    assert judge(recipe(End.KILL_ENGINE), killed(6, before=5)) == []
    assert "had been written long before" in "; ".join(judge(recipe(End.KILL_ENGINE), killed(4, before=5)))


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (Recovered(part="a", problem="no superblock"), "could not be recovered: no superblock"),
        (Recovered(part="a", note="left alone: process 7 is writing it"), "left alone"),
        (Recovered(part="a", file="b", wrong=(3,)), "[3] were not what had been written"),
    ],
)
def test_a_recovery_that_finds_something_wrong_is_told(one: Recovered, words: str) -> None:
    assert words in "; ".join(judge(recipe(End.KILL_ENGINE), killed(6, recovered=(one,))))


def test_a_killed_engine_has_to_be_a_fault() -> None:
    seen = killed(6)
    quiet = msgspec.structs.replace(seen, told=msgspec.structs.replace(seen.told, state_of_receiver="ON"))
    assert "the devices say FAILED, ON" in "; ".join(judge(recipe(End.KILL_ENGINE), quiet))
