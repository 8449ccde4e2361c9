"""What the receiver makes of each fault of a stream, for each wire format: the receipt beside the sender's own account.

This table is the documented outcome: docs/explanations/hostile-streams.md says the same in words. What follows of it
for each frame is worked out in `detectors/simulation/expected_outcome.py`, by which `maxdaq soak` judges as well.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import httpx
import numpy as np
import pytest
import zmq

from maxdaq_tango.detectors.eiger.simulator import SimulatorOptions
from maxdaq_tango.detectors.eiger.simulator_server import EigerSimulatorServer
from maxdaq_tango.detectors.simulation import Faults, SeriesAccount
from maxdaq_tango.detectors.simulation.damage import json_bomb, packed
from maxdaq_tango.detectors.simulation.expected_outcome import ExpectedOutcome, disagreements, expect_outcome, over_at
from maxdaq_tango.detectors.simulation.pattern import FramePattern
from maxdaq_tango.detectors.simulation.stins_sender import StinsOptions
from maxdaq_tango.detectors.simulation.stins_server import StinsServer
from maxdaq_tango.explain.causes import explain
from maxdaq_tango.explain.evidence import Evidence
from maxdaq_tango.model import Encoding, FileNaming, Frame, Receipt, StreamFormat, Verdict
from maxdaq_tango.pipeline.blackbox import blackbox_path, decoded
from maxdaq_tango.wire import dectris_v1, stins
from receiving import Harness

SHAPE = (96, 80)
COUNT = 12
GRACE_S = 0.4
STALL_S = 0.8
FORMATS = [StreamFormat.DECTRIS_V1, StreamFormat.DECTRIS_V2, StreamFormat.STINS]
COMPLETE, INCOMPLETE, FAILED = Verdict.COMPLETE, Verdict.INCOMPLETE, Verdict.FAILED
PATTERN = FramePattern(1, SHAPE)


@dataclass(frozen=True)
class Case:
    """A fault, and what the receiver shall make of it. The account says the rest."""

    faults: str
    verdict: Verdict
    told: dict[str, int] = field(default_factory=dict)
    """Counters of the receipt."""
    reason: str = ""
    """Words of the receipt's reasons."""
    cause: str = ""
    """The rule of `maxdaq explain` that comes first; "" = there is no file, and so no black box beside it."""
    request: dict[str, Any] = field(default_factory=dict)
    marks: tuple[pytest.MarkDecorator, ...] = ()
    only: tuple[StreamFormat, ...] = tuple(FORMATS)


CASES = {
    "good health": Case("", COMPLETE),
    "reorder": Case("reorder=8", COMPLETE),
    "duplicate": Case("duplicate_frames=2,5", COMPLETE, told={"frames_duplicate": 2}),
    "drop": Case("drop_frames=3,7", INCOMPLETE, reason="2 of 12 frames never came", cause="lost before the receiver"),
    "drop at random": Case("drop=0.3 seed=5", INCOMPLETE, reason="frames never came", cause="lost before the receiver"),
    "drop the last": Case("drop_frames=11", INCOMPLETE, reason="1 of 12 frames never came", cause="too few frames"),
    "drop all": Case("drop=1", INCOMPLETE, reason="12 of 12 frames never came"),
    "delay": Case("delay_frames=4 delay_s=0.3", COMPLETE),
    "delay beyond the end and the grace time": Case(
        "end_at=4 delay_frames=8 delay_s=1.5", INCOMPLETE, reason="4 of 12 frames never came"
    ),
    "truncate": Case("cut_frames=5", INCOMPLETE, told={"frames_corrupt": 1}, cause="damaged messages"),
    "corrupt payload": Case("corrupt_frames=5", COMPLETE),
    "wrong block length": Case(
        "block_length_frames=5", INCOMPLETE, told={"frames_corrupt": 1}, cause="damaged messages"
    ),
    "wrong size": Case("wrong_size_frames=5", INCOMPLETE, told={"frames_corrupt": 1}, cause="damaged messages"),
    "type changes": Case("dtype_at=8", INCOMPLETE, told={"frames_corrupt": 4}, reason="uint32", cause="format changed"),
    "shape changes": Case(
        "shape_at=8", INCOMPLETE, told={"frames_corrupt": 4}, reason="(48, 80)", cause="format changed"
    ),
    "second header": Case("second_header_at=6", INCOMPLETE, reason="the next header came", cause="second header"),
    "second header before the frames": Case(
        "second_header_at=0", INCOMPLETE, only=(StreamFormat.DECTRIS_V1, StreamFormat.DECTRIS_V2)
    ),
    "missing header": Case(
        "missing_header",
        FAILED,
        reason="no start message came",
        request={"start_timeout_s": 1.0},
    ),
    "end before data": Case("end_at=4", COMPLETE),
    "no end": Case("missing_end", COMPLETE),
    "two ends": Case("duplicate_end", COMPLETE),
    "restart from 0": Case(
        "restart_at=8",
        INCOMPLETE,
        told={"frames_duplicate": 4},
        reason="4 of 12 frames never",
        cause="numbers began again",
    ),
    "restart from 0 before half of the frames": Case(
        "restart_at=4",
        INCOMPLETE,
        told={"frames_duplicate": 4},
        reason="4 of 12 frames never",
        cause="numbers began again",
    ),
    "two series interleaved": Case("interleave=6", INCOMPLETE, reason="the next header came", cause="second header"),
    "frame of another series": Case(
        "wrong_series_frames=3", INCOMPLETE, told={"frames_out_of_series": 1}, cause="other series"
    ),
    "huge number": Case(
        "number_at=5",
        INCOMPLETE,
        told={"frames_unexpected": 1},
        reason="beyond the expected",
        cause="unexpected numbers",
    ),
    "negative number": Case(
        "number_at=5 number_sent=-1", INCOMPLETE, told={"frames_corrupt": 1}, cause="damaged messages"
    ),
    "deep bomb": Case("bomb=5", INCOMPLETE, told={"frames_corrupt": 1}, cause="damaged messages"),
    "thief": Case(
        "thief=1", INCOMPLETE, reason="frames never came", marks=(pytest.mark.lesson(14),), cause="second client"
    ),
    "sender vanishes and returns": Case("vanish_at=5 vanish_s=0.3", COMPLETE),
    "sender vanishes for good": Case("stop_after=7", INCOMPLETE, reason="fell silent", cause="sender fell silent"),
    "path traversal": Case(
        "filename=../../outside.h5",
        FAILED,
        reason="outside.h5",
        request={"naming": FileNaming.STREAM},
    ),
}


