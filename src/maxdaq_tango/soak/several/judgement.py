"""Do run, receipts, files and the senders' own accounts say the same? Pure; each disagreement is one sentence."""

from __future__ import annotations

from collections.abc import Iterator

from maxdaq_tango.detectors.simulation.expected_outcome import disagreements, expect_outcome, unaccounted
from maxdaq_tango.model import Encoding, Receipt, TriggerMode, Verdict
from maxdaq_tango.soak.evidence import FileEvidence
from maxdaq_tango.soak.menu import Group
from maxdaq_tango.soak.several.happened import OneHappened, SeveralHappened
from maxdaq_tango.soak.several.recipe import ENDING, ON_ALL, ON_ONE, Moment, Part, SeveralRecipe, Trick
from maxdaq_tango.soak.several.truth import Truth, truth_of
from maxdaq_tango.soak.site import RECEIVER_PROPERTIES
from maxdaq_tango.transaction.outcome import worst

MAY_REFUSE = ENDING | ON_ALL | ON_ONE
"""Where they come while arming, Arm is undone."""
UNFINISHED = (".part", ".frames", ".state", ".owner")
_LOSES_CONTROL = {"pilatus": frozenset({"vanish"})}
"""Faults of a stream that are more elsewhere: camserver hangs up, which ends the series, and its images go on."""
_KILLS = (Trick.KILL_ENGINE, Trick.KILL_RECEIVER, Trick.INIT_RECEIVER)


def judge(recipe: SeveralRecipe, happened: SeveralHappened) -> list[str]:
    """All disagreements; [] when everybody says the same."""
    found = list(happened.complaints)
    if happened.hung:
        return [*found, f"did not come to an end: {happened.hung}"]
    if happened.too_late:
        return found
    if happened.refusal:
        return found + list(_refused(recipe, happened))
    if recipe.trick is Trick.EXISTING_FILE:
        found.append("Arm succeeded, and the file exists")
    found += _precious(recipe, happened)
    found += _run(recipe, happened)
    for part in recipe.parts:
        one = happened.detectors[part.family]
        found += [f"{part.family}: {problem}" for problem in _one(recipe, part, happened, one)]
    return found


def _refused(recipe: SeveralRecipe, happened: SeveralHappened) -> Iterator[str]:
    expected = (
        recipe.trick is Trick.EXISTING_FILE
        or (recipe.trick in MAY_REFUSE and recipe.moment is Moment.ARMING)
        or any(part.has(Group.REFUSAL, Group.CONTROL) for part in recipe.parts)
    )
    if not expected:
        yield f"Arm was refused: {happened.refusal}"
    if happened.report_is_new and happened.report is not None:
        if happened.report.armed or happened.report.verdict not in (Verdict.FAILED, Verdict.ABORTED):
            yield f"a refused Arm has the report armed={happened.report.armed}, verdict {happened.report.verdict}"
        yield from _names_all(happened)
    yield from _precious(recipe, happened)
    for family, one in happened.detectors.items():
        left = [name for name in one.left if name != one.precious]
        if left and recipe.trick not in _KILLS:
            yield f"{family}: a refused Arm has left {', '.join(left)}"


def _precious(recipe: SeveralRecipe, happened: SeveralHappened) -> Iterator[str]:
    """A file that exists is left as it is, or moved aside."""
    if recipe.trick in (Trick.EXISTING_FILE, Trick.OVERWRITE) and not happened.detectors[recipe.victim].precious:
        yield f"{recipe.victim}: the file that was there before is gone"


def _run(recipe: SeveralRecipe, happened: SeveralHappened) -> Iterator[str]:
    report = happened.report
    if report is None or not happened.report_is_new:
        if recipe.trick not in ON_ALL:
            yield "there is no report of this run"
        return
    yield from _names_all(happened)
    if happened.verdict != report.verdict.value:
        yield f"Verdict is {happened.verdict}, and {report.verdict.value} in the report"
    wanted = worst(list(report.verdicts.values()))
    if report.verdict is not wanted:
        yield f"the verdict of the run is {report.verdict.value}, and the worst of its detectors is {wanted.value}"
    for name, receipt in report.receipts.items():
        if report.verdicts.get(name) is not receipt.verdict:
            yield f"{name} is {report.verdicts.get(name)} in the report, and {receipt.verdict.value} in its receipt"
    if not report.reasons and report.verdict is not Verdict.COMPLETE:
        yield f"{report.verdict.value} without a reason"


def _names_all(happened: SeveralHappened) -> Iterator[str]:
    report = happened.report
    names = {one.device for one in happened.detectors.values()}
    if report is not None and set(report.verdicts) != names:
        yield f"the report is about {', '.join(sorted(report.verdicts))}, and {', '.join(sorted(names))} are enabled"


def _one(recipe: SeveralRecipe, part: Part, happened: SeveralHappened, one: OneHappened) -> Iterator[str]:
    report = happened.report if happened.report_is_new else None
    receipt = report.receipts.get(one.device) if report is not None else None
    truth = truth_of(recipe, part, one.accounts)
    for file in one.evidence:
        yield from file.problems
        if odd := sorted(file.numbers - truth.possible):
            yield f"{file.file} holds frames that never left, or not whole: {odd[:20]}"
        if spoilt := sorted(file.numbers & truth.spoilt):
            yield f"{file.file} holds frames that were spoilt on the way: {spoilt[:20]}"
    for saved in one.recovered:
        if saved.problem or saved.note.startswith("left alone"):
            yield f"{saved.part} could not be recovered: {saved.problem or saved.note}"
    quiet = _is_quiet(recipe, part, happened)
    if receipt is None:
        if quiet:
            told = "; ".join(report.reasons) if report is not None else "no report"
            yield f"there is no receipt: {told}"
        return
    yield from _receipt(recipe, part, one, receipt, truth, quiet)


