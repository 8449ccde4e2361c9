"""Several series in a row on the same sockets, and several sockets for one series."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from maxdaq_tango.files import SeriesFile, check_file
from maxdaq_tango.model import (
    AcquisitionState,
    Compression,
    FileBackend,
    FileNaming,
    Pinned,
    Receipt,
    RunRequest,
    StreamFormat,
    Verdict,
)
from maxdaq_tango.pipeline.collector import numbered
from maxdaq_tango.pipeline.sources import (
    MOST_SOCKETS,
    RECEIVE_BUFFER_BYTES,
    choose_receive_buffer,
    choose_sockets,
)
from receiving import SHAPE, WAIT_S, Harness, pixels, slow_writes, stored, wait_for_bytes


def receipts(harness: Harness, count: int) -> list[Receipt]:
    """Of the first `count` series; waits for them."""
    with harness.states:
        found = lambda: [r.receipt for r in harness.reports if r.receipt is not None]  # noqa: E731
        assert harness.states.wait_for(lambda: len(found()) >= count, WAIT_S), harness.reports[-1]
        return found()[:count]


def test_frames_of_a_last_series_that_wait_for_their_header_are_told_when_the_run_is_stopped(harness: Harness) -> None:
    other = harness.add_sender()
    harness.prepare(sources=(harness.sender.endpoint, other.endpoint), series_count=0)
    harness.sender.series(2)
    receipts(harness, 1)
    other.image(0)
    wait_for_bytes(harness, other.nbytes)
    harness.receiver.stop()
    last = receipts(harness, 2)[1]
    assert (last.verdict, last.frames_out_of_series, last.file) == (Verdict.ABORTED, 1, "")


class TestInARow:
    def test_each_has_a_file_and_a_receipt_and_no_socket_is_opened_again(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from maxdaq_tango.pipeline import sources

        opened: list[str] = []
        made = sources.Source

        class Counted(made):  # type: ignore[valid-type, misc]
            def __init__(self, context: Any, endpoint: str, **how: Any) -> None:
                opened.append(endpoint)
                super().__init__(context, endpoint, **how)

        monkeypatch.setattr(sources, "Source", Counted)
        harness.prepare(series_count=3)
        for count in (4, 5, 6):  # without waiting for anything
            harness.sender.series(count)
        told = receipts(harness, 3)
        harness.wait_state(AcquisitionState.IDLE)
        assert [receipt.verdict for receipt in told] == [Verdict.COMPLETE] * 3
        assert [receipt.frames_written for receipt in told] == [4, 5, 6]
        assert [Path(receipt.file).name for receipt in told] == ["a.h5", "a_2.h5", "a_3.h5"]
        for receipt in told:
            assert np.array_equal(stored(receipt), [pixels(n) for n in range(receipt.frames_written)])
            assert check_file(receipt.file).problems == []
        assert opened == [harness.sender.endpoint]
        assert sum(receipt.bytes_received for receipt in told) == harness.sender.nbytes

    def test_the_states_go_back_to_armed_with_the_receipt(self, harness: Harness) -> None:
        harness.prepare(series_count=2)
        harness.sender.series(2)
        (first,) = receipts(harness, 1)
        told = next(report for report in harness.reports if report.receipt is first)
        assert told.state is AcquisitionState.ARMED
        assert told.message == "COMPLETE. Waiting for series 2"
        harness.sender.series(1)
        receipts(harness, 2)
        harness.wait_state(AcquisitionState.IDLE)

    def test_until_stopped(self, harness: Harness) -> None:
        harness.prepare(series_count=0, destination="")
        for _ in range(3):
            harness.sender.series(2)
        assert [receipt.frames_discarded for receipt in receipts(harness, 3)] == [2, 2, 2]
        harness.wait_state(AcquisitionState.ARMED)
        harness.receiver.stop()
        harness.wait_state(AcquisitionState.IDLE)
        assert harness.reports[-1].message == "3 series were taken"
        assert harness.reports[-1].receipt is None

    def test_a_stop_in_the_middle_of_one_ends_with_that_one(self, harness: Harness) -> None:
        harness.prepare(series_count=0)
        harness.sender.series(2)
        receipts(harness, 1)
        harness.sender.header()
        harness.sender.image(0)
        harness.wait_written(1)
        harness.receiver.stop()
        harness.sender.end()
        assert receipts(harness, 2)[1].frames_written == 1
        harness.wait_state(AcquisitionState.IDLE)

    def test_an_abort_ends_them_all(self, harness: Harness) -> None:
        harness.prepare(series_count=5)
        harness.sender.header()
        harness.sender.image(0)
        harness.wait_written(1)
        harness.receiver.abort("enough")
        (receipt,) = receipts(harness, 1)
        assert receipt.verdict is Verdict.ABORTED
        harness.wait_state(AcquisitionState.IDLE)

    def test_a_header_that_interrupts_begins_the_next_series(self, harness: Harness) -> None:
        harness.prepare(series_count=2)
        harness.sender.header()
        harness.sender.image(0)
        harness.sender.skip()  # the end message is lost
        harness.sender.series(3)
        first, second = receipts(harness, 2)
        assert first.verdict is Verdict.INCOMPLETE
        assert "the next header came before the end of this series" in first.reasons
        assert first.frames_out_of_series == 0
        assert (second.verdict, second.frames_written) == (Verdict.COMPLETE, 3)
        assert np.array_equal(stored(second), [pixels(n) for n in range(3)])

    def test_what_comes_late_of_one_is_out_of_series_in_the_next(self, harness: Harness) -> None:
        harness.prepare(series_count=2, expected_frames=2)
        harness.sender.series(2)
        receipts(harness, 1)
        harness.sender.image(1)
        harness.sender.series(2)
        assert receipts(harness, 2)[1].frames_out_of_series == 1

    def test_a_name_that_is_taken_fails_that_series_and_keeps_the_others(self, harness: Harness) -> None:
        (harness.folder / "a_2.h5").write_bytes(b"mine")
        harness.prepare(series_count=3)
        harness.sender.series(2)
        harness.sender.series(2)
        first, second = receipts(harness, 2)
        assert first.verdict is Verdict.COMPLETE
        assert second.verdict is Verdict.FAILED
        assert "a_2.h5" in second.reasons[0]
        harness.wait_state(AcquisitionState.FAULT)
        assert (harness.folder / "a_2.h5").read_bytes() == b"mine"

    def test_the_stream_names_each_file(self, harness: Harness) -> None:
        harness.prepare(series_count=2, destination="", naming=FileNaming.STREAM)
        for name in ("one.h5", "two.h5"):
            harness.sender.header(str(harness.folder / name))
            harness.sender.image(0)
            harness.sender.end()
        assert [Path(receipt.file).name for receipt in receipts(harness, 2)] == ["one.h5", "two.h5"]

    def test_a_file_that_takes_long_to_close_costs_no_frame_of_the_next(
        self, harness: Harness, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settle, pause = SeriesFile.settle, threading.Event()

        def slow(file: SeriesFile, *how: Any) -> None:
            pause.wait(0.5)
            settle(file, *how)

        monkeypatch.setattr(SeriesFile, "settle", slow)
        harness.prepare(series_count=2)
        harness.sender.series(50)
        harness.sender.series(500)
        assert [receipt.frames_written for receipt in receipts(harness, 2)] == [50, 500]

    def test_the_name_of_the_next_file(self) -> None:
        assert numbered("/data/scan.h5", 2) == "/data/scan_2.h5"
        assert numbered("", 2) == ""


class TestSeveralSockets:
    @pytest.mark.parametrize("sockets", [2, 3])
    def test_one_sender_deals_its_frames_over_them(self, harness: Harness, sockets: int) -> None:
        harness.prepare(pinned=Pinned(sockets=sockets), expected_frames=300)
        harness.sender.series(300)
        receipt = harness.receipt()
        assert (receipt.verdict, receipt.frames_written) == (Verdict.COMPLETE, 300)
        assert np.array_equal(stored(receipt), [pixels(n) for n in range(300)])
        assert receipt.decisions["sockets"] == f"{sockets} for each source (asked for)"

    def test_with_a_slow_disk_too(self, harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
        slow_writes(monkeypatch, 0.002, range(300))
        harness.prepare(
            pinned=Pinned(sockets=3), expected_frames=300, compression=Compression.NONE, memory_bytes=1 << 20
        )
        harness.sender.series(300)
        assert harness.receipt().verdict is Verdict.COMPLETE

    @pytest.mark.parametrize(
        ("nbytes", "period_s", "cores", "expected"),
        [
            (None, 0.1, 16, 1),
            (20e6, None, 16, 1),
            (200e3, 0.001, 16, 1),
            (20e6, 0.005, 16, 3),
            (20e6, 0.001, 16, 4),
            (20e6, 0.005, 2, 1),
            (20e6, 0.005, 5, 2),
        ],
    )
    def test_as_many_as_the_data_rate_needs(
        self, monkeypatch: pytest.MonkeyPatch, nbytes: float | None, period_s: float | None, cores: int, expected: int
    ) -> None:
        monkeypatch.setattr("maxdaq_tango.pipeline.sources.usable_cores", lambda: cores)
        request = RunRequest(
            sources=("tcp://a:1",),
            stream_format=StreamFormat.STINS,
            frame_nbytes=int(nbytes) if nbytes else None,
            frame_period_s=period_s,
        )
        assert choose_sockets(request).per_source == expected <= MOST_SOCKETS
        assert choose_sockets(RunRequest(**{**to_dict(request), "pinned": Pinned(sockets=7)})).per_source == 7


@pytest.mark.parametrize(
    ("nbytes", "limit", "expected", "why"),
    [
        (200_000, "4194304", RECEIVE_BUFFER_BYTES, "small frames"),
        (1 << 20, "9000000", RECEIVE_BUFFER_BYTES, "small frames"),
        ((1 << 20) + 1, "9000000", 0, "large frames"),
        (None, "9000000", 0, "not known"),
        (200_000, "212992", 0, "net.core.rmem_max is 212992"),
        (200_000, "odd", 0, "limit is not known"),
        (200_000, None, 0, "limit is not known"),
    ],
)
def test_small_frames_get_a_large_receive_buffer_where_the_system_grants_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nbytes: int | None, limit: str | None, expected: int, why: str
) -> None:
    path = tmp_path / "rmem_max"
    if limit is not None:
        path.write_text(limit)
    monkeypatch.setattr("maxdaq_tango.pipeline.sources.BUFFER_LIMIT", path)
    request = RunRequest(sources=("tcp://a:1",), stream_format=StreamFormat.STINS, frame_nbytes=nbytes)
    chosen = choose_receive_buffer(request)
    assert (chosen.nbytes, why in chosen.reason) == (expected, True)
    pinned = RunRequest(**{**to_dict(request), "pinned": Pinned(receive_buffer_bytes=70_000)})
    assert choose_receive_buffer(pinned) == (70_000, "asked for")


def to_dict(request: RunRequest) -> dict[str, Any]:
    return {name: getattr(request, name) for name in RunRequest.__struct_fields__}


def test_everything_that_is_pinned_is_kept_to_and_told(harness: Harness) -> None:
    pinned = Pinned(
        messages_ahead=17, receive_buffer_bytes=128 << 10, batch_messages=5, slab_bytes=1 << 20, checkpoint_s=0.25
    )
    harness.prepare(pinned=pinned, backend=FileBackend.DIRECT, pool_workers=1, compression=Compression.NONE)
    harness.sender.series(40)
    decisions = harness.receipt().decisions
    assert decisions["messages ahead"] == "17"
    assert decisions["receive buffer"] == "128 KiB (asked for)"
    assert decisions["batch"].startswith("5 messages")
    assert "slabs of 1 MiB" in decisions["backend"]
    assert "checkpoints each 0.25 s (asked for)" in decisions["backend"]
    with h5py.File(harness.folder / "a.h5") as file:
        assert file["entry/instrument/eiger/data"].shape == (40, *SHAPE)