class Source:
    """One sender of any format: `endpoint`, `send()` and `account()`."""

    def __init__(self, endpoint: str, control: httpx.Client, steps: list[tuple[str, str, Any]]) -> None:
        self.endpoint, self._control, self._steps = endpoint, control, steps

    def send(self) -> None:
        for method, path, body in self._steps:
            answer = self._control.request(method, path, json=body)
            assert answer.status_code == 200, answer.text

    def account(self, *, wait: bool) -> SeriesAccount:
        pause = threading.Event()
        for _ in range(500):
            answer = self._control.get("/simulator/api/account", params={"series": 1})
            account = SeriesAccount(**{key: _tuples(value) for key, value in answer.raise_for_status().json().items()})
            # Once every frame has left, a receiver that has what it wants need not take the rest.
            settled = account.finished and account.messages_waiting == 0
            if not wait or settled or account.intact == ((0, COUNT - 1),):
                return account
            pause.wait(0.01)
        raise AssertionError(account)


def _tuples(value: Any) -> Any:
    return tuple(map(tuple, value)) if isinstance(value, list) else value


@contextmanager
def source(stream_format: StreamFormat, faults: Faults) -> Iterator[Source]:
    if stream_format is StreamFormat.STINS:
        options = StinsOptions(rows=SHAPE[0], columns=SHAPE[1])
        with StinsServer(options, faults=faults) as server, httpx.Client(base_url=server.url, timeout=20) as control:
            steps: list[tuple[str, str, Any]] = [("POST", "/simulator/api/series", {"frames": COUNT, "rate_hz": 400.0})]
            yield Source(f"tcp://127.0.0.1:{server.stream_port}", control, steps)
        return
    eiger = SimulatorOptions(rows=SHAPE[0], columns=SHAPE[1], initialise_time_s=0.0, bit_depth=16)
    with (
        EigerSimulatorServer(eiger, faults=faults) as detector,
        httpx.Client(base_url=detector.url, timeout=20) as control,
    ):
        legacy = stream_format is StreamFormat.DECTRIS_V1
        stream = {"mode": {"value": "enabled"}, "format": {"value": "legacy" if legacy else "cbor"}}
        api = "/detector/api/1.8.0/"
        for path, body in (
            (api + "command/initialize", {}),
            ("/stream/api/1.8.0/config", stream),
            (api + "config/count_time", {"value": 0.002}),
            (api + "config/frame_time", {"value": 0.0025}),
            (api + "config/nimages", {"value": COUNT}),
        ):
            assert control.put(path, json=body).status_code == 200
        port = detector.stream_port if legacy else detector.cbor_port
        yield Source(
            f"tcp://127.0.0.1:{port}",
            control,
            [("PUT", api + "command/arm", {}), ("PUT", api + "command/trigger", {})],
        )


