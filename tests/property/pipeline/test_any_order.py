"""Whatever happens to the messages of a series, the account is exact and no frame stands in a wrong row."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from maxdaq_tango.model import (
    Encoding,
    Fate,
    Frame,
    FrameFormat,
    RunRequest,
    SeriesEnd,
    SeriesStart,
    StreamFormat,
    Verdict,
)
from maxdaq_tango.pipeline.series_run import SeriesRun

FORMAT = FrameFormat((1, 1), "uint8", Encoding.NONE)


@dataclass
class Delivery:
    """What a network made of a series."""

    count: int
    arriving: list[int]
    """Frame numbers in the order of arrival; some lost, some twice."""
    strangers: int


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    count = draw(st.integers(1, 40))
    kept = draw(st.sets(st.integers(0, count - 1), min_size=0, max_size=count))
    copies = draw(st.lists(st.sampled_from(sorted(kept)), max_size=5)) if kept else []
    return Delivery(count, draw(st.permutations([*kept, *copies])), draw(st.integers(0, 3)))


def frame(series: str, number: int) -> Frame:
    return Frame(series=series, frame_number=number, format=FORMAT, blobs=(b"\0",))


def play(delivery: Delivery, first: int, *, known: bool, sockets: int = 2) -> tuple[SeriesRun, dict[int, int]]:
    request = RunRequest(
        sources=tuple(f"tcp://h:{n}" for n in range(sockets)),
        stream_format=StreamFormat.DECTRIS_V1,
        expected_frames=delivery.count if known else None,
        grace_s=1.0,
    )
    run = SeriesRun(request, 0.0)
    run.on_start(SeriesStart(series="1"), 0.0)
    rows: dict[int, int] = {}
    for index, number in enumerate(delivery.arriving):
        if index < delivery.strangers:
            assert run.on_frame(frame("0", number), 0.1) is None
        one = frame("1", first + number)
        row = run.on_frame(one, 0.1)
        if row is not None:
            assert row not in rows.values()
            rows[first + number] = row
            run.settle(row, one, Fate.WRITTEN)
    run.on_end(SeriesEnd(series="1"), 0.2)
    run.on_tick(2.0)
    assert run.is_over
    return run, rows


@settings(deadline=None)
@given(deliveries())
def test_counting_from_zero(delivery: Delivery) -> None:
    run, rows = play(delivery, 0, known=True)
    account, receipt = run.close()
    came = set(delivery.arriving)
    assert receipt.frames_missing == tuple(sorted(set(range(delivery.count)) - came))
    assert receipt.frames_received == receipt.frames_written == len(came)
    assert receipt.frames_duplicate == len(delivery.arriving) - len(came)
    assert (receipt.verdict is Verdict.COMPLETE) == (len(came) == delivery.count)
    assert all(row == number for number, row in rows.items())
    assert account.rotation == 0


@settings(deadline=None)
@given(deliveries(), st.integers(0, 10_000))
def test_a_complete_series_may_begin_at_any_number(delivery: Delivery, first: int) -> None:
    whole = Delivery(delivery.count, [*delivery.arriving, *range(delivery.count)], delivery.strangers)
    run, rows = play(whole, first, known=True)
    account, receipt = run.close()
    assert receipt.verdict is Verdict.COMPLETE
    assert account.first == first
    modulus = account.modulus
    assert modulus is not None
    assert {n: (row - account.rotation) % modulus for n, row in rows.items()} == {
        first + n: n for n in range(delivery.count)
    }


@settings(deadline=None)
@given(deliveries(), st.integers(0, 10_000))
def test_an_unannounced_series_keeps_the_distances_between_its_frames(delivery: Delivery, first: int) -> None:
    run, rows = play(delivery, first, known=False)
    account, receipt = run.close()
    if not rows:
        assert receipt.frames_received == 0
        return
    lowest = min(rows)
    assert account.first == lowest
    assert {n: row - account.rotation for n, row in rows.items()} == {n: n - lowest for n in rows}
    assert receipt.frames_missing_count == max(rows) - lowest + 1 - len(rows)