def _is_quiet(recipe: SeveralRecipe, part: Part, happened: SeveralHappened) -> bool:
    """Nothing has happened to the run of this detector but faults of its own stream."""
    if recipe.trick in ENDING | ON_ALL or happened.stopped:
        return False
    if recipe.trick in ON_ONE and recipe.victim == part.family:
        return False
    if part.has(Group.REFUSAL, Group.MID_RUN) or not _LOSES_CONTROL.get(part.family, frozenset()).isdisjoint(
        part.dishes
    ):
        return False
    # A software trigger is for all: where one cannot take it, the others do not get it.
    alone = recipe.trigger_mode is not TriggerMode.SOFTWARE
    others_trouble = recipe.trick in ON_ONE or any(other.dishes for other in recipe.parts if other is not part)
    return alone or not others_trouble


def _receipt(
    recipe: SeveralRecipe, part: Part, one: OneHappened, receipt: Receipt, truth: Truth, quiet: bool
) -> Iterator[str]:
    yield from unaccounted(receipt)
    if one.receipt_of_receiver is not None and one.receipt_of_receiver != receipt:
        yield "the receiver tells another receipt than the report"
    expected = recipe.frames(part)
    live_view = recipe.trick is Trick.LIVE_VIEW
    if not live_view and receipt.frames_expected != expected:
        yield f"{receipt.frames_expected} frames expected in the receipt, and {expected} were asked for"
    numbers: frozenset[int] | None = None
    if one.file:
        if not (recipe.trick in _KILLS and recipe.victim == part.family):  # its file may have been recovered since
            yield from _file(one, receipt)
        numbers = one.evidence[0].numbers if one.evidence else frozenset()
    count = receipt.frames_received if numbers is None else len(numbers)
    whole = count == expected and not receipt.frames_partial
    if receipt.verdict is Verdict.COMPLETE and not whole:
        yield f"COMPLETE with {count} of {expected} frames"
    if bool(receipt.reasons) != (receipt.verdict is not Verdict.COMPLETE):
        yield f"{receipt.verdict.value} with the reasons {list(receipt.reasons)}"
    if not quiet:
        return
    if whole and receipt.verdict is not Verdict.COMPLETE:
        yield f"{receipt.verdict.value}, and all {expected} frames are there: {'; '.join(receipt.reasons)}"
    if receipt.verdict is Verdict.ABORTED:
        yield f"ABORTED, and nobody asked for it: {'; '.join(receipt.reasons)}"
    if not part.dishes and (truth.made != expected or not whole):
        yield f"nothing was wrong, and {truth.made} of {expected} frames were made, {count} arrived"
    yield from _by_the_account(part, one, receipt, truth, numbers, expected)


def _by_the_account(
    part: Part, one: OneHappened, receipt: Receipt, truth: Truth, numbers: frozenset[int] | None, expected: int
) -> Iterator[str]:
    """Nobody has disturbed it: what left whole has to be there."""
    if part.family == "eiger":
        if len(one.accounts) != 1:
            yield f"{len(one.accounts)} series in one run"
            return
        if numbers is None:
            return  # the rules are about files
        outcome = expect_outcome(
            part.faults,
            one.accounts[0],
            expected,
            encoding=Encoding.BSLZ4,
            series_known=True,
            grace_s=RECEIVER_PROPERTIES["Grace"],
        )
        yield from disagreements(receipt, outcome)
        if numbers != outcome.kept:
            yield f"the file and the account differ in frames {sorted(numbers ^ outcome.kept)[:20]}"
        return
    if numbers is not None and (absent := sorted(truth.must - numbers)):
        yield f"frames left whole and are not in the file: {absent[:20]}"
    if numbers is None and receipt.frames_received < len(truth.must):
        yield f"{receipt.frames_received} frames received, and {len(truth.must)} left whole"


def _file(one: OneHappened, receipt: Receipt) -> Iterator[str]:
    if not receipt.file:
        if one.evidence:
            yield f"the receipt names no file, and there is {one.evidence[0].file}"
        if receipt.frames_written:
            yield f"the receipt names no file, and says {receipt.frames_written} frames written"
        return
    if [file.file for file in one.evidence] != [receipt.file]:
        yield f"the receipt names {receipt.file}, and there is {', '.join(one.left) or 'nothing'}"
        return
    yield from _same(one.evidence[0], receipt)
    if left := [name for name in one.left if name.endswith(UNFINISHED)]:
        yield f"a finished run has left {', '.join(left)}"


def _same(file: FileEvidence, receipt: Receipt) -> Iterator[str]:
    if file.receipt != receipt:
        yield "the receipt in the file differs from the one in the report"
    if len(file.numbers) != receipt.frames_written:
        yield f"{len(file.numbers)} frames are in the file, and the receipt says {receipt.frames_written}"