def parameters() -> list[Any]:
    made = []
    for name, case in CASES.items():
        for stream_format in case.only:
            made.append(pytest.param(stream_format, case, id=f"{name}-{stream_format.value}", marks=case.marks))
    return made


@pytest.mark.parametrize(("stream_format", "case"), parameters())
def test_the_receipt_agrees_with_the_account_of_the_sender(
    harness: Harness, stream_format: StreamFormat, case: Case
) -> None:
    faults = Faults.parse(case.faults.split())
    with source(stream_format, faults) as sender:
        harness.prepare(
            sources=(sender.endpoint,),
            stream_format=stream_format,
            expected_frames=COUNT,
            grace_s=GRACE_S,
            stall_timeout_s=STALL_S,
            **case.request,
        )
        sender.send()
        receipt = harness.receipt()
        named = case.request.get("naming") is FileNaming.STREAM
        until = over_at(faults, COUNT, series_known=False, grace_s=GRACE_S)
        account = sender.account(wait=until == COUNT and not named)

    outcome = expect_outcome(faults, account, COUNT, grace_s=GRACE_S, named_by_stream=named)
    assert outcome.verdict is case.verdict
    assert disagreements(receipt, outcome) == []
    for name, count in case.told.items():
        assert getattr(receipt, name) == count, (name, receipt)
    assert case.reason in " ".join(receipt.reasons)
    assert_file(receipt, outcome)
    assert_cause(receipt, case.cause)
    assert not list(harness.folder.parent.glob("outside*"))


def assert_cause(receipt: Receipt, rule: str) -> None:
    """The black box beside the file leads to it; a COMPLETE run has none."""
    box = blackbox_path(Path(receipt.file)) if receipt.file else None
    if box is None or receipt.verdict is COMPLETE:
        assert box is None or not box.exists()
        return
    causes = explain(Evidence(receipt, tuple(decoded(box.read_bytes().splitlines()))))
    assert not rule or causes[0].rule == rule, causes


def assert_file(receipt: Receipt, outcome: ExpectedOutcome) -> None:
    """Row by row: those that are valid are those that were kept, and they hold the pixels of their exposure."""
    kept = outcome.kept
    if not receipt.file:
        assert not kept
        return
    with h5py.File(receipt.file, "r") as file:
        data = file[receipt.dataset]
        valid = set(np.flatnonzero(data.parent["daq/frame_valid"][...]).tolist()) if len(data) else set()
        assert valid == kept
        for row, exposure in outcome.stored.items():
            assert np.array_equal(data[row], PATTERN.frame(exposure)), (row, exposure)
        for row in set(range(len(data))) - kept:
            assert np.all(data[row] == np.iinfo(data.dtype).max), row


def nested(parts: list[Any], depth: int) -> list[Any]:
    return [json_bomb(parts[0], depth), *parts[1:]]


DEPTHS = range(960, 1001)


@pytest.mark.parametrize("stream_format", [StreamFormat.DECTRIS_V1, StreamFormat.STINS])
def test_no_depth_of_a_json_value_ends_a_run(harness: Harness, stream_format: StreamFormat) -> None:
    sender, legacy = harness.sender, stream_format is StreamFormat.DECTRIS_V1
    sender.socket.sndtimeo = 500
    harness.prepare(stream_format=stream_format, expected_frames=len(DEPTHS), stall_timeout_s=STALL_S)
    config = {"nimages": len(DEPTHS), "ntrigger": 1}
    start = dectris_v1.encode_header(7, detail=dectris_v1.HeaderDetail.BASIC, config=config)
    sender.send(start if legacy else stins.encode_header(0, None, {}))
    with suppress(zmq.Again):  # a run that has failed takes nothing more
        for number, depth in enumerate(DEPTHS):
            format, blob = packed(PATTERN.frame(number), Encoding.BSLZ4)
            frame = Frame(series="", frame_number=number, format=format, blobs=(blob,))
            times = {"start_ns": 0, "stop_ns": 0, "real_ns": 0}
            image = dectris_v1.encode_image(7, number, format, blob, **times)
            sender.send(nested(image if legacy else stins.encode_image(number + 1, frame), depth))
        sender.send(dectris_v1.encode_end(7) if legacy else stins.encode_end(len(DEPTHS) + 1))
    receipt = harness.receipt()
    assert receipt.verdict in (COMPLETE, INCOMPLETE), receipt.reasons
    assert receipt.frames_written + receipt.frames_corrupt == len(DEPTHS)
