"""Whatever happens to a series, each of its frame numbers ends in exactly one state, and the states sum up."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maxdaq_tango.files import SeriesFile, check_file
from maxdaq_tango.model import (
    PLACES,
    Compression,
    Encoding,
    Fate,
    Frame,
    FrameFormat,
    Receipt,
    RunRequest,
    SeriesEnd,
    SeriesStart,
    StreamFormat,
    Verdict,
)
from maxdaq_tango.pipeline.series_run import SeriesRun
from maxdaq_tango.testing.strategies import PIXEL_TYPES
from maxdaq_tango.wire import stins
from receiving import SHAPE, Harness

FORMAT = FrameFormat((1, 1), PIXEL_TYPES[0], Encoding.NONE)
COUNT = 24
SETTLED = (Fate.WRITTEN, Fate.DISCARDED, Fate.CORRUPT, *(fate for fate in PLACES if fate is not Fate.LOST_SOCKET))


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    harness = Harness(tmp_path)
    yield harness
    harness.receiver.close()
    harness.context.destroy(0)


def sums_up(receipt: Receipt, expected: int) -> None:
    lost = sum(last - first + 1 for ranges in receipt.frames_lost_at.values() for first, last in ranges)
    late = sum(last - first + 1 for first, last in receipt.frames_late_ranges)
    assert (lost, late) == (receipt.frames_lost_count, receipt.frames_late)
    corrupt = len(receipt.frames_corrupt_numbers)
    assert receipt.frames_written + receipt.frames_discarded + receipt.frames_missing_count + corrupt + late + lost == (
        expected
    )
    assert receipt.frames_received == receipt.frames_written + receipt.frames_discarded + late + lost


@settings(deadline=None)
@given(
    arriving=st.lists(
        st.tuples(st.integers(0, COUNT + 3), st.sampled_from((*SETTLED, Fate.TAKEN))), max_size=3 * COUNT
    ),
    known=st.booleans(),
    first=st.sampled_from([0, 1, 5000]),
    taken=st.integers(0, 3 * COUNT),
    end=st.sampled_from(["end", "stop", "abort", "fail"]),
)
def test_the_states_of_a_run_sum_up_to_what_was_expected(
    arriving: list[tuple[int, Fate]], known: bool, first: int, taken: int, end: str
) -> None:
    """The first `taken` messages are taken; those behind had arrived when the run was over."""
    request = RunRequest(
        sources=("tcp://h:1",),
        stream_format=StreamFormat.DECTRIS_V1,
        expected_frames=COUNT if known else None,
        grace_s=1.0,
    )
    run = SeriesRun(request, 0.0)
    run.on_start(SeriesStart(series="1"), 0.0)
    for number, fate in arriving[:taken]:
        frame = Frame(series="1", frame_number=first + number, format=FORMAT, blobs=(b"\0",))
        row = run.on_frame(frame, 0.1)
        if row is not None:
            run.settle(row, frame, fate)
    if end == "end":
        run.on_end(SeriesEnd(series="1"), 0.2)
    elif end == "stop":
        run.stop(0.2)
    elif end == "abort":
        run.abort("enough")
    else:
        run.fail("no room")
    run.on_tick(9.0)
    for number, _ in arriving[taken:]:
        run.on_left_over(Frame(series="1", frame_number=first + number, format=FORMAT, blobs=(b"\0",)))
    account, receipt = run.close()
    assert account.count(Fate.TAKEN) == 0
    seen = run.ledger.newest - account.first + 1 if run.ledger.seen else 0
    sums_up(receipt, max(COUNT if known else 0, seen))
    if receipt.verdict is Verdict.COMPLETE:
        assert receipt.frames_written + receipt.frames_discarded == (account.expected or seen)
    assert len(account.fates) >= account.row_count
    told = receipt.frames_duplicate + receipt.frames_unexpected + run.ledger.seen
    assert told <= len(arriving)


@pytest.mark.lesson(1)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(
    numbers=st.lists(st.integers(0, COUNT - 1), max_size=2 * COUNT),
    odd=st.sets(st.integers(0, COUNT - 1), max_size=3),
    fails_at=st.none() | st.integers(0, COUNT - 1),
    end=st.sampled_from(["end", "stop", "abort"]),
    compression=st.sampled_from([Compression.NONE, Compression.BSLZ4]),
)
def test_the_states_of_a_receiver_sum_up_to_what_was_expected(
    harness: Harness,
    monkeypatch: pytest.MonkeyPatch,
    numbers: list[int],
    odd: set[int],
    fails_at: int | None,
    end: str,
    compression: Compression,
) -> None:
    """Frames lost, twice, of another shape and in any order; the disk fails, or somebody ends it in the middle."""
    write = SeriesFile.write

    def fail(file: SeriesFile, row: int, *rest: Any) -> int:
        if row == fails_at:
            raise OSError(28, "No space left on device")
        return write(file, row, *rest)

    sender = harness.add_sender()
    with tempfile.TemporaryDirectory(prefix="maxdaq-account-") as folder, monkeypatch.context() as patch:
        patch.setattr(SeriesFile, "write", fail)
        harness.prepare(
            sources=(sender.endpoint,),
            destination=str(Path(folder) / "a.h5"),
            roots=(folder,),
            expected_frames=COUNT,
            compression=compression,
        )
        sender.socket.sndtimeo = 500
        with contextlib.suppress(zmq.Again):  # a receiver that has failed takes no more
            sender.header()
            for number in numbers:
                if number in odd:
                    other = FrameFormat((3, 3), "uint8", Encoding.NONE)
                    frame = Frame(series="", frame_number=number, format=other, blobs=(b"\0" * 9,))
                    sender.send(stins.encode_image(sender._next(), frame))
                else:
                    sender.image(number)
            if end == "end":
                sender.end()
        if end == "stop":
            harness.receiver.stop()
        elif end == "abort":
            harness.receiver.abort("enough")
        receipt = harness.receipt()
        assert harness.receiver.join(10)
        sender.socket.close(0)
        sums_up(receipt, COUNT)
        if receipt.file and receipt.shape and receipt.file.endswith(".h5"):
            assert check_file(receipt.file).problems == []
            with h5py.File(receipt.file, "r") as file:
                fates = file["entry/instrument/eiger/daq/frame_fate"]
                assert b"1 = written" in fates.attrs["meanings"]
                assert int(np.count_nonzero(fates[...] == Fate.WRITTEN)) == receipt.frames_written
                assert file[receipt.dataset].shape[1:] in (SHAPE, (3, 3))
