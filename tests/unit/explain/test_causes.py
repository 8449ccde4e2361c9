"""The table of likely causes, rule by rule. Simulated faults lead to them: unit/pipeline/test_hostile_streams.py."""

from __future__ import annotations

from typing import Any

import pytest

from maxdaq_tango.explain.causes import RULES, explain
from maxdaq_tango.explain.evidence import Evidence, Record
from maxdaq_tango.explain.timeline import timeline
from maxdaq_tango.model import Receipt, Verdict

INCOMPLETE, FAILED, ABORTED = Verdict.INCOMPLETE, Verdict.FAILED, Verdict.ABORTED


def receipt(verdict: Verdict, *reasons: str, missing: tuple[tuple[int, int], ...] = (), **more: Any) -> Receipt:
    count = sum(last - first + 1 for first, last in missing)
    return Receipt(
        verdict=verdict,
        reasons=reasons,
        frames_expected=100,
        frames_missing_ranges=missing,
        frames_missing_count=count,
        **more,
    )


def record(what: str, **fields: Any) -> Record:
    return {"at": 1000.0, "what": what, **fields}


LOST = record("disconnected", endpoint="tcp://10.0.0.1:9999")
FULL = record("second", queue_full_count=3, queue_bytes=90, queue_limit_bytes=100, write_latency_us=5000)
SLOW = {**FULL, "write_latency_us": 900_000}
TAIL = ((70, 99),)
INNER = ((10, 12), (40, 40))
STRIDE = tuple((n, n) for n in range(20, 100, 2))
THIRD = tuple((n, n) for n in range(21, 99, 3))
CASES: list[tuple[str, Receipt, list[Record]]] = [
    ("engine died", receipt(FAILED, "the receiver engine was killed by signal 9"), []),
    ("engine died", receipt(FAILED, "the receiver engine ended with status 1", missing=INNER), []),
    ("disk error", receipt(FAILED, "write /data/a.h5: No space left on device", missing=TAIL), []),
    ("disk error", receipt(FAILED, "write /data/a.h5: Input/output error"), [SLOW]),
    (
        "ended on request",
        receipt(ABORTED, "30 of 100 frames never came", missing=TAIL),
        [record("request", name="stop")],
    ),
    (
        "no header",
        receipt(FAILED, "no start message came within 4 s; nobody ever accepted a connection at tcp://a"),
        [],
    ),
    ("no header", receipt(FAILED, "no start message came within 4 s"), []),
    (
        "second header",
        receipt(INCOMPLETE, "the next header came before the end of this series", missing=TAIL, frames_out_of_series=1),
        [record("header", series="7"), record("header", series="8")],
    ),
    ("second client", receipt(INCOMPLETE, "gone", missing=STRIDE, end_message_seen=True), []),
    ("second client", receipt(INCOMPLETE, "gone", missing=THIRD), []),
    (
        "numbers began again",
        receipt(INCOMPLETE, "gone", missing=TAIL, frames_duplicate=30, frames_duplicate_ranges=((0, 29),)),
        [],
    ),
    ("slow disk", receipt(INCOMPLETE, "gone", missing=INNER), [SLOW]),
    ("slow receiver", receipt(INCOMPLETE, "gone", missing=INNER), [FULL]),
    ("sender went away", receipt(INCOMPLETE, "the stream fell silent", missing=TAIL), [LOST]),
    ("sender fell silent", receipt(INCOMPLETE, "the stream fell silent", missing=TAIL), []),
    ("too few frames", receipt(INCOMPLETE, "gone", missing=TAIL, end_message_seen=True), []),
    (
        "format changed",
        receipt(
            INCOMPLETE,
            "frame 8 is (9, 9) uint32 none, its series is (9, 9) uint16 none",
            frames_corrupt=4,
            frames_corrupt_numbers=(8,),
        ),
        [],
    ),
    (
        "damaged messages",
        receipt(INCOMPLETE, "corrupt message: x", frames_corrupt=2, frames_corrupt_numbers=(5,)),
        [record("corrupt", parts=[7], reason="look at a bslz4 blob")],
    ),
    ("lost before the receiver", receipt(INCOMPLETE, "gone", missing=INNER, end_message_seen=True), []),
    ("lost before the receiver", receipt(INCOMPLETE, "gone", missing=INNER, end_message_seen=True), [LOST]),
    ("other series", receipt(INCOMPLETE, "gone", missing=INNER, frames_out_of_series=4), []),
    (
        "unexpected numbers",
        receipt(INCOMPLETE, "beyond", frames_unexpected=3, frames_unexpected_ranges=((100, 102),)),
        [],
    ),
    ("unknown", receipt(INCOMPLETE, "something that nobody has thought of"), []),
]


@pytest.mark.parametrize(("rule", "told", "records"), CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)])
def test_the_evidence_leads_to_the_cause(rule: str, told: Receipt, records: list[Record]) -> None:
    causes = explain(Evidence(told, tuple(records)))
    assert causes[0].rule == rule, causes
    assert causes[0].because


def test_every_rule_is_tried() -> None:
    assert {rule.name for rule in RULES} == {case[0] for case in CASES} - {"unknown"}


def test_a_complete_run_needs_no_cause() -> None:
    assert explain(Evidence(receipt(Verdict.COMPLETE), (SLOW, LOST))) == []


def test_a_few_frames_at_random_are_no_second_client() -> None:
    random = tuple((n, n) for n in (3, 5, 17, 30, 31, 60, 62, 77))
    assert explain(Evidence(receipt(INCOMPLETE, "gone", missing=random), ()))[0].rule == "lost before the receiver"


def test_a_timeline_begins_at_0_and_leaves_out_quiet_seconds() -> None:
    look = {"what": "second", "frames_received": 5, "frames_written": 5, "queue_bytes": 10, "queue_limit_bytes": 100}
    records: list[Record] = [
        {
            "at": 50.0,
            "what": "prepared",
            "request": {"sources": ["tcp://a"], "stream_format": "stins", "destination": "/b"},
        },
        {"at": 51.0, **look},
        {"at": 52.0, **look},
        {"at": 53.0, **look, "write_latency_us": 700_000, "queue_full_count": 2, "stalled_ms": 1500},
        {"at": 54.0, "what": "gap", "missing": 3, "first": 7, "last": 9, "newest": 11},
        {"at": 55.0, "what": "request", "name": "abort", "reason": "enough"},
        {"at": 56.0, "what": "a later version's", "left_out_bytes": 70000},
    ]
    assert list(timeline(records)) == [
        (0.0, "prepared for tcp://a (stins) into /b"),
        (1.0, "5 frames received, 5 written, memory 10 %"),
        (3.0, "5 frames received, 5 written, memory 10 %, full 2 times, a write took 0.70 s, silent for 1.5 s"),
        (4.0, "3 frames have not come, the first gap is 7-9; the newest is 11"),
        (5.0, "asked to abort: reason enough"),
        (6.0, "a later version's (70000 bytes)"),
    ]
