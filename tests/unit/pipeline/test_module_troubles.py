"""What goes wrong of ours while modules are put together ends as a receipt that accounts for every frame."""

from __future__ import annotations

from typing import Any

import pytest

from maxdaq_tango.errors import FileError
from maxdaq_tango.model import AcquisitionState, Compression, StreamFormat, Verdict
from maxdaq_tango.pipeline.file_sink import FileSink
from maxdaq_tango.pipeline.module_stream import ModuleStream
from maxdaq_tango.pipeline.storing import Storing
from module_senders import Jungfrau
from receiving import Harness, wait_for_bytes


@pytest.fixture
def detector(harness: Harness) -> Jungfrau:
    return Jungfrau(harness.context, first=0)


def prepare(harness: Harness, detector: Jungfrau, **changes: Any) -> None:
    settings = {"sources": detector.endpoints, "stream_format": StreamFormat.SLS_JSON, "module_wait_s": 0.3}
    harness.prepare(**{**settings, **changes})
    detector.wait_subscribed()


@pytest.mark.parametrize("place", [(Storing, "store"), (ModuleStream, "flush")], ids=["store", "flush"])
def test_a_bug_while_what_waits_is_stored_ends_the_run_and_not_the_receiver(
    harness: Harness, detector: Jungfrau, monkeypatch: pytest.MonkeyPatch, place: tuple[type, str]
) -> None:
    prepare(harness, detector, module_wait_s=60.0, expected_frames=3)
    for number in range(3):
        detector.image(number, 0)
    wait_for_bytes(harness, detector.nbytes)

    def provoked(*_: Any) -> None:
        raise MemoryError("provoked")

    monkeypatch.setattr(*place, provoked)
    harness.receiver.stop()
    receipt = harness.receipt()
    monkeypatch.undo()
    assert receipt.verdict is Verdict.FAILED
    assert any("MemoryError: provoked" in reason for reason in receipt.reasons)
    if place[0] is Storing:
        assert (receipt.frames_lost_count, receipt.frames_missing_count) == (3, 0)
    assert harness.receiver.state is AcquisitionState.FAULT
    harness.prepare(destination=str(harness.folder / "b.h5"))
    harness.sender.series(2)
    assert harness.receipt().verdict is Verdict.COMPLETE


@pytest.mark.parametrize("error", [FileError("write a frame", answer="provoked"), ValueError("provoked")])
def test_frames_that_go_out_together_are_lost_and_not_missing_when_one_of_them_cannot_be_written(
    harness: Harness, detector: Jungfrau, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    write, written = FileSink.write, []

    def third_fails(self: FileSink, row: int, *rest: Any) -> Any:
        written.append(row)
        if len(written) == 3:
            raise error
        return write(self, row, *rest)

    monkeypatch.setattr(FileSink, "write", third_fails)
    prepare(harness, detector, expected_frames=10, compression=Compression.NONE)
    for number in range(10):
        detector.image(number, 0)  # all wait for the other port
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_written, receipt.frames_lost_count) == (Verdict.FAILED, 2, 8)
    assert (receipt.frames_missing_count, receipt.frames_out_of_series) == (0, 0)
    assert receipt.frames_lost_at["assembly"] == ((3, 9),)
    assert (receipt.frames_partial, receipt.modules_missing) == (2, (0, 2))  # of those that are stored


@pytest.fixture(params=[1, 2])
def ports(harness: Harness, request: pytest.FixtureRequest) -> Jungfrau:
    return Jungfrau(harness.context, modules=request.param, first=0)


def test_a_damaged_message_is_counted_once_also_where_it_costs_its_frame(harness: Harness, ports: Jungfrau) -> None:
    prepare(harness, ports, expected_frames=2)
    ports.image(0)
    ports.image(1, 0, blob=b"short")
    ports.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_corrupt) == (Verdict.INCOMPLETE, 1)
    assert receipt.frames_corrupt_numbers == (1,)
    assert any("5 bytes" in reason for reason in receipt.reasons)
