"""The table of likely causes: each rule looks at the evidence and says a sentence, or nothing. Pure.

The order is that of the answer: what ended the run first, what merely goes with it later. A rule claims no more than
its evidence; where two things look the same from the receiver it names both, and what to compare.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from maxdaq_tango.explain.evidence import Evidence, listed
from maxdaq_tango.model import Verdict

SLOW_WRITE_US = 100_000
"""A write that takes longer than this is one that is waited for."""

_DISK = {
    "No space left": "the disk was full",
    "Disk quota exceeded": "the quota of the account was used up",
    "Read-only file system": "the file system is read-only",
    "Permission denied": "the receiver may not write there",
    "Input/output error": "the disk or the way to it failed",
    "Stale file handle": "the file server lost the file",
    "File too large": "the file system or a limit of the process takes no larger file",
    "Transport endpoint": "the file server went away",
}


@dataclass(frozen=True)
class Cause:
    """One likely cause."""

    rule: str
    cause: str
    because: str
    """The evidence, in words."""
    do: str = ""
    """What to look at, or to do."""


@dataclass(frozen=True)
class Rule:
    """One line of the table."""

    name: str
    look: Callable[[Evidence], tuple[str, str, str] | None]
    """Cause, because, do; None = it does not apply."""


def explain(evidence: Evidence) -> list[Cause]:
    """All that apply, the most likely first; never empty for a run that is not COMPLETE."""
    found = [Cause(rule.name, *told) for rule in RULES if (told := rule.look(evidence)) is not None]
    if not found and evidence.receipt.verdict is not Verdict.COMPLETE:
        because = evidence.reasons or "the receipt gives no reason"
        found.append(Cause("unknown", "no rule knows this", because, "read the timeline"))
    return found


def _engine(e: Evidence) -> tuple[str, str, str] | None:
    match = re.search(r"engine (?:was killed by signal (\d+)|ended with status (\S+))", e.reasons)
    if match is None:
        return None
    do = "look for the out-of-memory killer in the kernel's log; " if match[1] == "9" else ""
    return "the receiver's engine died", match[0], f"{do}maxdaq recover saves what it had written"


def _disk(e: Evidence) -> tuple[str, str, str] | None:
    for words, cause in _DISK.items():
        reason = next((reason for reason in e.receipt.reasons if words in reason), None)
        if reason is not None:
            return cause, reason, "make room or mend the file system; what the receipt says written can be read"
    return None


def _abort(e: Evidence) -> tuple[str, str, str] | None:
    if e.receipt.verdict is not Verdict.ABORTED:
        return None
    asked = "Abort" if "abort" in e.asked else "Stop"
    return f"somebody ended it ({asked})", e.reasons or "the verdict is ABORTED", ""


def _no_header(e: Evidence) -> tuple[str, str, str] | None:
    if "no start message" not in e.reasons:
        return None
    if "nobody ever accepted a connection" in e.reasons:
        return (
            "nobody sends at that address",
            e.reasons,
            "compare the address with the detector's; is its stream enabled?",
        )
    return (
        "the header never came, so frames cannot be understood",
        e.reasons,
        "was the detector armed before the receiver was prepared? does a second client take messages?",
    )


def _second_header(e: Evidence) -> tuple[str, str, str] | None:
    if "next header came" not in e.reasons:
        return None
    return (
        "the sender began another series before the end of this one",
        f"headers of the series {', '.join(e.headers) or '?'}",
        "did somebody else arm the detector? do two senders use one address?",
    )


def _thief(e: Evidence) -> tuple[str, str, str] | None:
    if not e.stride:
        return None
    return (
        "a second client takes messages from the same stream",
        f"from frame {e.missing[0]} on every {_th(e.stride)} frame is missing: a PUSH socket deals them out in turn",
        "find who else is connected to the detector's stream port",
    )


def _restart(e: Evidence) -> tuple[str, str, str] | None:
    r = e.receipt
    if not (e.tail and r.frames_duplicate and r.frames_duplicate_ranges and r.frames_duplicate_ranges[0][0] == 0):
        return None
    return (
        "the sender began to count from 0 again in the midst of the series",
        f"frames {listed(r.frames_duplicate_ranges)} came twice, and {listed([e.tail])} never",
        "was the sender restarted? frames after that may be stored under other numbers",
    )


def _format(e: Evidence) -> tuple[str, str, str] | None:
    reason = next(
        (reason for reason in e.receipt.reasons if re.search(r"frame \d+ is .*, its series is ", reason)), None
    )
    if not e.receipt.frames_corrupt_numbers or reason is None:
        return None
    return "pixel type or shape changed in the midst of the series", reason, "who changed the detector's settings?"


def _damage(e: Evidence) -> tuple[str, str, str] | None:
    r = e.receipt
    if not r.frames_corrupt or _format(e) is not None:
        return None
    numbers = listed([(number, number) for number in r.frames_corrupt_numbers])
    first = next((str(record.get("reason", "")) for record in e.of("corrupt")), r.reasons[0] if r.reasons else "")
    return (
        "messages came damaged: by the sender, or by what lies between",
        f"{r.frames_corrupt} messages" + (f", frames {numbers}" if numbers else "") + f"; the first: {first}",
        "the black box has the beginning of each",
    )


def _slow_disk(e: Evidence) -> tuple[str, str, str] | None:
    if not e.missing or not e.was_full or e.most("write_latency_us") < SLOW_WRITE_US:
        return None
    return (
        "the disk was too slow: the memory was full, the stream was not read, and the detector dropped frames",
        f"memory full {e.most('queue_full_count')} times; a write took {e.most('write_latency_us') / 1e6:.2f} s",
        "compare stream/status/dropped of the detector; a faster disk, or MemoryBudget for longer",
    )


def _slow_receiver(e: Evidence) -> tuple[str, str, str] | None:
    if not e.missing or not e.was_full or _slow_disk(e) is not None:
        return None
    return (
        "the receiver was too slow: the memory was full, the stream was not read, and the detector dropped frames",
        f"the memory was full {e.most('queue_full_count')} times, and no write took long",
        "is the computer busy? packing needs cores (Compression, PoolWorkers)",
    )


def _sender_went(e: Evidence) -> tuple[str, str, str] | None:
    if not e.tail or not e.disconnected or e.receipt.end_message_seen or _engine(e):
        return None
    return (
        "the sender went away",
        f"frames {listed([e.tail])} never came, the connection was lost, and there was no end message",
        "detector computer, its network, its process",
    )


def _sender_fell_silent(e: Evidence) -> tuple[str, str, str] | None:
    if not e.tail or e.disconnected or e.receipt.end_message_seen or e.stride or _engine(e) or _abort(e):
        return None
    if "next header came" in e.reasons:
        return None
    return (
        "the sender stopped sending, and stayed connected",
        f"frames {listed([e.tail])} never came, and there was no end message",
        "the detector's own state: an error, or triggers that did not come",
    )


def _too_few(e: Evidence) -> tuple[str, str, str] | None:
    if not e.tail or not e.receipt.end_message_seen or e.stride or _restart(e) or _abort(e) or e.was_full:
        return None
    if 2 * (e.tail[1] - e.tail[0] + 1) <= e.receipt.frames_missing_count:
        return None  # most are missing in the midst: the last ones are so by chance
    return (
        "the series ended with fewer frames than expected",
        f"frames {listed([e.tail])} never came, and the sender said that it had ended",
        "were all triggers given? did somebody stop the detector at its own interface?",
    )


def _lost_on_the_way(e: Evidence) -> tuple[str, str, str] | None:
    inner = [one for one in e.receipt.frames_missing_ranges if one != e.tail]
    if not inner or e.stride or e.was_full or "next header came" in e.reasons or _no_header(e):
        return None
    lost = "a connection was lost and made again" if e.disconnected else "the connection held"
    return (
        "frames were lost before they reached the receiver: in the detector, or in the network",
        f"frames {listed(inner)} never came; {lost}, and the receiver read all the time",
        "compare stream/status/dropped of the detector: more than 0 = it dropped them",
    )


def _strangers(e: Evidence) -> tuple[str, str, str] | None:
    if not e.receipt.frames_out_of_series or "next header came" in e.reasons:
        return None
    return (
        "messages of another series came as well",
        f"{e.receipt.frames_out_of_series} of them, none stored",
        "left-overs of an earlier series, or a second sender",
    )


def _unexpected(e: Evidence) -> tuple[str, str, str] | None:
    if not e.receipt.frames_unexpected:
        return None
    return (
        "the sender numbers frames beyond what was announced",
        f"{e.receipt.frames_unexpected} frames: {listed(e.receipt.frames_unexpected_ranges)}",
        "is the detector armed for more frames than the receiver was told?",
    )


RULES = (
    Rule("engine died", _engine),
    Rule("disk error", _disk),
    Rule("ended on request", _abort),
    Rule("no header", _no_header),
    Rule("second header", _second_header),
    Rule("second client", _thief),
    Rule("numbers began again", _restart),
    Rule("slow disk", _slow_disk),
    Rule("slow receiver", _slow_receiver),
    Rule("sender went away", _sender_went),
    Rule("sender fell silent", _sender_fell_silent),
    Rule("too few frames", _too_few),
    Rule("format changed", _format),
    Rule("damaged messages", _damage),
    Rule("other series", _strangers),
    Rule("unexpected numbers", _unexpected),
    Rule("lost before the receiver", _lost_on_the_way),
)


def _th(k: int) -> str:
    return {2: "second", 3: "third"}.get(k, f"{k}th")
