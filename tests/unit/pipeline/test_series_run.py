"""Which message belongs, what is stored, when a series is over."""

from __future__ import annotations

import pytest

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
from maxdaq_tango.pipeline.phase import Phase
from maxdaq_tango.pipeline.series_run import END_MESSAGE_WAIT_S, SeriesRun

FORMAT = FrameFormat((2, 2), "uint16", Encoding.NONE)


def request(**changes: object) -> RunRequest:
    settings: dict[str, object] = {"sources": ("tcp://127.0.0.1:1",), "stream_format": StreamFormat.DECTRIS_V1}
    return RunRequest(**{**settings, **changes})  # type: ignore[arg-type]


def frame(number: int, series: str = "14", msg_number: int | None = None) -> Frame:
    return Frame(series=series, frame_number=number, format=FORMAT, blobs=(b"\0" * 8,), msg_number=msg_number)


def start(series: str = "14", **fields: object) -> SeriesStart:
    return SeriesStart(series=series, **fields)  # type: ignore[arg-type]


class Played:
    """A run with its clock, fed by hand."""

    def __init__(self, **changes: object) -> None:
        self.now = 100.0
        self.run = SeriesRun(request(**changes), self.now)

    def give(self, *events: object) -> Played:
        for event in events:
            self.now += 0.001
            if isinstance(event, SeriesStart):
                self.run.on_start(event, self.now)
            elif isinstance(event, SeriesEnd):
                self.run.on_end(event, self.now)
            elif isinstance(event, Frame):
                row = self.run.on_frame(event, self.now)
                if row is not None:
                    self.run.settle(row, event, Fate.DISCARDED if event.discard else Fate.WRITTEN)
        return self

    def wait(self, seconds: float) -> Played:
        self.now += seconds
        self.run.on_tick(self.now)
        return self


def frames(*numbers: int, series: str = "14") -> list[Frame]:
    return [frame(number, series) for number in numbers]


def test_a_whole_series_is_complete() -> None:
    played = Played(expected_frames=3).give(start(), *frames(0, 1, 2), SeriesEnd(series="14"))
    assert played.run.is_over
    _, receipt = played.run.close()
    assert receipt.verdict is Verdict.COMPLETE
    assert receipt.reasons == ()
    assert (receipt.frames_expected, receipt.frames_received, receipt.frames_written) == (3, 3, 3)


def test_the_header_tells_how_many_to_expect_unless_the_request_does() -> None:
    played = Played().give(start(frame_count=2), *frames(0, 1), SeriesEnd(series="14"))
    assert played.run.close()[1].verdict is Verdict.COMPLETE
    played = Played(expected_frames=2).give(start(frame_count=100_000), *frames(0, 1), SeriesEnd(series="14"))
    assert played.run.close()[1].verdict is Verdict.COMPLETE


def test_all_frames_without_an_end_message_are_complete_after_a_short_wait() -> None:
    played = Played(expected_frames=2).give(start(), *frames(0, 1))
    assert played.run.phase is Phase.ENDING
    played.wait(END_MESSAGE_WAIT_S + 0.01)
    assert played.run.is_over
    assert played.run.close()[1].verdict is Verdict.COMPLETE


@pytest.mark.lesson(4)
def test_an_end_message_that_overtakes_frames_does_not_close_the_series() -> None:
    played = Played(expected_frames=3).give(start(), *frames(0), SeriesEnd(series="14"))
    assert played.run.phase is Phase.ENDING
    played.give(*frames(2, 1))
    assert played.run.is_over
    assert played.run.close()[1].verdict is Verdict.COMPLETE


def test_after_the_grace_time_what_has_not_come_is_missing() -> None:
    played = Played(expected_frames=4, grace_s=2.0).give(start(), *frames(0, 3), SeriesEnd(series="14"))
    played.wait(1.9)
    assert not played.run.is_over
    played.wait(0.2)
    assert played.run.is_over
    _, receipt = played.run.close()
    assert receipt.verdict is Verdict.INCOMPLETE
    assert receipt.frames_missing == (1, 2)
    assert "2 of 4 frames never came" in receipt.reasons[0]


