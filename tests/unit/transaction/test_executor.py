"""The transaction on real threads, with a detector and a receiver that a test can slow down, break and hang."""

from __future__ import annotations

import threading
import time

import pytest

from maxdaq_tango.errors import DetectorRefused, DetectorTimeout, EngineError, FileError, StateError
from maxdaq_tango.model import (
    AcquisitionSettings,
    AcquisitionState,
    Counters,
    Receipt,
    StreamDescription,
    StreamFormat,
    TriggerMode,
    Verdict,
)
from maxdaq_tango.model.hardware import ArmedSeries, DetectorReport, HardwareState
from maxdaq_tango.transaction.executor import Executor, Pair
from maxdaq_tango.transaction.ports import ReceiverView
from maxdaq_tango.transaction.words import Deadlines, PairPlan, ScanPlan

S = AcquisitionState


class FakeDetector:
    """Armed, it makes its frames when triggered and hands them to its receiver."""

    def __init__(self, receiver: FakeReceiver) -> None:
        self.name = "det/fake"
        self.receiver = receiver
        self.state = HardwareState.IDLE
        self.settings = AcquisitionSettings()
        self.calls: list[str] = []
        self.exposures_s: list[float | None] = []
        self.raises: dict[str, Exception] = {}
        self.holds: dict[str, threading.Event] = {}
        """Method > event that lets it go on."""

    def _enter(self, what: str) -> None:
        self.calls.append(what)
        if hold := self.holds.get(what):
            assert hold.wait(20)
        if error := self.raises.get(what):
            raise error

    def configure(self, settings: AcquisitionSettings) -> StreamDescription:
        self._enter("configure")
        self.settings = settings
        return StreamDescription(
            sources=("tcp://127.0.0.1:1",),
            stream_format=StreamFormat.STINS,
            frame_count=settings.frame_count,
            frame_period_s=settings.frame_period_s,
        )

    def arm(self) -> ArmedSeries:
        self._enter("arm")
        self.state = HardwareState.ARMED
        return ArmedSeries(series="1", frame_count=self.settings.frame_count)

    def trigger(self, exposure_time_s: float | None = None) -> None:
        self._enter("trigger")
        self.exposures_s.append(exposure_time_s)
        self.receiver.take(self.settings.frames_per_trigger)
        if self.receiver.received >= self.settings.frame_count:
            self.state = HardwareState.IDLE

    def stop(self) -> None:
        self._enter("stop")
        self.state = HardwareState.IDLE

    def abort(self) -> None:
        self._enter("abort")
        self.state = HardwareState.IDLE
        for name in ("arm", "trigger"):
            if name in self.holds:
                self.holds[name].set()

    def report(self) -> DetectorReport:
        self._enter("report")
        return DetectorReport(state=self.state, ready_for_trigger=self.state is HardwareState.ARMED)


class FakeReceiver:
    """Closes with a receipt when all expected frames are here, or when told to."""

    def __init__(self) -> None:
        self.name = "rec/fake"
        self.calls: list[str] = []
        self.raises: dict[str, Exception] = {}
        self.holds: dict[str, threading.Event] = {}
        self.state = S.IDLE
        self.received = 0
        self.wanted = 0
        self.run_id = ""
        self.receipt: Receipt | None = None
        self.holds: dict[str, threading.Event] = {}

    def _enter(self, what: str) -> None:
        self.calls.append(what)
        if hold := self.holds.get(what):
            assert hold.wait(20)
        if error := self.raises.get(what):
            raise error

    def _close(self, verdict: Verdict) -> None:
        self.receipt = Receipt(verdict=verdict, run_id=self.run_id, frames_received=self.received)
        self.state = S.IDLE

    def take(self, frames: int) -> None:
        self.received += frames
        self.state = S.ACQUIRING
        if self.received >= self.wanted:
            self._close(Verdict.COMPLETE)

    def check(self, places) -> None:
        self._enter("check")

    def link(self, master) -> None:
        self._enter("link")

    def prepare(self, request) -> None:
        self._enter("prepare")
        self.run_id, self.received, self.receipt, self.state = request.run_id, 0, None, S.ARMED
        self.wanted = request.expected_frames

    def expect(self, series: str | None, frames: int | None) -> None:
        self._enter("expect")

    def stop(self, finished: str = "") -> None:
        self._enter("stop")
        if self.state is not S.IDLE:
            self._close(Verdict.INCOMPLETE)

    def abort(self, reason: str) -> None:
        self._enter("abort")
        if self.state is not S.IDLE:
            self._close(Verdict.ABORTED)

    def poll(self) -> ReceiverView:
        self._enter("poll")
        counters = Counters(frames_received=self.received, frames_written=self.received)
        return ReceiverView(state=self.state, run_id=self.run_id, receipt=self.receipt, counters=counters)


