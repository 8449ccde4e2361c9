"""The life of one series as the receiver sees it: which message belongs, what is stored, when it is over.

Pure: events and the clock come in as arguments, decisions go out. The thread around it is in `collector.py`.

    WAITING ──start message──> TAKING ──end message──> ENDING ──────────> OVER
       |                         |  └──all expected frames seen──^          ^
       |                         └──silence, next header, stop, abort───────|
       └──start time-out, stop, abort───────────────────────────────────────┘

- The end message never closes a series by itself: with several sockets it overtakes frames. ENDING lasts until every
  expected frame is accounted for and the end message is in, or the grace time is over.
- A message of another series, or from before the header, is counted as out of series and never stored.
- A new header ends the series it interrupts, even if that one's end message was lost.
"""

from __future__ import annotations

from maxdaq_tango.model import (
    PLACES,
    Fate,
    Frame,
    Receipt,
    RunRequest,
    SeriesEnd,
    SeriesStart,
    StreamFormat,
    Verdict,
    WireEvent,
)
from maxdaq_tango.pipeline.ledger import Account, Entry, Ledger
from maxdaq_tango.pipeline.numbering import Numbering
from maxdaq_tango.pipeline.phase import Phase
from maxdaq_tango.pipeline.verdicts import HowItEnded, counts_of, judge, loss_of

WRITTEN = Fate.WRITTEN
ARMING_S = 300.0
"""On top of the wait for the start message until Expect comes: whoever arms may have died meanwhile."""
END_MESSAGE_WAIT_S = 0.5
"""Longest wait for the end message once every expected frame is in; some senders never send one."""
LEAST_SILENCE_S = 1.0
SILENT_PERIODS = 5
"""Frame periods without a message, and at least LEAST_SILENCE_S, are worth a word."""
SOCKET_SLACK = 256
"""How many frames may overtake the first one when a stream is dealt over several sockets."""


