"""What a judge of several detectors must not let pass, one lie at a time."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from maxdaq_tango.client.report import Report
from maxdaq_tango.detectors.simulation import SeriesAccount
from maxdaq_tango.model import Receipt, TriggerMode, Verdict
from maxdaq_tango.soak.evidence import FileEvidence
from maxdaq_tango.soak.several.happened import OneHappened, SeveralHappened
from maxdaq_tango.soak.several.judgement import judge
from maxdaq_tango.soak.several.recipe import Moment, Part, SeveralRecipe, Trick

COUNT = 10
FAMILIES = ("pilatus", "lambda")


def part(family: str, *words: str, dishes: tuple[str, ...] = ()) -> Part:
    return Part(family=family, frames_per_trigger=COUNT, exposure_s=0.01, overridden=False, dishes=dishes, words=words)


def recipe(trick: Trick = Trick.NONE, mode: TriggerMode = TriggerMode.INTERNAL, **parts: Part) -> SeveralRecipe:
    return SeveralRecipe(
        number=1,
        parts=tuple(parts.get(family, part(family)) for family in FAMILIES),
        trigger_mode=mode,
        triggers=1,
        live=False,
        trick=trick,
        victim="pilatus",
        moment=Moment.RUNNING,
        at=0.5,
        look_seed=1,
    )


def device(family: str) -> str:
    return f"a/detector/{family}"


def path(family: str) -> str:
    return f"/runs/{family}.h5"


def receipt_of(family: str, frames: int = COUNT, verdict: Verdict | None = None) -> Receipt:
    verdict = verdict or (Verdict.COMPLETE if frames == COUNT else Verdict.INCOMPLETE)
    return Receipt(
        verdict=verdict,
        reasons=() if verdict is Verdict.COMPLETE else ("why",),
        run_id="r",
        series="1",
        frames_expected=COUNT,
        frames_received=frames,
        frames_written=frames,
        frames_missing_count=COUNT - frames,
        frames_missing_ranges=((frames, COUNT - 1),) if frames < COUNT else (),
        file=path(family),
    )


def one(receipt: Receipt, family: str, left: int = COUNT, **more: Any) -> OneHappened:
    """`left` frames left whole, and the file holds what the receipt says."""
    account = SeriesAccount(series=1, frames_made=COUNT, intact=((0, left - 1),), finished=True)
    numbers = frozenset(range(receipt.frames_written))
    fields = {
        "accounts": (account,),
        "receipt_of_receiver": receipt,
        "evidence": (FileEvidence(file=path(family), receipt=receipt, numbers=numbers),),
        "left": (f"{family}.h5",),
    }
    return OneHappened(device=device(family), file=path(family), **{**fields, **more})


def happened(*receipts: Receipt, left: int = COUNT, verdict: Verdict | None = None, **more: Any) -> SeveralHappened:
    given = dict(zip(FAMILIES, receipts, strict=True))
    worst = max((receipt.verdict for receipt in receipts), key=list(Verdict).index)
    report = Report(
        run_id="r",
        verdict=verdict or worst,
        armed=True,
        reasons=() if worst is Verdict.COMPLETE else ("why",),
        receipts={device(family): receipt for family, receipt in given.items()},
        verdicts={device(family): receipt.verdict for family, receipt in given.items()},
    )
    ones = {family: one(receipt, family, left if family == "pilatus" else COUNT) for family, receipt in given.items()}
    fields: dict[str, Any] = {
        "armed": True, "verdict": (verdict or worst).value, "report": report, "report_is_new": True, "detectors": ones
    }  # fmt: skip
    return SeveralHappened(**{**fields, **more})


WHOLE = receipt_of("pilatus"), receipt_of("lambda")
DROPPED = part("pilatus", "drop_frames=7-9", dishes=("drop",))


def test_a_run_in_which_everybody_agrees() -> None:
    assert judge(recipe(), happened(*WHOLE)) == []


def test_frames_that_did_not_leave_and_are_told_as_missing_are_no_disagreement() -> None:
    short = receipt_of("pilatus", 7)
    assert judge(recipe(pilatus=DROPPED), happened(short, WHOLE[1], left=7)) == []


def test_complete_with_something_missing_is_found() -> None:
    lie = receipt_of("pilatus", 7, Verdict.COMPLETE)
    found = judge(recipe(pilatus=DROPPED), happened(lie, WHOLE[1], left=7))
    assert any("COMPLETE with 7 of 10 frames" in problem for problem in found)


def test_incomplete_with_nothing_missing_is_found() -> None:
    found = judge(recipe(), happened(receipt_of("pilatus", COUNT, Verdict.INCOMPLETE), WHOLE[1]))
    assert any("INCOMPLETE, and all 10 frames are there" in problem for problem in found)


def test_frames_that_left_and_did_not_come_are_found() -> None:
    found = judge(recipe(), happened(receipt_of("pilatus", 7), WHOLE[1]))
    assert any("frames left whole and are not in the file: [7, 8, 9]" in problem for problem in found)


@pytest.mark.parametrize("trick", [Trick.ABORT, Trick.KILL_ENGINE, Trick.INIT_DETECTOR])
def test_but_not_of_a_detector_whose_run_was_disturbed(trick: Trick) -> None:
    assert judge(recipe(trick), happened(receipt_of("pilatus", 7), WHOLE[1])) == []


def test_a_camserver_that_hangs_up_ends_its_series_and_its_images_go_on() -> None:
    away = part("pilatus", "vanish_at=7", dishes=("vanish",))
    assert judge(recipe(pilatus=away), happened(receipt_of("pilatus", 7), WHOLE[1])) == []


def test_the_other_detector_is_not_punished_for_the_one_that_was_disturbed() -> None:
    found = judge(recipe(Trick.KILL_ENGINE), happened(WHOLE[0], receipt_of("lambda", 7)))
    assert found
    assert all(problem.startswith("lambda:") for problem in found)


def test_a_verdict_of_the_run_that_is_not_the_worst_is_found() -> None:
    found = judge(
        recipe(pilatus=DROPPED), happened(receipt_of("pilatus", 7), WHOLE[1], left=7, verdict=Verdict.COMPLETE)
    )
    assert "the verdict of the run is COMPLETE, and the worst of its detectors is INCOMPLETE" in found


def test_a_report_that_does_not_name_a_detector_is_found() -> None:
    good = happened(*WHOLE)
    assert good.report is not None
    verdicts = {name: verdict for name, verdict in good.report.verdicts.items() if "lambda" not in name}
    report = msgspec.structs.replace(good.report, verdicts=verdicts)
    (problem, *_) = judge(recipe(), msgspec.structs.replace(good, report=report))
    assert problem == "the report is about a/detector/pilatus, and a/detector/lambda, a/detector/pilatus are enabled"


def test_a_file_with_frames_that_never_left_is_found() -> None:
    found = judge(recipe(pilatus=DROPPED), happened(*WHOLE, left=7))
    assert any("holds frames that never left, or not whole: [7, 8, 9]" in problem for problem in found)


def test_a_receipt_that_differs_from_the_one_in_the_file_or_at_the_receiver_is_found() -> None:
    good = happened(*WHOLE)
    other = msgspec.structs.replace(WHOLE[0], bytes_written=1)
    at_receiver = {**good.detectors, "pilatus": one(WHOLE[0], "pilatus", receipt_of_receiver=other)}
    assert judge(recipe(), msgspec.structs.replace(good, detectors=at_receiver)) == [
        "pilatus: the receiver tells another receipt than the report"
    ]
    numbers = frozenset(range(COUNT))
    evidence = (FileEvidence(file=path("pilatus"), receipt=other, numbers=numbers),)
    in_file = {**good.detectors, "pilatus": one(WHOLE[0], "pilatus", evidence=evidence)}
    assert judge(recipe(), msgspec.structs.replace(good, detectors=in_file)) == [
        "pilatus: the receipt in the file differs from the one in the report"
    ]


def refused(reason: str, *left: str, precious: str = "") -> SeveralHappened:
    ones = {
        family: OneHappened(
            device=device(family),
            file=path(family),
            left=left if family == "pilatus" else (),
            precious=precious if family == "pilatus" else "",
        )
        for family in FAMILIES
    }
    return SeveralHappened(refusal=reason, detectors=ones)


def test_an_arm_that_is_refused_without_a_reason_of_ours_is_found() -> None:
    assert judge(recipe(), refused("no")) == ["Arm was refused: no"]


@pytest.mark.parametrize("trick", [Trick.LIVE_VIEW, Trick.STOP, Trick.KILL_ENGINE, Trick.INIT_CONTROLLER])
def test_what_happens_after_arm_is_no_reason_to_refuse_it(trick: Trick) -> None:
    while_arming = msgspec.structs.replace(recipe(trick), moment=Moment.ARMING)
    assert judge(while_arming, refused("no")) == []
    assert judge(recipe(trick), refused("no")) == ["Arm was refused: no"]


def test_a_refused_arm_that_leaves_a_file_is_found() -> None:
    broken = recipe(pilatus=part("pilatus", "refuse_arm=no", dishes=("refuse-arm",)))
    assert judge(broken, refused("no")) == []
    assert judge(broken, refused("no", "pilatus.h5")) == ["pilatus: a refused Arm has left pilatus.h5"]


def test_a_file_that_exists_must_be_refused_and_left_as_it_is() -> None:
    existing = recipe(Trick.EXISTING_FILE)
    assert judge(existing, refused("exists", "pilatus.h5", precious="pilatus.h5")) == []
    assert "pilatus: the file that was there before is gone" in judge(existing, refused("exists"))
    assert "Arm succeeded, and the file exists" in judge(existing, happened(*WHOLE))


def test_what_does_not_end_and_what_a_client_met_with_are_told() -> None:
    told = judge(recipe(), happened(*WHOLE, hung="RUNNING", complaints=("a second Arm was not refused",)))
    assert told == ["a second Arm was not refused", "did not come to an end: RUNNING"]


def test_a_software_trigger_that_one_cannot_take_is_no_fault_of_the_other() -> None:
    broken = part("pilatus", "refuse_arm=no", dishes=("refuse-arm",))
    short = receipt_of("lambda", 7)
    run = happened(receipt_of("pilatus", 7), short)
    assert judge(recipe(mode=TriggerMode.SOFTWARE, pilatus=broken), run) == []
    assert any("lambda" in problem for problem in judge(recipe(pilatus=broken), run))