class Bench:
    def __init__(self) -> None:
        self.receiver = FakeReceiver()
        self.detector = FakeDetector(self.receiver)
        deadlines = Deadlines(
            configure_s=0.5,
            check_s=0.5,
            link_s=0.5,
            prepare_s=0.5,
            arm_s=0.5,
            expect_s=0.5,
            trigger_margin_s=0.5,
            stop_s=0.5,
            abort_s=0.5,
            drain_s=0.2,
        )
        self.executor = Executor({"x": Pair(self.detector, self.receiver)}, deadlines=deadlines, idle_look_s=0.2)
        self.executor.start()

    def arm(self, mode: TriggerMode = TriggerMode.SOFTWARE, scan: ScanPlan | None = None, **settings) -> None:
        plan = PairPlan(settings=AcquisitionSettings(trigger_mode=mode, exposure_time_s=1e-3, **settings))
        self.executor.arm({"x": plan}, scan)


@pytest.fixture
def bench():
    threads = set(threading.enumerate())
    bench = Bench()
    yield bench
    for hold in (*bench.detector.holds.values(), *bench.receiver.holds.values()):
        hold.set()
    bench.executor.close()
    left = [thread for thread in set(threading.enumerate()) - threads if thread.is_alive()]
    assert left == []


def eventually(condition, timeout_s: float = 3.0) -> None:
    deadline = time.monotonic() + timeout_s
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        tick.wait(0.005)


def test_arm_trigger_and_finish(bench):
    bench.arm(frames_per_trigger=3, trigger_count=2)
    assert bench.executor.wait_armed(2)
    assert bench.executor.state is S.ARMED
    for _ in range(2):
        eventually(lambda: bench.executor.sight("x").ready_for_trigger)
        bench.executor.trigger()
    assert bench.executor.wait_idle(2)
    assert bench.executor.outcome.verdict is Verdict.COMPLETE
    assert bench.executor.progress() == (6, 6)
    assert [call for call in bench.receiver.calls if call != "poll"] == ["check", "prepare", "expect"]


def test_internal_runs_to_the_end_by_itself_and_twice(bench):
    for _ in range(2):
        bench.arm(TriggerMode.INTERNAL, frames_per_trigger=4)
        assert bench.executor.wait_armed(2)
        assert bench.executor.wait_idle(2)
        assert bench.executor.outcome.verdict is Verdict.COMPLETE


def test_a_refused_arm_raises_its_own_error_and_the_next_arm_works(bench):
    bench.detector.raises["arm"] = DetectorRefused("arm", of="http://dcu", answer="high voltage is off")
    bench.arm()
    with pytest.raises(DetectorRefused, match="high voltage is off"):
        bench.executor.wait_armed(2)
    assert bench.receiver.calls.count("abort") == 1
    assert bench.executor.state is S.IDLE
    del bench.detector.raises["arm"]
    bench.arm()
    assert bench.executor.wait_armed(2)


def test_a_bug_in_a_driver_is_an_error_of_that_step_and_not_a_hang(bench):
    bench.receiver.raises["prepare"] = ZeroDivisionError("oops")
    bench.arm()
    with pytest.raises(EngineError, match=r"prepare the receiver rec/fake.*ZeroDivisionError: oops"):
        bench.executor.wait_armed(2)


def test_a_bug_in_a_look_does_not_stop_the_looking(bench):
    bench.receiver.raises["poll"] = ZeroDivisionError("oops")
    eventually(lambda: (bench.executor.sight("x").view or ReceiverView()).reachable is False)
    del bench.receiver.raises["poll"]
    bench.arm(TriggerMode.INTERNAL)
    assert bench.executor.wait_idle(2)
    assert bench.executor.outcome.verdict is Verdict.COMPLETE


