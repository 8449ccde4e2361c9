"""What the transaction remembers of one detector + receiver pair during one run. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from msgspec import structs

from maxdaq_tango.errors import MaxdaqError
from maxdaq_tango.model import AcquisitionState, Counters, Receipt, RunRequest, StreamDescription, TriggerMode
from maxdaq_tango.model.hardware import ArmedSeries, DetectorReport, HardwareState
from maxdaq_tango.transaction.ports import Need
from maxdaq_tango.transaction.words import Deadlines, PairPlan, PlaceFields, Step


@dataclass
class PairRun:
    """One pair, from Begin to its receipt."""

    name: str
    plan: PairPlan
    issued: set[Step] = field(default_factory=set)
    """Told to do."""
    answered: set[Step] = field(default_factory=set)
    """Done."""
    description: StreamDescription | None = None
    series: ArmedSeries | None = None
    prepared_tick: int = 0
    armed_tick: int = 0
    report: DetectorReport | None = None
    """The newest look since arm; None right after a trigger, as the look before it is worth nothing."""
    counters: Counters = field(default_factory=Counters)
    receiver_state: AcquisitionState = AcquisitionState.IDLE
    receiver_message: str = ""
    started: bool = False
    triggers_sent: int = 0
    triggers_wanted: int = 0
    source_done_s: float | None = None
    receiver_done_s: float | None = None
    receiver_stopped_s: float | None = None
    receiver_aborted_s: float | None = None
    progress_s: float = 0.0
    """When the receiver's counters last moved."""
    looked_s: float = 0.0
    """The newest moment for which they tell: a receiver that is busy with a frame does not see what else has come."""
    source_lost_s: float | None = None
    receiver_lost_s: float | None = None
    receipt: Receipt | None = None
    warnings: tuple[str, ...] = ()
    need: Need | None = None
    broken: bool = False
    """Something failed: its receiver is closed as soon as its detector is quiet."""
    errors: list[MaxdaqError] = field(default_factory=list)

    @property
    def source_done(self) -> bool:
        """The detector will send nothing more."""
        return self.source_done_s is not None

    @property
    def receiver_done(self) -> bool:
        """The receiver has closed this run, or has been given up."""
        return self.receiver_done_s is not None

    @property
    def closed(self) -> bool:
        """Nothing is left to wait for."""
        return self.source_done and self.receiver_done

    @property
    def burst_s(self) -> float:
        """How long one trigger takes, as asked for."""
        settings = self.plan.settings
        frames = settings.frames_per_trigger
        if settings.trigger_mode is TriggerMode.INTERNAL:
            frames = settings.frame_count
        return frames * settings.frame_period_s

    def want_trigger(self, exposure_time_s: float | None) -> None:
        """One more. Where the exposure may change it does; None = as before. Deadlines and pauses follow it."""
        self.triggers_wanted += 1
        if exposure_time_s is not None and self.plan.settings.exposure_per_trigger:
            settings = structs.replace(self.plan.settings, exposure_time_s=exposure_time_s)
            self.plan = replace(self.plan, settings=settings)

    @property
    def ready_for_trigger(self) -> bool:
        """Armed for software triggers, one is left, none is running, and the hardware does not say otherwise."""
        settings = self.plan.settings
        return (
            settings.trigger_mode is TriggerMode.SOFTWARE
            and self.armed_tick > 0
            and not self.source_done
            and not self.receiver_done
            and self.triggers_wanted == self.triggers_sent < settings.trigger_count
            and not self.triggering
            and (self.report is None or self.report.ready_for_trigger or self.report.state is HardwareState.OFFLINE)
        )

    @property
    def triggering(self) -> bool:
        """A trigger has been sent and the hardware has not finished with it."""
        return Step.TRIGGER in self.issued

    @property
    def burst_arrived(self) -> bool:
        """All frames of the triggers so far are here, so that the answer to the last trigger is merely late."""
        return self.counters.frames_received >= self.triggers_sent * self.plan.settings.frames_per_trigger

    def deadline_s(self, step: Step, limits: Deadlines) -> float:
        """Longest wait for a step of this pair."""
        return {
            Step.CHECK: limits.check_s,
            Step.CONFIGURE: limits.configure_s,
            Step.PREPARE: limits.prepare_s,
            Step.ARM: limits.arm_s,
            Step.EXPECT: limits.expect_s,
            Step.TRIGGER: self.burst_s + limits.trigger_margin_s,
            Step.STOP_SOURCE: self.plan.settings.frame_period_s + limits.stop_s,
            Step.STOP_RECEIVER: limits.stop_s,
            Step.ABORT_SOURCE: limits.abort_s,
            Step.ABORT_RECEIVER: limits.abort_s,
            Step.LINK: limits.link_s,
        }[step]

    def places(self, scan_master: str = "") -> PlaceFields:
        """The files that its receiver shall check; `scan_master` where it is to write that as well."""
        written = self.plan.destination if self.plan.save_raw else ""
        return PlaceFields(
            destination=written,
            overwrite=self.plan.overwrite,
            frames=self.plan.settings.frame_count,
            frames_per_file=self.plan.frames_per_file,
            scan_master=scan_master,
        )

    def request(self, run_id: str) -> RunRequest:
        """What its receiver is prepared for. Roots, memory and waits are the receiver's own."""
        described = self.description
        if described is None:
            raise AssertionError(f"{self.name} has not been configured")
        return RunRequest(
            sources=described.sources,
            stream_format=described.stream_format,
            destination=self.plan.destination,
            overwrite=self.plan.overwrite,
            save_raw=self.plan.save_raw,
            orientation=self.plan.orientation,
            conversion=described.conversion,
            expected_frames=described.frame_count,
            frame_period_s=described.frame_period_s,
            triggered=self.plan.settings.trigger_mode is not TriggerMode.INTERNAL,
            frame_nbytes=described.frame_nbytes,
            expect_follows=True,
            frames_per_file=self.plan.frames_per_file,
            run_id=run_id,
            metadata=_with_settings(self.plan.metadata, described.metadata),
        )


def _with_settings(metadata: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """What the detector says of itself beside what the client gave, of which nothing is replaced."""
    name = "detector"
    while name in metadata:
        name += "_settings"
    return {**metadata, name: settings}