@pytest.mark.lesson(6)
def test_frames_of_another_series_are_counted_and_never_stored() -> None:
    played = Played(expected_frames=1).give(*frames(5, series="13"), start(), *frames(1, series="13"))
    assert played.run.ledger.seen == 0
    played.give(*frames(0), SeriesEnd(series="14"))
    _, receipt = played.run.close()
    assert receipt.verdict is Verdict.COMPLETE
    assert receipt.frames_out_of_series == 2


def test_the_end_of_another_series_ends_nothing() -> None:
    played = Played(expected_frames=1).give(start(), SeriesEnd(series="13"))
    assert played.run.phase is Phase.TAKING
    assert played.run.out_of_series == 1


def test_two_end_messages_and_two_headers_are_accepted() -> None:
    played = Played(expected_frames=2).give(start(), start(), *frames(0), SeriesEnd(series="14"))
    played.give(SeriesEnd(series="14"), *frames(1))
    _, receipt = played.run.close()
    assert (receipt.verdict, receipt.frames_out_of_series) == (Verdict.COMPLETE, 0)


def test_the_next_header_ends_a_series_whose_end_was_lost() -> None:
    played = Played(expected_frames=3).give(start(), *frames(0), start(series="15"), *frames(0, series="15"))
    assert played.run.is_over
    _, receipt = played.run.close()
    assert receipt.verdict is Verdict.INCOMPLETE
    assert receipt.frames_received == 1
    assert any("next header" in reason for reason in receipt.reasons)


def test_a_header_replaces_one_that_brought_no_frame() -> None:
    played = Played(expected_frames=1).give(start(series="13"), start(), *frames(0), SeriesEnd(series="14"))
    assert played.run.close()[1].series == "14"


@pytest.mark.lesson(6)
def test_only_the_armed_series_is_taken() -> None:
    played = Played(expected_frames=1, series="14").give(start(series="13"), *frames(0, series="13"))
    assert played.run.phase is Phase.WAITING
    played.give(start(), *frames(0), SeriesEnd(series="14"))
    assert played.run.close()[1].verdict is Verdict.COMPLETE


def test_expect_turns_away_a_left_over_header_that_came_first() -> None:
    played = Played(expected_frames=1).give(start(series="13"))
    played.run.expect("14", 1, played.now)
    assert played.run.phase is Phase.WAITING
    played.give(start(), *frames(0), SeriesEnd(series="14"))
    assert played.run.close()[1].verdict is Verdict.COMPLETE


def test_v2_series_may_be_named_by_either_identity() -> None:
    played = Played(stream_format=StreamFormat.DECTRIS_V2, series="7", expected_frames=1)
    played.give(start(series="01ULID", metadata={"series_id": 7}), *frames(0, series="01ULID"))
    assert played.run.ledger.seen == 1


def test_a_series_that_never_starts_fails_and_says_what_came_instead() -> None:
    played = Played(start_timeout_s=5.0, series="14").give(start(series="13"))
    played.wait(5.1)
    assert played.run.is_over
    _, receipt = played.run.close()
    assert receipt.verdict is Verdict.FAILED
    assert "no start message came within 5 s" in receipt.reasons[0]
    assert "tcp://127.0.0.1:1" in receipt.reasons[0]
    assert "13" in receipt.reasons[0]


def test_the_start_time_out_counts_from_expect() -> None:
    played = Played(start_timeout_s=5.0).wait(4.0)
    played.run.expect(None, 3, played.now)
    played.wait(4.0)
    assert not played.run.is_over
    played.wait(1.1)
    assert played.run.is_over


def test_the_time_that_others_take_to_arm_does_not_count_but_is_not_endless() -> None:
    played = Played(start_timeout_s=5.0, expect_follows=True).wait(200.0)
    assert not played.run.is_over
    played.run.expect(None, 3, played.now)
    played.wait(5.1)
    assert played.run.is_over
    forgotten = Played(start_timeout_s=5.0, expect_follows=True).wait(306.0)
    assert forgotten.run.is_over
    assert "no start message came within 305 s" in forgotten.run.close()[1].reasons[0]