def test_an_arm_that_hangs_is_timed_out_aborted_and_undone_when_it_comes_back(bench):
    bench.detector.holds["arm"] = threading.Event()
    bench.detector.abort = lambda: bench.detector.calls.append("abort")  # an abort that does not free the arm
    bench.arm()
    with pytest.raises(DetectorTimeout, match=r"arm the detector det/fake.*no answer within 0\.5 s"):
        bench.executor.wait_armed(5)
    with pytest.raises(StateError, match="has not come back"):
        bench.arm()
    assert bench.detector.calls.count("abort") == 1
    bench.detector.holds.pop("arm").set()
    eventually(lambda: bench.detector.calls.count("abort") == 2)

    def arms() -> bool:
        try:
            bench.arm()
        except StateError:
            return False
        return bench.executor.wait_armed(2)

    eventually(arms)


HANGING = {
    "configure": ("detector", "configure the detector det/fake"),
    "prepare": ("receiver", "prepare the receiver rec/fake"),
    "expect": ("receiver", "tell the receiver what will come rec/fake"),
    "trigger": ("detector", "trigger the detector det/fake"),
    "stop": ("detector", "stop the detector det/fake"),
    "stop the receiver": ("receiver", "stop the receiver rec/fake"),
    "abort": ("detector", "abort the detector det/fake"),
    "abort the receiver": ("receiver", "abort the receiver rec/fake"),
}
"""Call that never answers > whose it is, and what the error says. Of `arm` see above."""


@pytest.mark.parametrize("what", HANGING)
def test_whatever_hangs_is_named_with_its_limit_and_the_next_arm_works_when_it_has_come_back(bench, what):
    side, words = HANGING[what]
    call = what.split()[0]
    hold = getattr(bench, side).holds[call] = threading.Event()
    bench.arm(frames_per_trigger=2)
    if call in ("configure", "prepare", "expect"):
        with pytest.raises((DetectorTimeout, EngineError), match=r"no answer within 0\.5 s") as failed:
            bench.executor.wait_armed(5)
        assert failed.value.asked.startswith(words)
    else:
        assert bench.executor.wait_armed(2)
        eventually(lambda: bench.executor.sight("x").ready_for_trigger)
        {"trigger": bench.executor.trigger, "stop": bench.executor.stop}.get(
            call, lambda: bench.executor.abort("enough")
        )()
    assert bench.executor.wait_idle(5)
    (error, *_) = bench.executor.outcome.errors
    assert error.asked.startswith(words)
    assert "no answer within" in error.answer
    del getattr(bench, side).holds[call]
    hold.set()

    def arms() -> bool:
        try:
            bench.arm(TriggerMode.INTERNAL, frames_per_trigger=2)
        except StateError as refused:
            if "has not come back yet" not in str(refused):
                raise
            return False
        return bench.executor.wait_armed(2)

    eventually(arms)
    assert bench.executor.wait_idle(3)
    assert bench.executor.outcome.verdict is Verdict.COMPLETE


def test_abort_frees_a_blocked_arm(bench):
    bench.detector.holds["arm"] = threading.Event()
    bench.arm()
    eventually(lambda: "arm" in bench.detector.calls)
    bench.executor.abort("enough")
    with pytest.raises(StateError, match="aborted before it was armed"):
        bench.executor.wait_armed(2)
    assert bench.detector.state is HardwareState.IDLE


def test_wait_armed_returns_while_the_hardware_is_still_busy(bench):
    bench.detector.holds["configure"] = threading.Event()
    bench.arm()
    began = time.monotonic()
    assert not bench.executor.wait_armed(0.1)
    assert time.monotonic() - began < 0.4
    assert bench.executor.state is S.CONFIGURING
    bench.detector.holds["configure"].set()
    assert bench.executor.wait_armed(2)


