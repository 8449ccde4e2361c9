"""Each fault of the stream changes what it says and nothing else, and the account tells it."""

from __future__ import annotations

import json

import pytest

from maxdaq_tango.detectors.eiger.simulator_controls import PREFIX
from maxdaq_tango.detectors.simulation.pattern import expected_frame
from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.compression import decode_pixels
from maxdaq_tango.model import Frame, SeriesEnd, SeriesStart, StreamFormat
from maxdaq_tango.wire import decoder_for

FORMATS = {"legacy": StreamFormat.DECTRIS_V1, "cbor": StreamFormat.DECTRIS_V2}


def run(bench, stream_format: str, frames: int, **faults):
    bench.faults(**faults)
    bench.armed(stream_format, nimages=frames, count_time=0.004, frame_time=0.01)
    bench.command("trigger")
    bench.advance(10.0)
    return bench


def shown(event) -> str:
    return {SeriesStart: "start", SeriesEnd: "end"}.get(type(event)) or str(event.frame_number)


@pytest.mark.parametrize("stream_format", ["legacy", "cbor"])
class TestStream:
    def test_a_window_leaves_in_another_order_with_each_frame_its_own_pixels_and_time(self, bench, stream_format):
        events = run(bench, stream_format, 20, reorder_window=8, seed=3).events(stream_format)
        frames = [event for event in events if isinstance(event, Frame)]
        numbers = [frame.frame_number for frame in frames]
        assert sorted(numbers) == list(range(20)) != numbers
        times = {frame.frame_number: frame.start_time_s for frame in frames}
        for frame in frames:
            pixels = decode_pixels(frame.format, frame.blobs).reshape(64, 48)
            assert (pixels == expected_frame(1, frame.frame_number, (64, 48))).all()
        assert [times[n + 1] - times[n] for n in range(19)] == pytest.approx([0.01] * 19, abs=1e-6)
        assert bench.account(1)["intact"] == [[0, 19]]

    def test_a_window_with_gaps_reaches_as_far_back_as_it_must(self, bench, stream_format):
        events = run(bench, stream_format, 60, reorder_window=8, drop_fraction=0.7, seed=3).events(stream_format)
        numbers = {event.frame_number for event in events if isinstance(event, Frame)}
        assert 8 < len(numbers) < 40
        assert {n for first, last in bench.account(1)["intact"] for n in range(first, last + 1)} == numbers
        assert bench.state() == "idle"

    @pytest.mark.parametrize(
        ("faults", "told"),
        [
            ({"second_header_at": 1}, ["start", "0", "start", "1", "2", "end"]),
            ({"interleave_at": 1}, ["start", "0", "start", "1", "1", "2", "2", "end"]),
            ({"end_at": 1}, ["start", "0", "end", "1", "2", "end"]),
            ({"restart_at": 2}, ["start", "0", "1", "0", "end"]),
            ({"number_at": 1}, ["start", "0", str(1 << 40), "2", "end"]),
            ({"stop_after": 0}, ["start"]),
            ({"stop_after": 2}, ["start", "0", "1"]),
            ({"duplicate_fraction": 1.0}, ["start", "0", "0", "1", "1", "2", "2", "end"]),
        ],
    )
    def test_what_leaves_in_which_order(self, bench, stream_format, faults, told):
        events = run(bench, stream_format, 3, **faults).events(stream_format)
        assert [shown(event) for event in events] == told
        assert bench.state() == "idle"

    @pytest.mark.parametrize(
        "faults",
        [
            {"number_at": 1, "number_sent": -1},
            {"bomb_at": 1},
            {"wrong_size_frames": [1]},
        ],
    )
    def test_a_message_that_no_decoder_takes(self, bench, stream_format, faults):
        messages = run(bench, stream_format, 3, **faults).messages(stream_format)
        decoder = decoder_for(FORMATS[stream_format])
        assert len(messages) == 5
        for at, parts in enumerate(messages):
            if at == 2:
                with pytest.raises(WireError):
                    decoder.decode(parts)
            else:
                decoder.decode(parts)

    def test_another_type_and_another_shape_in_mid_series(self, bench, stream_format):
        events = run(bench, stream_format, 3, dtype_at=1).events(stream_format)
        assert [e.format.dtype for e in events[1:-1]] == ["uint16", "uint32", "uint32"]
        bench.faults(shape_at=2)
        bench.command("arm")
        bench.command("trigger")
        bench.advance(1.0)
        assert [e.format.shape for e in bench.events(stream_format)[1:-1]] == [(64, 48), (64, 48), (32, 48)]
        assert bench.account(2)["damaged"] == [[2, 2]]

    def test_a_file_name_that_leads_out_of_the_root_is_in_the_header(self, bench, stream_format):
        start = run(bench, stream_format, 1, filename="../../etc/passwd.h5").events(stream_format)[0]
        assert start.filename == "../../etc/passwd.h5"

    def test_the_account_tells_what_was_dropped_and_whether_header_and_end_left(self, bench, stream_format):
        run(bench, stream_format, 6, drop_frames=[1], wrong_series_frames=[3], truncate_frames=[4], missing_end=True)
        assert bench.account(1)["messages_waiting"] == 6
        bench.messages(stream_format)
        account = bench.account(1)
        assert account["intact"] == [[0, 0], [2, 2], [5, 5]]
        assert (account["dropped"], account["damaged"]) == ([[1, 1], [3, 3]], [[4, 4]])
        assert (account["foreign"], account["headers"], account["ends"]) == ([[3, 3]], 1, 0)
        assert (account["frames_made"], account["finished"], account["messages_waiting"]) == (6, True, 0)


def test_frames_that_abort_throws_away_are_told_as_dropped(bench):
    bench.armed("legacy", nimages=10, count_time=0.004, frame_time=0.01)
    bench.command("trigger")
    bench.advance(0.055)
    bench.command("abort")
    bench.messages()
    account = bench.account(1)
    assert account["frames_made"] == 6  # exposures end at 4, 14 ... 54 ms
    assert account["dropped"] == [[0, 5]]
    assert (account["headers"], account["ends"], account["messages_waiting"]) == (1, 1, 0)


def test_frames_that_a_full_queue_drops_are_told_as_dropped(make_bench):
    bench = make_bench(queue_bytes=10_000)
    bench.initialised()
    bench.put("compression", "none")
    bench.put("mode", "enabled", "stream")
    for key, value in {"nimages": 5, "count_time": 0.004, "frame_time": 0.01}.items():
        bench.put(key, value)
    bench.command("arm")
    bench.command("trigger")
    bench.advance(1.0)
    bench.messages()
    account = bench.account(1)
    assert account["messages_waiting"] == 0
    assert account["intact"][0][0] == 0
    assert account["dropped"][-1][1] == 4


@pytest.mark.parametrize("query", [{"series": "7"}, {"series": "x"}, {}])
def test_an_account_that_there_is_not_is_refused(bench, query):
    reply = bench.ask("GET", PREFIX + "account", **query).reply
    assert reply.status == 400
    assert "account of series" in reply.body.decode()


def test_without_a_number_it_is_the_account_of_the_newest_series(bench):
    run(bench, "legacy", 2)
    reply = bench.ask("GET", PREFIX + "account").reply
    assert json.loads(reply.body)["series"] == 1