def test_silence_in_the_middle_ends_the_series_with_what_came() -> None:
    played = Played(expected_frames=5, stall_timeout_s=3.0).give(start(), *frames(0, 1))
    played.wait(2.9)
    assert not played.run.is_over
    played.wait(0.2)
    _, receipt = played.run.close()
    assert receipt.verdict is Verdict.INCOMPLETE
    assert receipt.frames_missing == (2, 3, 4)
    assert any("silent for 3 s" in reason for reason in receipt.reasons)


def test_a_long_exposure_is_not_silence() -> None:
    played = Played(expected_frames=5, stall_timeout_s=3.0).give(start(frame_period_s=60.0), *frames(0))
    played.wait(100.0)
    assert not played.run.is_over
    played.wait(90.0)
    assert played.run.is_over


def test_stop_takes_what_still_comes_until_the_end_message() -> None:
    played = Played(expected_frames=100).give(start(), *frames(0, 1))
    played.run.stop(played.now)
    played.give(*frames(2))
    assert not played.run.is_over
    played.give(SeriesEnd(series="14"))
    played.wait(0.001)
    assert played.run.is_over
    account, receipt = played.run.close()
    assert receipt.verdict is Verdict.ABORTED
    assert receipt.frames_written == 3
    assert account.row_count == 3


def test_stop_without_an_end_message_waits_no_longer_than_the_grace_time() -> None:
    played = Played(expected_frames=100, grace_s=1.0).give(start(), *frames(0))
    played.run.stop(played.now)
    assert not played.wait(0.9).run.is_over
    assert played.wait(0.2).run.is_over


def test_the_grace_time_counts_from_the_last_frame_because_a_backlog_may_be_longer() -> None:
    played = Played(expected_frames=100, grace_s=1.0).give(start(), *frames(0), SeriesEnd(series="14"))
    for number in range(1, 10):
        played.wait(0.9).give(*frames(number))
        assert not played.run.is_over
    assert played.wait(1.1).run.is_over


def test_copies_do_not_keep_a_series_open() -> None:
    played = Played(expected_frames=100, grace_s=1.0).give(start(), *frames(0), SeriesEnd(series="14"))
    played.wait(0.9).give(*frames(0)).wait(0.2)
    assert played.run.is_over


def test_stop_before_the_first_message_is_over_at_once() -> None:
    played = Played()
    played.run.stop(played.now)
    assert played.run.is_over
    assert played.run.close()[1].verdict is Verdict.ABORTED


@pytest.mark.parametrize(("finished", "verdict"), [("", Verdict.ABORTED), ("it sends no more", Verdict.INCOMPLETE)])
def test_what_is_missing_is_aborted_only_when_somebody_asked_for_the_end(finished: str, verdict: Verdict) -> None:
    played = Played(expected_frames=100, grace_s=1.0).give(start(), *frames(0))
    played.run.stop(played.now, finished)
    played.wait(1.1)
    assert played.run.is_over
    _, receipt = played.run.close()
    assert receipt.verdict is verdict
    assert finished in receipt.reasons[-1]


def test_a_source_that_finished_without_a_start_message_is_a_failure_with_the_reason() -> None:
    played = Played(expected_frames=3)
    played.run.stop(played.now, "it sends no more")
    _, receipt = played.run.close()
    assert (receipt.verdict, receipt.reasons) == (Verdict.FAILED, ("no start message came: it sends no more",))


def test_a_source_that_finished_with_everything_sent_is_complete() -> None:
    played = Played(expected_frames=2, grace_s=1.0).give(start(), *frames(0))
    played.run.stop(played.now, "it sends no more")
    played.give(*frames(1)).wait(1.1)
    _, receipt = played.run.close()
    assert (receipt.verdict, receipt.reasons) == (Verdict.COMPLETE, ())


def test_stopping_an_endless_series_is_its_proper_end() -> None:
    played = Played().give(start(), *frames(0, 1, 2))
    played.run.stop(played.now)
    played.give(SeriesEnd(series="14")).wait(0.001)
    assert played.run.close()[1].verdict is Verdict.COMPLETE


