"""Do the receipt, Tango, the file and the sender's account say the same? Pure; each disagreement is one sentence."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from maxdaq_tango.detectors.simulation.expected_outcome import ExpectedOutcome, disagreements, unaccounted
from maxdaq_tango.model import Receipt, Verdict
from maxdaq_tango.soak.happened import COUNTERS, Happened, Told
from maxdaq_tango.soak.menu import Group
from maxdaq_tango.soak.recipe import End, Recipe

STATES = {Verdict.COMPLETE: "ON", Verdict.ABORTED: "ON", Verdict.INCOMPLETE: "ALARM", Verdict.FAILED: "FAULT"}
"""Verdict of the last run > state of the device."""


def judge(recipe: Recipe, happened: Happened) -> list[str]:
    """All disagreements; [] when everybody says the same."""
    found = [f"{stray} was made, which lies outside of what was asked for" for stray in happened.strays]
    if happened.hung:
        return [*found, f"did not come to an end: {happened.hung}"]
    if recipe.has(Group.REFUSAL):
        return [*found, *_refused(happened)]
    if happened.refusal:
        return [*found, f"Arm was refused: {happened.refusal}"]
    if happened.outcome is None:
        return [*found, "the sender has no account of it"]
    found += [problem for file in happened.files for problem in file.problems]
    found += _strangers(happened, happened.outcome)
    if happened.killed:
        return found + list(_killed(recipe, happened, happened.outcome))
    return found + list(_ended(recipe, happened, happened.outcome))


def _refused(happened: Happened) -> Iterator[str]:
    if not happened.refusal:
        yield "Arm succeeded, and the detector refuses it"
    if happened.told.armed or happened.told.verdict is not Verdict.FAILED:
        yield f"the report says armed={happened.told.armed}, verdict {happened.told.verdict}"
    if happened.left:
        yield f"a refused Arm has left {', '.join(happened.left)}"


def _strangers(happened: Happened, outcome: ExpectedOutcome) -> Iterator[str]:
    """No file may hold a frame that never left."""
    for file in happened.files:
        if odd := sorted(file.numbers - outcome.kept):
            yield f"{file.file} holds frames that never left, or not intact: {odd[:20]}"


def _ended(recipe: Recipe, happened: Happened, outcome: ExpectedOutcome) -> Iterator[str]:
    told = happened.told
    receipt = told.receipt_of_receiver
    if receipt is None:
        yield f"there is no receipt; the controller says {told.verdict}: {'; '.join(told.reasons)}"
        return
    yield from _by_the_rules(recipe, receipt, outcome)
    yield from _tango(recipe, told, receipt)
    if not receipt.file:
        if happened.files:
            yield f"the receipt names no file, and there is {happened.files[0].file}"
        if receipt.frames_written:
            yield f"the receipt names no file, and says {receipt.frames_written} frames written"
        return
    if [file.file for file in happened.files] != [receipt.file]:
        yield f"the receipt names {receipt.file}, and there is {', '.join(happened.left) or 'nothing'}"
        return
    file = happened.files[0]
    if file.receipt != receipt:
        yield f"the receipt in the file differs from the one that Tango tells, in {_differences(file.receipt, receipt)}"
    if len(file.numbers) != receipt.frames_written:
        yield f"{len(file.numbers)} frames are in the file, and the receipt says {receipt.frames_written}"
    if any(name.endswith((".part", ".frames", ".state", ".owner")) for name in happened.left):
        yield f"a finished run has left {', '.join(happened.left)}"


def _by_the_rules(recipe: Recipe, receipt: Receipt, outcome: ExpectedOutcome) -> list[str]:
    """Of the account. What was ended by somebody may also have ended by itself before."""
    plain = disagreements(receipt, outcome)
    if not plain or recipe.end is End.ITSELF:
        return plain
    if recipe.end is End.STOP:
        verdict = Verdict.COMPLETE if len(outcome.kept) == outcome.expected else Verdict.INCOMPLETE
        by_itself = disagreements(receipt, msgspec.structs.replace(outcome, verdict=verdict))
        return by_itself and plain
    found = unaccounted(receipt)
    if receipt.verdict is not Verdict.ABORTED:
        found.append(f"the verdict is {receipt.verdict.value} after an abort")
    if receipt.frames_written > len(outcome.kept):
        found.append(f"{receipt.frames_written} frames written, and {len(outcome.kept)} left")
    return found


def _tango(recipe: Recipe, told: Told, receipt: Receipt) -> Iterator[str]:
    if told.receipt_of_controller != receipt:
        yield f"the controller has another receipt, in {_differences(told.receipt_of_controller, receipt)}"
    if told.verdict_of_receiver != receipt.verdict.value or told.verdict is not receipt.verdict:
        yield (
            f"the receipt says {receipt.verdict.value}, the receiver's Verdict {told.verdict_of_receiver!r}, the "
            f"controller's {told.verdict}"
        )
    state = STATES[receipt.verdict]
    if told.state_of_receiver != state:
        yield f"the receiver is {told.state_of_receiver} after a run that was {receipt.verdict.value}"
    if told.state_of_controller != state and not recipe.has(Group.MID_RUN):
        yield f"the controller is {told.state_of_controller} after a run that was {receipt.verdict.value}"
    for attribute, field in COUNTERS.items():
        if told.counters.get(attribute) != getattr(receipt, field):
            yield f"{attribute} is {told.counters.get(attribute)}, and {field} in the receipt {getattr(receipt, field)}"


def _killed(recipe: Recipe, happened: Happened, outcome: ExpectedOutcome) -> Iterator[str]:
    for one in happened.recovered:
        if one.problem:
            yield f"{one.part} could not be recovered: {one.problem}"
        elif one.note.startswith("left alone"):
            yield f"{one.part}: {one.note}"
        elif one.wrong:
            yield f"{one.part}: frames {list(one.wrong[:20])} were not what had been written"
    there = frozenset[int]().union(*(file.numbers for file in happened.files))
    if len(there) < happened.written_before_kill:
        before = happened.written_before_kill
        yield f"{len(there)} frames were saved, and {before} had been written long before the kill"
    for file in happened.files:
        if file.receipt is None:
            continue
        if len(file.numbers) != file.receipt.frames_written:
            yield f"{file.file} holds {len(file.numbers)} frames, and its receipt says {file.receipt.frames_written}"
        if file.receipt.verdict is Verdict.COMPLETE and outcome.kept - file.numbers:
            yield f"{file.file} says COMPLETE without {sorted(outcome.kept - file.numbers)[:20]}"
    if recipe.end is End.KILL_ENGINE and not any(name == "scan.h5" for name in happened.left):
        told = happened.told
        if told.verdict is not Verdict.FAILED or told.state_of_receiver != "FAULT":
            yield f"the engine was killed, and the devices say {told.verdict}, {told.state_of_receiver}"
        if not any("killed by signal 9" in reason for reason in told.reasons):
            yield f"the engine was killed, and the reasons are {list(told.reasons)}"


def _differences(one: Receipt | None, other: Receipt) -> str:
    if one is None:
        return "all, for it has none"
    fields = [name for name in Receipt.__struct_fields__ if getattr(one, name) != getattr(other, name)]
    return "; ".join(f"{name}: {getattr(one, name)!r} and {getattr(other, name)!r}"[:300] for name in fields[:3])