class SeriesRun:
    """One run. Times are monotonic seconds; `on_tick` must be called at least at `deadline`."""

    def __init__(self, request: RunRequest, now: float, sockets: int = 0) -> None:
        """`sockets` bring it, in whatever order; 0 = one for each source."""
        self.request = request
        self.phase = Phase.WAITING
        self.start: SeriesStart | None = None
        self.ledger = Ledger(request.expected_frames)
        self.reasons: list[str] = []
        self.verdict: Verdict | None = None
        """Set early by abort or failure; otherwise the ledger decides when the run is over."""
        self.corrupt = self.out_of_series = 0
        self.end_message_seen = False
        self.corrupt_numbers: set[int] = set()
        self.doubtful: Frame | None = None
        """It contradicts the numbering of its series; it is taken after all if the rule ends, see `Numbering`."""
        self.lost = self.late = 0
        self._wanted = request.series
        self._asked_frames = request.expected_frames
        self._strangers: dict[str, int] = {}
        self._numbering = Numbering()
        self.interrupted = False
        """The header of another series ended it; it is counted as out of series."""
        self._in_order = (sockets or len(request.sources)) == 1
        self._slack = 0 if self._in_order else SOCKET_SLACK
        self._origin, self._expected = now, False
        self._started_at = self._last_frame_at = self._last_message_at = now
        self._ending_since: float | None = None
        self._stopping = self._nothing_follows = False
        self._finished = ""

    # -- what comes in -----------------------------------------------------------------------------------------------

    def expect(self, series: str | None, frames: int | None, now: float) -> None:
        """The detector has been armed and said what it will send."""
        self._expected = True
        if frames is not None:
            self._asked_frames = frames
            self.ledger.set_expected(frames)
            if self.ledger.seen and self.ledger.all_seen:
                self._begin_ending(now)
        if self.phase is Phase.WAITING:
            self._origin = now
        if series is None:
            return
        self._wanted = series
        if self.start is not None and not self._is_wanted(self.start) and self.ledger.seen == 0:
            self._turn_away(self.start.series)  # a left-over header came before the armed one
            self.start, self.phase = None, Phase.WAITING
            self._origin = now

    def on_start(self, start: SeriesStart, now: float) -> bool:
        """A header. True: it begins (or replaces the still empty) series of this run."""
        self._last_message_at = now
        if self.phase in (Phase.TAKING, Phase.ENDING) and self.start is not None:
            if start.repeats(self.start):
                return False
            if self.ledger.seen:
                self.end_early("the next header came before the end of this series", now)
                self.interrupted = True
                self.out_of_series += 1
                return False
        if self.phase is Phase.OVER or not self._is_wanted(start):
            self._turn_away(start.series)
            return False
        self.start, self.phase = start, Phase.TAKING
        self._numbering = Numbering(start.msg_number)
        self.end_message_seen = False
        self._started_at = self._last_frame_at = now
        self.ledger.set_expected(start.frame_count if self._asked_frames is None else self._asked_frames)
        return True

    def on_frame(self, frame: Frame, now: float) -> int | None:
        """A frame. Returns the row to store it in, or None when it is not to be stored (it is counted)."""
        self._last_message_at = now
        if not self._belongs(frame.series, frame.msg_number):
            self._turn_away(frame.series)
            return None
        msg_number, numbering = frame.msg_number, self._numbering
        if msg_number is not None and msg_number - frame.frame_number != numbering.offset:
            if not numbering.accepts(msg_number, frame.frame_number, self.ledger.newest):
                self.doubtful = frame
                return None
            if numbering.first is not None:
                self.ledger.hint_first(numbering.first)
        entry, row = self.ledger.enter(frame.frame_number, self._slack)
        if entry is not Entry.NEW:
            return None
        self._last_frame_at = now
        if self.ledger.all_seen:
            self._begin_ending(now)
        return row

    def on_end(self, end: SeriesEnd, now: float) -> None:
        """An end message; a second one is normal for some senders."""
        self._last_message_at = now
        if not self._belongs(end.series, end.msg_number):
            if self.phase is not Phase.OVER and not (end.series and self.start and end.series == self.start.series):
                self._turn_away(end.series)
            return
        self.end_message_seen = True
        if (
            self.ledger.expected is None
            and end.msg_number is not None
            and self.start is not None
            and self.start.msg_number is not None
        ):
            # STINS numbers every message, so the end tells how many frames were sent.
            self.ledger.expected = end.msg_number - self.start.msg_number - 1
        self._begin_ending(now)

    def on_last_end(self) -> None:
        """The end has come, or was waited for, of every connection, each of which keeps order: nothing can follow.
        Where frames are missing a Stop may have ended the source; that is told a moment later and decides the verdict.
        """
        self._nothing_follows = True
        if self.phase is Phase.ENDING and not self._ending_wait_s():
            self.phase = Phase.OVER

    def on_corrupt(self, reason: str, now: float) -> None:
        """A message that no decoder could make sense of."""
        self._last_message_at = now
        self.corrupt += 1
        if self.corrupt <= 10:
            self.reasons.append(f"corrupt message: {reason}")

    def take_doubtful(self) -> Frame | None:
        """The frame that contradicted the numbering, once it is known that the sender does not number like that."""
        if self.doubtful is None or not self._numbering.is_off:
            return None
        frame, self.doubtful = self.doubtful, None
        return frame

    @property
    def decisions(self) -> dict[str, str]:
        """What was decided about the stream, and why."""
        return {"numbering": self._numbering.decision} if self._numbering.decision else {}

    # -- what became of a frame --------------------------------------------------------------------------------------

    def settle(self, row: int, frame: Frame, fate: Fate, reason: str = "") -> None:
        """The sink is done with a frame that `on_frame` gave a row; or, with TAKEN, it has handed the frame on."""
        if fate is WRITTEN and not self.corrupt_numbers:  # nearly always
            self.ledger.settle(row, fate)
        else:
            self.settle_number(row, frame.frame_number, fate, reason)

    def settle_number(self, row: int, number: int, fate: Fate, reason: str = "") -> None:
        """The same for a frame that is gone already."""
        self.ledger.settle(row, fate)
        if fate is Fate.CORRUPT:
            self.corrupt += 1
            self.corrupt_numbers.add(number)
        elif self.corrupt_numbers:
            self.corrupt_numbers.discard(number)  # an intact copy came after it
        if fate in PLACES:
            self.lost += 1
        elif fate is Fate.LATE:
            self.late += 1
        if reason and len(self.reasons) < 20:
            self.reasons.append(reason)

    def on_left_over(self, event: WireEvent) -> None:
        """A message that had arrived when the run was over, and that nobody takes.

        Its frame is LATE; or lost at the socket where the run was cut short, as it would have been taken.
        """
        if isinstance(event, SeriesEnd) and self.start is not None and event.series == self.start.series:
            return
        if (
            isinstance(event, SeriesStart)
            and self.start is None
            and self.verdict is not None
            and self._is_wanted(event)
        ):
            self.start = event  # cut short before anything was taken: its frames are no strangers
            return
        if not isinstance(event, Frame) or not self._is_of_this_series(event.series, event.msg_number):
            self._turn_away(event.series)
            return
        entry, row = self.ledger.enter(event.frame_number, self._slack)
        if entry is Entry.NEW:
            fate = Fate.LATE if self.verdict is None else Fate.LOST_SOCKET
            self.settle_number(row, event.frame_number, fate)

    # -- how it ends -------------------------------------------------------------------------------------------------

    @property
    def deadline(self) -> float | None:
        """When `on_tick` matters next; None = only a message or a request can change anything."""
        moments: list[float] = []
        request = self.request
        if self.phase is Phase.WAITING and request.start_timeout_s > 0:
            arming_s = ARMING_S if request.expect_follows and not self._expected else 0.0
            moments.append(self._origin + request.start_timeout_s + arming_s)
        if self.phase is Phase.TAKING and self.stall_timeout_s > 0:
            moments.append(self._last_message_at + self.stall_timeout_s)
        if self.phase is Phase.ENDING and self._ending_since is not None:
            # Stragglers that still come are waited for; a source that was told to stop gets its time and no more.
            since = self._ending_since if self._stopping else max(self._ending_since, self._last_frame_at)
            moments.append(since + self._ending_wait_s())
        return min(moments, default=None)

    @property
    def stall_timeout_s(self) -> float:
        """Longest silence allowed: what the request says, but never less than three frame periods."""
        if self.request.stall_timeout_s <= 0:
            return 0.0
        return max(self.request.stall_timeout_s, 3 * self._period_s)

    def silent_s(self, now: float, busy_until: float = 0.0) -> float:
        """How long nothing has come inside the series, once that is longer than it should be; 0.0 before.

        Until `busy_until` nobody looked for messages.

        A report and no end: whether the source rests between two triggers or is gone, nobody can see from here.
        """
        silence = now - max(self._last_message_at, busy_until)
        due = self.phase is Phase.TAKING and silence >= max(LEAST_SILENCE_S, SILENT_PERIODS * self._period_s)
        return silence if due else 0.0

    @property
    def _period_s(self) -> float:
        period = self.request.frame_period_s
        if period is None and self.start is not None:
            period = self.start.frame_period_s
        return period or 0.0

    def on_tick(self, now: float) -> None:
        """Let time pass."""
        deadline = self.deadline
        if deadline is None or now < deadline:
            return
        if self.phase is Phase.WAITING:
            waited = f"no start message came within {deadline - self._origin:g} s"
            sources = ", ".join(self.request.sources)
            others = ", ".join(sorted(self._strangers)) or "nothing"
            self.reasons.append(f"{waited} from {sources} (series wanted: {self._wanted or 'any'}; came: {others})")
            self.phase = Phase.OVER
        elif self.phase is Phase.TAKING:
            self.end_early(f"the stream fell silent for {self.stall_timeout_s:g} s before its end", now)
        else:
            self.phase = Phase.OVER

    def stop(self, now: float, finished: str = "") -> None:
        """Take what still comes, for the grace time at most: the source has been told to stop, or, with the reason in
        `finished`, nobody asked for it and the source will send no more. Only the first makes an ABORTED run.
        """
        if not self._stopping:
            self._finished = finished
        self._stopping = True
        if self.phase is Phase.WAITING:
            self.reasons.append(
                f"no start message came: {finished}" if finished else "stopped before the start message"
            )
            self.phase = Phase.OVER
        elif self.phase is Phase.TAKING:
            self._begin_ending(now)

    def abort(self, reason: str) -> None:
        """Over at once."""
        if self.phase is not Phase.OVER:
            self.verdict = Verdict.ABORTED
            self.reasons.append(reason or "aborted")
            self.phase = Phase.OVER

    def end_early(self, reason: str, now: float) -> None:
        """Over at once with what has come, which makes it INCOMPLETE; another series may follow."""
        self.reasons.append(reason)
        self._stopping = False
        self._begin_ending(now)
        self.phase = Phase.OVER

    def fail(self, reason: str) -> None:
        """An error of ours ends the run."""
        self.verdict = Verdict.FAILED
        self.reasons.append(reason)
        self.phase = Phase.OVER

    @property
    def is_over(self) -> bool:
        """Nothing more will be taken."""
        return self.phase is Phase.OVER

    def close(self) -> tuple[Account, Receipt]:
        """The account, and a receipt with everything the series knows (the sink adds file, bytes and times)."""
        ended_by_itself = self.end_message_seen and not self._stopping and self.verdict is None
        # Frames that were never sent need no blank rows.
        keep_tail = ended_by_itself and (self.ledger.expected or 0) <= 2 * self.ledger.seen
        if self.doubtful is not None:
            self._turn_away("a STINS frame that is not numbered like its series")
            self.doubtful = None
        account = self.ledger.close(keep_tail=keep_tail)
        if loss := loss_of(account):
            self.reasons.append(loss)
        asked_to_stop = self._stopping and not self._finished
        how = HowItEnded(self.start is not None, self.end_message_seen, asked_to_stop, self._finished)
        verdict = self.verdict or judge(account, self.ledger, how, self.reasons)
        receipt = Receipt(
            verdict=verdict,
            reasons=tuple(self.reasons),
            run_id=self.request.run_id,
            series=self.start.series if self.start else "",
            stream_format=self.request.stream_format.value,
            sources=self.request.sources,
            frames_received=self.ledger.seen - len(self.corrupt_numbers),
            frames_corrupt=self.corrupt,
            frames_corrupt_numbers=tuple(sorted(self.corrupt_numbers)),
            frames_out_of_series=self.out_of_series,
            seconds=max(0.0, self._last_frame_at - self._started_at),
            end_message_seen=self.end_message_seen,
            **counts_of(account, self.ledger),
        )
        return account, receipt

    # -- inside ------------------------------------------------------------------------------------------------------

    def _is_wanted(self, start: SeriesStart) -> bool:
        if self._wanted is None or not start.series:
            return True  # STINS has no series id: the fence is the header itself
        return self._wanted in (start.series, str(start.metadata.get("series_id", "")))

    def _belongs(self, series: str, msg_number: int | None) -> bool:
        return self.phase in (Phase.TAKING, Phase.ENDING) and self._is_of_this_series(series, msg_number)

    def _is_of_this_series(self, series: str, msg_number: int | None) -> bool:
        if self.start is None:
            return False
        if self.request.stream_format is StreamFormat.STINS:
            fence = self.start.msg_number
            return msg_number is None or fence is None or msg_number > fence
        return series == self.start.series

    def _turn_away(self, series: str) -> None:
        self.out_of_series += 1
        name = series or "a STINS message before its header"
        if name in self._strangers or len(self._strangers) < 16:
            self._strangers[name] = self._strangers.get(name, 0) + 1

    def _begin_ending(self, now: float) -> None:
        if self.phase is Phase.TAKING:
            self.phase, self._ending_since = Phase.ENDING, now
        if self.ledger.all_seen and self.end_message_seen:
            self.phase = Phase.OVER

    def _ending_wait_s(self) -> float:
        if self._nothing_follows and (self._stopping or self.ledger.all_seen or self.ledger.expected is None):
            return 0.0
        if self.ledger.all_seen:
            return min(END_MESSAGE_WAIT_S, self.request.grace_s)
        if self._stopping and self.end_message_seen and self.ledger.gaps == 0 and self._in_order:
            return 0.0  # one socket keeps order: behind its end message nothing can follow
        return self.request.grace_s