@pytest.mark.parametrize("how", ["waiting", "taking", "ending"])
def test_abort_ends_everything_at_once(how: str) -> None:
    played = Played(expected_frames=3)
    if how != "waiting":
        played.give(start(), *frames(0))
    if how == "ending":
        played.give(SeriesEnd(series="14"))
    played.run.abort("the operator said so")
    assert played.run.is_over
    _, receipt = played.run.close()
    assert receipt.verdict is Verdict.ABORTED
    assert receipt.reasons[0] == "the operator said so"


def test_an_empty_series_that_was_announced_as_empty_is_complete_for_stins() -> None:
    played = Played(stream_format=StreamFormat.STINS)
    played.give(start(series="", msg_number=10), SeriesEnd(series="", msg_number=11))
    assert played.run.is_over
    assert played.run.close()[1].verdict is Verdict.COMPLETE


def test_stins_end_tells_how_many_frames_were_sent() -> None:
    played = Played(stream_format=StreamFormat.STINS)
    played.give(
        start(series="", msg_number=10), frame(0, "", 11), frame(2, "", 13), SeriesEnd(series="", msg_number=14)
    )
    played.wait(2.1)
    _, receipt = played.run.close()
    assert receipt.frames_expected == 3
    assert receipt.frames_missing == (1,)
    assert receipt.verdict is Verdict.INCOMPLETE


@pytest.mark.lesson(2)
def test_stins_left_overs_of_the_series_before_are_fenced_by_the_header() -> None:
    played = Played(stream_format=StreamFormat.STINS)
    played.give(start(series="", msg_number=20), frame(7, "", 18), SeriesEnd(series="", msg_number=19))
    assert played.run.phase is Phase.TAKING
    assert played.run.ledger.seen == 0
    assert played.run.out_of_series == 2


@pytest.mark.lesson(2)
def test_a_stins_sender_that_restarts_from_zero_ends_the_series() -> None:
    played = Played(stream_format=StreamFormat.STINS)
    played.give(start(series="", msg_number=20), frame(0, "", 21), start(series="", msg_number=0), frame(0, "", 1))
    assert played.run.is_over
    assert played.run.close()[1].frames_received == 1


def test_stins_series_may_be_numbered_from_any_number() -> None:
    played = Played(stream_format=StreamFormat.STINS)
    numbers = [frame(7 + k, "", 101 + k) for k in range(4)]
    played.give(start(series="", msg_number=100), *numbers, SeriesEnd(series="", msg_number=105))
    account, receipt = played.run.close()
    assert receipt.verdict is Verdict.COMPLETE
    assert account.first == 7


def test_stins_knows_that_the_first_frame_was_lost_even_when_numbered_from_one() -> None:
    played = Played(stream_format=StreamFormat.STINS)
    played.give(start(series="", msg_number=100), frame(2, "", 102), frame(3, "", 103))
    played.give(SeriesEnd(series="", msg_number=104)).wait(2.1)
    _, receipt = played.run.close()
    assert receipt.frames_missing == (1,)


def test_stins_without_msg_number_goes_by_arrival() -> None:
    played = Played(stream_format=StreamFormat.STINS, expected_frames=2)
    played.give(frame(9, ""), start(series=""), frame(0, ""), frame(1, ""), SeriesEnd(series=""))
    _, receipt = played.run.close()
    assert receipt.verdict is Verdict.COMPLETE
    assert receipt.frames_out_of_series == 1


def test_duplicates_corrupt_and_unexpected_frames_are_told_apart() -> None:
    played = Played(expected_frames=3, grace_s=0.5).give(start(), *frames(0, 0, 1))
    played.run.on_corrupt("part 1 is not JSON", played.now)
    row = played.run.on_frame(frame(2), played.now)
    assert row is not None
    played.run.settle(row, frame(2), Fate.CORRUPT, "frame 2: wrong size")
    played.give(SeriesEnd(series="14")).wait(1.0)
    _, receipt = played.run.close()
    assert receipt.verdict is Verdict.INCOMPLETE
    assert receipt.frames_duplicate == 1
    assert receipt.frames_corrupt == 2
    assert receipt.frames_corrupt_numbers == (2,)
    assert receipt.frames_missing == ()
    assert receipt.frames_received == 2


