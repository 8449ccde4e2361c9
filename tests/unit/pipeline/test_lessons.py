"""Failure modes of other receivers that no test of a single part provokes."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from maxdaq_tango.files import SeriesFile
from maxdaq_tango.model import AcquisitionState, Encoding, FileBackend, FileNaming, FrameFormat, StreamFormat, Verdict
from maxdaq_tango.wire import dectris_v1
from receiving import SHAPE, Harness, pixels, slow_writes, stored, wait_for_bytes


@pytest.mark.lesson(1)
def test_a_gap_is_told_while_the_series_runs(harness: Harness) -> None:
    harness.prepare(expected_frames=5)
    harness.sender.header()
    for number in (0, 1):
        harness.sender.image(number)
    harness.sender.skip()
    harness.sender.image(3)
    harness.wait_written(3)
    assert harness.counters[-1].frames_missing == 1
    harness.sender.number = 3  # its message was numbered before that of frame 3, and came behind it
    harness.sender.image(2)
    harness.sender.number = 5
    harness.sender.image(4)
    harness.sender.end()
    assert harness.receipt().verdict is Verdict.COMPLETE
    assert harness.counters[-1].frames_missing == 0


@pytest.mark.lesson(5)
def test_frames_that_come_before_the_header_are_turned_as_it_asks(harness: Harness) -> None:
    other = harness.add_sender()
    harness.prepare(
        sources=(harness.sender.endpoint, other.endpoint),
        stream_format=StreamFormat.DECTRIS_V1,
        naming=FileNaming.STREAM,
        expected_frames=4,
    )
    format = FrameFormat(SHAPE, "uint16", Encoding.NONE)

    def image(number: int) -> list[bytes]:
        blob = pixels(number).tobytes()
        return list(dectris_v1.encode_image(7, number, format, blob, start_ns=0, stop_ns=0, real_ns=0))  # type: ignore[arg-type]

    for number in (1, 3):
        other.send(image(number))
    wait_for_bytes(harness, 2 * pixels(0).nbytes)
    appendix = f'{{"filename": "{harness.folder}/turned.h5", "rotate": 1}}'
    detail, config = dectris_v1.HeaderDetail.BASIC, {"nimages": 4, "ntrigger": 1}
    harness.sender.send(dectris_v1.encode_header(7, detail=detail, config=config, appendix=appendix))
    for number in (0, 2):
        harness.sender.send(image(number))
    harness.sender.send(dectris_v1.encode_end(7))
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.COMPLETE
    assert np.array_equal(stored(receipt), [np.rot90(pixels(n)) for n in range(4)])


@pytest.mark.lesson(8)
@pytest.mark.parametrize("backend", [FileBackend.SWMR, FileBackend.DIRECT])
def test_a_file_that_could_not_be_closed_gets_nothing_of_the_next_series(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, backend: FileBackend
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(SeriesFile, "settle", lambda *_: {}["nothing"])
        harness.prepare(backend=backend)
        harness.sender.series(3)
        assert harness.receipt().verdict is Verdict.FAILED
    left = {path: path.read_bytes() for path in files(harness.folder)}
    assert left
    harness.prepare(backend=backend, destination=str(harness.folder / "b.h5"))
    harness.sender.header()
    for number in range(5):
        harness.sender.image(number)
    harness.sender.end()
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.COMPLETE
    assert np.array_equal(stored(receipt), [pixels(n) for n in range(5)])
    assert {path: path.read_bytes() for path in left} == left


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.lesson(24)
def test_a_collector_whose_sockets_are_silent_uses_no_processor_time(harness: Harness) -> None:
    other = harness.add_sender()
    harness.prepare(sources=(harness.sender.endpoint, other.endpoint))
    harness.sender.header()
    harness.sender.image(0)
    harness.wait_written(1)
    before = time.process_time()  # of this process, however busy the machine is
    threading.Event().wait(1.0)
    assert time.process_time() - before < 0.3
    harness.receiver.abort("enough")
    assert harness.receipt().frames_written == 1


@pytest.mark.lesson(28)
def test_what_is_told_does_not_wait_behind_the_frames(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_writes(monkeypatch, 0.05, range(60))
    harness.prepare()
    harness.sender.header()
    for number in range(60):
        harness.sender.image(number)
    harness.wait_written(2)
    harness.receiver.stop()
    harness.wait_state(AcquisitionState.DRAINING)
    assert harness.counters[-1].frames_written < 60
    harness.sender.end()
    assert harness.receipt().frames_written == 60


@pytest.mark.lesson(31)
@pytest.mark.parametrize("backend", [FileBackend.SWMR, FileBackend.DIRECT])
def test_a_frame_costs_no_housekeeping_of_hdf5(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, backend: FileBackend
) -> None:
    """Path look-ups, resizes and writes of metadata may be as many for 400 frames as for 100."""

    def looked_up(count: int, name: str) -> int:
        calls = []
        with monkeypatch.context() as patch:
            for kind, method in ((h5py.Group, "__getitem__"), (h5py.Dataset, "resize"), (h5py.Dataset, "__setitem__")):
                plain = getattr(kind, method)
                patch.setattr(kind, method, lambda *a, plain=plain, **k: (calls.append(1), plain(*a, **k))[1])
            harness.prepare(backend=backend, expected_frames=count, destination=str(harness.folder / name))
            harness.sender.series(count)
            receipt = harness.receipt()
        assert receipt.verdict is Verdict.COMPLETE
        return len(calls)

    few, many = looked_up(100, "few.h5"), looked_up(400, "many.h5")
    assert few > 0  # they are counted at all
    assert many - few < 100