@pytest.mark.lesson(30)
def test_stop_gets_through_while_a_trigger_blocks(bench):
    bench.detector.holds["trigger"] = threading.Event()
    bench.arm(TriggerMode.INTERNAL, frames_per_trigger=100)
    assert bench.executor.wait_armed(2)
    eventually(lambda: "trigger" in bench.detector.calls)
    bench.executor.stop()
    eventually(lambda: "stop" in bench.detector.calls)
    bench.detector.raises["trigger"] = DetectorRefused("trigger", answer="stopped")
    bench.detector.holds["trigger"].set()
    assert bench.executor.wait_idle(3)
    assert bench.executor.outcome.verdict is Verdict.INCOMPLETE
    assert bench.executor.outcome.errors == ()


@pytest.mark.lesson(27)
def test_close_in_mid_run_aborts_and_joins_everything(bench):
    bench.arm()
    assert bench.executor.wait_armed(2)
    bench.executor.close()
    assert bench.detector.state is HardwareState.IDLE
    assert bench.receiver.receipt.verdict is Verdict.ABORTED
    bench.executor.close()  # twice is harmless


def test_a_refused_check_is_raised_and_the_detector_has_had_no_word(bench):
    bench.receiver.raises["check"] = FileError("write the file", answer="the file exists")
    bench.arm()
    with pytest.raises(FileError, match="check the files with the receiver rec/fake: write the file: the file exists"):
        bench.executor.wait_armed(2)
    assert set(bench.detector.calls) <= {"report"}
    bench.receiver.raises.clear()
    bench.arm()
    assert bench.executor.wait_armed(2)


@pytest.mark.parametrize("hangs", ["check", "link"])
def test_a_receiver_that_hangs_over_files_is_named_and_the_next_arm_works(bench, hangs):
    bench.receiver.holds[hangs] = hold = threading.Event()
    bench.arm(TriggerMode.INTERNAL, scan=ScanPlan(master="/data/scan.h5"))
    assert bench.executor.wait_idle(5)
    outcome = bench.executor.outcome
    assert "rec/fake: no answer within 0.5 s" in outcome.reasons[0]
    assert (outcome.armed, outcome.verdict) == (
        (False, Verdict.FAILED) if hangs == "check" else (True, Verdict.COMPLETE)
    )
    bench.receiver.holds.clear()
    bench.arm(TriggerMode.INTERNAL)
    assert bench.executor.wait_armed(2)
    hold.set()
    assert bench.executor.wait_idle(2)
    assert bench.executor.outcome.verdict is Verdict.COMPLETE


def test_each_trigger_brings_its_exposure_to_the_detector(bench):
    bench.arm(trigger_count=3, exposure_per_trigger=True)
    assert bench.executor.wait_armed(2)
    bench.executor.must_allow_exposures({"x": 5.0})
    for seconds in (0.02, 0.3, 0.01):
        eventually(lambda: bench.executor.sight("x").ready_for_trigger)
        bench.executor.trigger({"x": seconds})
    assert bench.executor.wait_idle(2)
    assert bench.detector.exposures_s == [0.02, 0.3, 0.01]
    assert bench.executor.outcome.verdict is Verdict.COMPLETE


def test_another_exposure_is_refused_in_a_series_that_has_one(bench):
    executor = bench.executor
    executor.must_allow_exposures({"x": 5.0})  # nothing is under way
    bench.arm(trigger_count=3)
    assert executor.wait_armed(2)
    executor.must_allow_exposures({"x": 1e-3})
    with pytest.raises(StateError, match=r"set ExposureTime to 5 s \(of x\): .* armed with 0.001 s"):
        executor.must_allow_exposures({"x": 5.0})
    executor.trigger({"x": 5.0})
    eventually(lambda: bench.detector.exposures_s)
    assert bench.detector.exposures_s == [None]
    executor.abort("over")
    assert executor.wait_idle(2)
    executor.must_allow_exposures({"x": 5.0})


def test_an_exposure_that_the_detector_refuses_ends_the_run_with_its_words(bench):
    bench.detector.raises["trigger"] = DetectorRefused("expose for 13 s", of="det/fake", accepted="less")
    bench.arm(trigger_count=3, exposure_per_trigger=True)
    assert bench.executor.wait_armed(2)
    bench.executor.trigger({"x": 13.0})
    assert bench.executor.wait_idle(5)
    assert bench.executor.outcome.verdict is not Verdict.COMPLETE
    assert "expose for 13 s" in bench.executor.outcome.reasons[0]