def test_discarded_frames_count_as_received_and_complete_the_series() -> None:
    played = Played(expected_frames=2)
    discarded = Frame(series="14", frame_number=0, format=FORMAT, blobs=(b"\0" * 8,), discard=True)
    played.give(start(), discarded, *frames(1), SeriesEnd(series="14"))
    _, receipt = played.run.close()
    assert receipt.verdict is Verdict.COMPLETE
    assert (receipt.frames_received, receipt.frames_written, receipt.frames_discarded) == (2, 1, 1)


def test_a_series_without_count_and_without_end_is_not_called_complete() -> None:
    played = Played(stall_timeout_s=1.0).give(start(), *frames(0, 1)).wait(1.5)
    assert played.run.close()[1].verdict is Verdict.INCOMPLETE


def test_a_missing_tail_is_kept_as_blank_rows_only_when_the_detector_ended_the_series_itself() -> None:
    played = Played(expected_frames=4, grace_s=0.1).give(start(), *frames(0, 1, 2), SeriesEnd(series="14")).wait(0.2)
    assert played.run.close()[0].row_count == 4
    played = Played(expected_frames=4, stall_timeout_s=0.1).give(start(), *frames(0, 1, 2)).wait(0.2)
    assert played.run.close()[0].row_count == 3


def test_a_receipt_of_a_hugely_short_series_stays_small() -> None:
    played = Played(expected_frames=2_000_000, grace_s=0.1).give(start(), *frames(0), SeriesEnd(series="14")).wait(0.2)
    account, receipt = played.run.close()
    assert len(receipt.frames_missing) == 100_000
    assert receipt.frames_missing_count == 1_999_999
    assert receipt.frames_missing_ranges == ((1, 1_999_999),)
    assert account.row_count == 1


def test_a_header_that_replaces_an_empty_series_brings_its_own_count() -> None:
    played = Played().give(start("14", frame_count=10), SeriesEnd(series="14"), start("15", frame_count=2))
    assert played.run.ledger.expected == 2
    assert not played.run.end_message_seen
    played.give(*frames(0, 1, series="15"), SeriesEnd(series="15"))
    assert played.run.close()[1].verdict is Verdict.COMPLETE
    played = Played(expected_frames=3).give(start("14", frame_count=10), start("15", frame_count=2))
    assert played.run.ledger.expected == 3  # what was asked for stays


def test_a_count_that_comes_after_the_last_frame_ends_the_series() -> None:
    played = Played().give(start(), *frames(0, 1, 2))
    played.run.expect(None, 3, played.now)
    assert played.wait(END_MESSAGE_WAIT_S + 0.01).run.is_over
    assert played.run.close()[1].verdict is Verdict.COMPLETE


def test_stragglers_that_still_come_are_waited_for() -> None:
    played = Played(expected_frames=9, grace_s=1.0).give(start(), *frames(0), SeriesEnd(series="14"))
    for number in range(1, 4):
        played.wait(0.9).give(*frames(number))
    assert played.run.phase is Phase.ENDING
    assert played.wait(1.1).run.is_over


def test_a_source_told_to_stop_gets_the_grace_time_and_no_more() -> None:
    played = Played(expected_frames=9, grace_s=1.0).give(start(), *frames(0))
    played.run.stop(played.now)
    played.wait(0.9).give(*frames(1))
    assert played.wait(0.2).run.is_over


def test_an_intact_copy_of_a_damaged_frame_is_counted_as_received() -> None:
    played = Played(expected_frames=2).give(start())
    row = played.run.on_frame(frame(0), played.now)
    assert row is not None
    played.run.settle(row, frame(0), Fate.CORRUPT, "torn")
    played.give(*frames(0, 1), SeriesEnd(series="14"))
    receipt = played.run.close()[1]
    assert (receipt.frames_received, receipt.frames_written, receipt.frames_corrupt) == (2, 2, 1)
    assert receipt.frames_corrupt_numbers == ()


def test_a_count_corrected_below_what_has_come_is_not_complete() -> None:
    played = Played().give(start(frame_count=4), *frames(0, 1, 2))
    played.run.expect(None, 2, played.now)
    played.give(SeriesEnd(series="14"))
    receipt = played.run.close()[1]
    assert receipt.verdict is Verdict.INCOMPLETE
    assert receipt.reasons == ("3 frames came, and 2 were expected in the end",)
    assert receipt.frames_written == 3


