"""What a controller knows of its detectors and receivers, and of its last acquisitions. Plain Python."""

from __future__ import annotations

from maxdaq_tango.model.hardware import HardwareState
from maxdaq_tango.transaction.executor import Executor, PairSight


class Sights:
    """Mixed into `DAQController`. Spectra are in the order of `enabled`."""

    enabled: tuple[str, ...]
    _acquired: tuple[str, int]
    """Run, and the highest count of it that was seen."""

    @property
    def _executor(self) -> Executor | None:
        raise NotImplementedError

    def _sight(self, name: str) -> PairSight | None:
        return self._executor.sight(name) if self._executor is not None else None

    def detector_state(self, name: str) -> str:
        """Hardware state of one detector."""
        sight = self._sight(name)
        return (
            sight.report.state.value if sight is not None and sight.report is not None else HardwareState.OFFLINE.value
        )

    def receiver_state(self, name: str) -> str:
        """State of one receiver."""
        sight = self._sight(name)
        if sight is None or sight.view is None or not sight.view.reachable:
            return "OFFLINE"
        return sight.view.state.value

    def counter(self, name: str, counter: str) -> int:
        """One counter of one receiver."""
        sight = self._sight(name)
        return int(getattr(sight.view.counters, counter)) if sight is not None and sight.view is not None else 0

    @property
    def frames_received(self) -> list[int]:
        """For each enabled detector, since Arm."""
        sights = [self._sight(name) for name in self.enabled]
        return [sight.frames_received if sight is not None else 0 for sight in sights]

    @property
    def frames_acquired(self) -> int:
        """Of the detector with fewest; what was received where a detector does not count. Never falls before Arm."""
        run_id = self._executor.run_id if self._executor is not None else ""
        counts = []
        for name in self.enabled:
            sight = self._sight(name)
            counted = sight.report.frames_acquired if sight is not None and sight.report is not None else None
            counts.append(counted if counted is not None else sight.frames_received if sight is not None else 0)
        # With its run: a look that was under way when Arm came must not count for the new one.
        of_run, before = self._acquired
        count = max(before, min(counts, default=0)) if of_run == run_id else min(counts, default=0)
        self._acquired = run_id, count
        return count

    @property
    def ready_for_trigger(self) -> bool:
        """Of all enabled detectors."""
        sights = [self._sight(name) for name in self.enabled]
        return bool(sights) and all(sight is not None and sight.ready_for_trigger for sight in sights)

    @property
    def progress(self) -> float:
        """Percent."""
        received, wanted = self._executor.progress() if self._executor is not None else (0, 0)
        return min(100.0, 100.0 * received / wanted) if wanted else 0.0

    @property
    def verdict(self) -> str:
        """Of the last acquisition."""
        outcome = self._executor.outcome if self._executor is not None else None
        return outcome.verdict.value if outcome is not None else ""

    @property
    def last_report(self) -> str:
        """JSON of the last acquisition."""
        outcome = self._executor.outcome if self._executor is not None else None
        return outcome.report if outcome is not None else ""

    @property
    def history(self) -> str:
        """JSON of the last acquisitions."""
        return f"[{','.join(one.brief for one in self._executor.history)}]" if self._executor is not None else "[]"
