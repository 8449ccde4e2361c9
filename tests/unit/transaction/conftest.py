"""A transaction with hardware made of words: the test decides what is answered, and when."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from maxdaq_tango.errors import DetectorRefused, MaxdaqError
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
from maxdaq_tango.transaction.phases import Phase
from maxdaq_tango.transaction.ports import Need, ReceiverView
from maxdaq_tango.transaction.sequence import Sequence
from maxdaq_tango.transaction.words import (
    Answered,
    Begin,
    Deadlines,
    Event,
    Failed,
    Instruction,
    PairPlan,
    ReceiverSeen,
    ScanPlan,
    SourceSeen,
    Step,
    TimedOut,
    TriggerAsked,
)

REFUSAL = DetectorRefused(
    "set count_time to 9000", of="http://dcu", answer="above the upper limit", accepted="0 to 1800"
)


class Stage:
    """One Sequence, everything it ever said, and a clock that moves by hand."""

    def __init__(self, names: tuple[str, ...], mode: TriggerMode, triggers: int = 2, master: str = "") -> None:
        sides = {name: (f"det/{name}", f"rec/{name}") for name in names}
        self.sequence = Sequence(sides, Deadlines(drain_s=2.0, settle_s=3.0, close_s=10.0, unreachable_s=20.0))
        self.names = names
        self.master = master
        self.settings = AcquisitionSettings(trigger_mode=mode, trigger_count=triggers, frames_per_trigger=5)
        self.now_s = 100.0
        self.told: list[Instruction] = []
        self.open: dict[int, Instruction] = {}

    def __call__(self, event: Event) -> list[Instruction]:
        told = self.sequence.handle(event, self.now_s)
        self.told += told
        self.open |= {call.number: call for call in told}
        return told

    def begin(self) -> list[Instruction]:
        plans = {name: PairPlan(settings=self.settings, destination=f"/data/{name}.h5") for name in self.names}
        scan = ScanPlan(number=7, master=self.master, metadata={"sample": "A1"}) if self.master else None
        return self(Begin("run-1", plans, scan))

    def call(self, step: Step, name: str = "a") -> Instruction:
        """The open call of that step."""
        return next(call for call in self.open.values() if (call.step, call.pair) == (step, name))

    def steps(self, name: str = "a") -> list[Step]:
        """Everything that pair was told."""
        return [call.step for call in self.told if call.pair == name]

    def answer(self, step: Step, name: str = "a") -> list[Instruction]:
        call = self.call(step, name)
        del self.open[call.number]
        value: StreamDescription | ArmedSeries | None = None
        if step is Step.CONFIGURE:
            frames = self.settings.frame_count
            value = StreamDescription(
                sources=("tcp://127.0.0.1:9999",),
                stream_format=StreamFormat.DECTRIS_V1,
                frame_count=frames,
                frame_period_s=self.settings.frame_period_s,
            )
        elif step is Step.ARM:
            value = ArmedSeries(series="17", frame_count=self.settings.frame_count)
        return self(Answered(call.number, value))

    def answer_all(self, step: Step) -> None:
        for name in self.names:
            self.answer(step, name)

    def fail(self, step: Step, name: str = "a", error: MaxdaqError = REFUSAL) -> list[Instruction]:
        call = self.call(step, name)
        del self.open[call.number]
        return self(Failed(call.number, error))

    def time_out(self, step: Step, name: str = "a") -> list[Instruction]:
        """The call stays open here: its answer may still come."""
        return self(TimedOut(self.call(step, name).number))

    def source(
        self, state: HardwareState, name: str = "a", ready: bool = False, message: str = ""
    ) -> list[Instruction]:
        report = DetectorReport(state=state, ready_for_trigger=ready, message=message)
        return self(SourceSeen(name, report, self.sequence.tick))

    def receiver(
        self,
        state: AcquisitionState,
        name: str = "a",
        *,
        received: int = 0,
        verdict: Verdict | None = None,
        run_id: str = "run-1",
        message: str = "",
        reachable: bool = True,
        updated_ns: int = 0,
        warnings: tuple[str, ...] = (),
        need: Need | None = None,
    ) -> list[Instruction]:
        receipt = None
        if verdict is not None:
            reasons = () if verdict is Verdict.COMPLETE else ("frame 3 never came",)
            receipt = Receipt(
                verdict=verdict,
                run_id=run_id,
                frames_received=received,
                reasons=reasons,
                file=f"/data/{name}.h5",
                dataset=f"/entry/instrument/{name}/data",
            )
        view = ReceiverView(
            state=state,
            run_id=run_id,
            receipt=receipt,
            message=message,
            reachable=reachable,
            warnings=warnings,
            need=need,
            counters=Counters(frames_received=received, frames_written=received, updated_ns=updated_ns),
        )
        return self(ReceiverSeen(name, view, self.sequence.tick))

    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    def to(self, phase: Phase) -> Stage:
        """Walk the straight way to a phase."""
        if phase is Phase.IDLE:
            return self
        self.begin()
        for step, reached in (
            (Step.CHECK, Phase.CHECK),
            (Step.CONFIGURE, Phase.CONFIGURE),
            (Step.PREPARE, Phase.PREPARE),
            (Step.ARM, Phase.ARM),
            (Step.EXPECT, Phase.EXPECT),
        ):
            if self.sequence.phase is phase:
                return self
            assert self.sequence.phase is reached
            self.answer_all(step)
        if phase is Phase.LINK:
            for name in self.names:
                self.finish(name)
        return self

    def finish(self, name: str = "a", verdict: Verdict = Verdict.COMPLETE) -> None:
        """The detector falls idle and the receiver closes."""
        self.source(HardwareState.IDLE, name)
        self.receiver(AcquisitionState.IDLE, name, received=10, verdict=verdict)

    def software_trigger(self) -> list[Instruction]:
        return self(TriggerAsked())


@pytest.fixture
def stage() -> Callable[..., Stage]:
    def build(*names: str, mode: TriggerMode = TriggerMode.SOFTWARE, triggers: int = 2, master: str = "") -> Stage:
        return Stage(names or ("a",), mode, triggers, master)

    return build
