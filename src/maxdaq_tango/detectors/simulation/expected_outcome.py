"""What a receiver has to make of a series, from its faults and the sender's own account; and where a receipt says
otherwise. Pure.

These are the rules of docs/explanations/hostile-streams.md. The table of outcomes in the tests and `maxdaq soak` both
go by them. They hold for a receiver with `Verify` = framing, one connection, and a series of known length.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from maxdaq_tango.detectors.simulation.account import SeriesAccount
from maxdaq_tango.detectors.simulation.delivery import Damage, damage_of
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.kernels.framing import FRAMED
from maxdaq_tango.model import Encoding, Receipt, Verdict


class ExpectedOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the receipt and the file must say. Frames are numbers, as in their messages."""

    expected: int
    verdict: Verdict
    stored: dict[int, int]
    """Number of a row with true pixels > the exposure whose pixels they are."""
    wrong: frozenset[int] = frozenset()
    """Stored, with pixels that are not those of the exposure: nothing in their message contradicts them."""
    corrupt: frozenset[int] = frozenset()
    """Blank rows of frames whose number could be read."""
    until: int
    """Exposures from this one on are not of the run, whatever their sender says."""

    @property
    def kept(self) -> frozenset[int]:
        """All that the file holds."""
        return frozenset(self.stored) | self.wrong


def numbers(ranges: Iterable[tuple[int, int]]) -> set[int]:
    """All numbers of [first, last] ranges."""
    return {number for first, last in ranges for number in range(first, last + 1)}


def over_at(faults: Faults, expected: int, *, series_known: bool, grace_s: float) -> int:
    """The exposure before which the run is over: `expected` where nothing ends it early, 0 where it never begins.

    `series_known`: the receiver was told which series will come, so that the header of another one does not begin it.
    """
    ends = [expected]
    if faults.missing_header:
        ends.append(0)
    for at in (faults.second_header_at, faults.interleave_at):
        if at is not None and (at > 0 or not series_known):
            ends.append(at)
    if faults.end_at is not None and faults.delay_s > grace_s:
        ends += [n for n in range(faults.end_at, expected) if faults.meets("delay", n)][:1]
    return min(ends)


def expect_outcome(
    faults: Faults,
    account: SeriesAccount,
    expected: int,
    *,
    encoding: Encoding = Encoding.BSLZ4,
    series_known: bool = False,
    named_by_stream: bool = False,
    grace_s: float = 2.0,
    stopped: bool = False,
) -> ExpectedOutcome:
    """The outcome of a series of `expected` frames. The account must be final where the run took all of the series.

    `encoding` is that of the wire, `named_by_stream` = the stream names the file, `stopped` = somebody ended the series
    in order.
    """
    failed = faults.missing_header or (named_by_stream and bool(faults.filename))
    until = 0 if failed else over_at(faults, expected, series_known=series_known, grace_s=grace_s)
    stolen = numbers(account.stolen)
    stored = {number: number for number in numbers(account.intact) - stolen if number < until}
    wrong, corrupt = set(), set()
    for number in numbers(account.damaged) - stolen:
        if number >= until:
            continue
        match seen_as(damage_of(faults, number), encoding):
            case Damage.BITS:
                wrong.add(number)
            case Damage.BOMB:
                pass  # the message cannot be read: its number is not known, and so it is missing
            case _:
                corrupt.add(number)
    for first, last, sent_as in account.renumbered:  # the first that came with a number is the one that is kept
        for exposure in range(first, last + 1):
            number = exposure - first + sent_as
            if 0 <= number < expected and exposure < until:
                stored.setdefault(number, exposure)
    kept = stored.keys() | wrong
    verdict = Verdict.COMPLETE if len(kept) == expected else Verdict.INCOMPLETE
    if stopped and len(kept | corrupt) < expected:
        verdict = Verdict.ABORTED
    return ExpectedOutcome(
        expected=expected,
        verdict=Verdict.FAILED if failed else verdict,
        stored=stored,
        wrong=frozenset(wrong),
        corrupt=frozenset(corrupt),
        until=until,
    )


def seen_as(damage: Damage, encoding: Encoding) -> Damage:
    """The damage as a receiver can see it: without blocks there is no block length to be wrong, and a bit is turned."""
    return Damage.BITS if damage is Damage.BLOCK_LENGTH and encoding not in FRAMED else damage


def disagreements(receipt: Receipt, outcome: ExpectedOutcome) -> list[str]:
    """Where a receipt says something else; [] when it agrees."""
    kept, found = outcome.kept, []
    if receipt.verdict is not outcome.verdict:
        found.append(f"the verdict is {receipt.verdict.value}, and should be {outcome.verdict.value}")
    if receipt.frames_written != len(kept):
        found.append(f"{receipt.frames_written} frames written, and should be {len(kept)}")
    if set(receipt.frames_corrupt_numbers) != outcome.corrupt:
        told, wanted = sorted(receipt.frames_corrupt_numbers), sorted(outcome.corrupt)
        found.append(f"corrupt are {told[:20]}, and should be {wanted[:20]}")
    if bool(receipt.reasons) != (receipt.verdict is not Verdict.COMPLETE):
        found.append(f"verdict {receipt.verdict.value} with the reasons {list(receipt.reasons)}")
    if outcome.verdict is not Verdict.FAILED:
        # What comes behind the header of another series is late where it had arrived by then, and missing where not.
        missing, late = numbers(receipt.frames_missing_ranges), numbers(receipt.frames_late_ranges)
        wanted_blank = set(range(outcome.expected)) - kept - outcome.corrupt
        if missing | late != wanted_blank:
            odd = sorted((missing | late) ^ wanted_blank)
            found.append(f"missing and late are not what they should be, they differ in {odd[:20]}")
        if missing & late:
            found.append(f"both missing and late: {sorted(missing & late)[:20]}")
        if late and outcome.until >= outcome.expected:
            found.append(f"late without a reason: {sorted(late)[:20]}")
    return found + unaccounted(receipt)


def unaccounted(receipt: Receipt) -> list[str]:
    """Does every expected frame end in exactly one state? Holds for every receipt that an engine gave of a series."""
    expected = receipt.frames_expected
    if expected is None or not receipt.series:
        return []
    lists = {
        "missing": numbers(receipt.frames_missing_ranges),
        "late": numbers(receipt.frames_late_ranges),
        "corrupt": set(receipt.frames_corrupt_numbers),
        **{f"lost at the {place}": numbers(ranges) for place, ranges in receipt.frames_lost_at.items()},
    }
    found, seen = [], set[int]()
    for name, members in lists.items():
        if twice := sorted(members & seen):
            found.append(f"{name} and something else at once: {twice[:20]}")
        seen |= members
    total = receipt.frames_written + receipt.frames_discarded + sum(map(len, lists.values()))
    if total != expected:
        found.append(f"all states together are {total} frames, and {expected} were expected")
    return found