def test_what_had_arrived_when_a_run_is_cut_short_is_lost_at_the_socket() -> None:
    played = Played(expected_frames=5).give(start(), *frames(0))
    played.run.abort("enough")
    for left in (*frames(1, 0, 4), frame(9, "13"), SeriesEnd(series="14")):
        played.run.on_left_over(left)
    account, receipt = played.run.close()
    assert receipt.frames_lost_at == {"socket": ((1, 1), (4, 4))}
    assert (receipt.frames_lost, receipt.frames_missing, receipt.frames_out_of_series) == ((1, 4), (2, 3), 1)
    assert receipt.frames_duplicate_ranges == ((0, 0),)
    assert receipt.reasons == ("enough", "frames that had arrived were lost: 2 at the socket")
    assert account.row_count == 1


def test_a_run_cut_short_before_its_header_was_taken_knows_its_frames_all_the_same() -> None:
    played = Played(expected_frames=2)
    played.run.abort("enough")
    for left in (start(), *frames(0, 1)):
        played.run.on_left_over(left)
    _, receipt = played.run.close()
    assert (receipt.frames_lost, receipt.frames_missing_count, receipt.frames_out_of_series) == ((0, 1), 0, 0)


def test_frames_behind_the_end_are_late() -> None:
    played = Played(expected_frames=4, grace_s=0.1).give(start(), *frames(0, 1), SeriesEnd(series="14")).wait(0.2)
    for left in frames(3, 1, 7):
        played.run.on_left_over(left)
    account, receipt = played.run.close()
    assert (receipt.frames_late, receipt.frames_late_ranges, receipt.frames_missing) == (1, ((3, 3),), (2,))
    assert receipt.frames_unexpected_ranges == ((7, 7),)
    assert receipt.verdict is Verdict.INCOMPLETE
    assert "1 frames came after the series was over" in receipt.reasons
    assert account.row_count == 4


@pytest.mark.parametrize(("period_s", "due_s"), [(None, 1.0), (0.01, 1.0), (0.5, 2.5)])
def test_silence_is_reported_after_five_periods_and_ends_nothing(period_s: float | None, due_s: float) -> None:
    played = Played(frame_period_s=period_s)
    assert played.run.silent_s(played.now + 100) == 0.0  # it has not begun
    played.give(start(), *frames(0))
    began = played.now
    assert played.run.silent_s(began + due_s - 0.01) == 0.0
    assert played.run.silent_s(began + due_s) == pytest.approx(due_s)
    played.wait(50.0)
    assert played.run.phase is Phase.TAKING
    played.give(*frames(1))
    assert played.run.silent_s(played.now) == 0.0
    played.give(SeriesEnd(series="14"))
    assert played.run.silent_s(played.now + 100) == 0.0


def test_the_header_tells_the_period_where_the_request_does_not() -> None:
    played = Played().give(start(frame_period_s=2.0), *frames(0))
    assert played.run.silent_s(played.now + 9.9) == 0.0
    assert played.run.silent_s(played.now + 10.0) == 10.0


def modules_ended(frames: int = 2, **changes: object) -> Played:
    """Every connection has ended after two of four frames."""
    played = Played(expected_frames=4, grace_s=1.0, **changes)
    played.give(start(), *(frame(number) for number in range(frames)), SeriesEnd(series="14"))
    played.run.on_last_end()
    return played


def test_a_stop_that_is_told_after_the_end_of_every_connection_makes_an_aborted_run() -> None:
    played = modules_ended()
    assert not played.run.is_over
    played.run.stop(played.now)
    assert played.wait(0.0).run.is_over
    assert played.run.close()[1].verdict is Verdict.ABORTED


def test_an_early_end_of_every_connection_that_nobody_asked_for_is_incomplete_after_the_grace_time() -> None:
    played = modules_ended()
    assert not played.wait(0.9).run.is_over
    assert played.wait(0.2).run.is_over
    assert played.run.close()[1].verdict is Verdict.INCOMPLETE


def test_the_end_of_every_connection_with_all_frames_is_the_end() -> None:
    assert modules_ended(4).run.is_over
