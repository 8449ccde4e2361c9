"""Runs a soak: one acquisition after the other until the time is over, each judged, everything counted."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import msgspec

from maxdaq_tango.deployment.acquisition import wait_until_devices_are_on
from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.launcher import Deployment, deployed
from maxdaq_tango.errors import MaxdaqError
from maxdaq_tango.soak.campaign import Campaign, Drawn, Taken
from maxdaq_tango.soak.processes import holding
from maxdaq_tango.soak.results import Disagreement, SoakResult, Tally
from maxdaq_tango.soak.site import sentence
from maxdaq_tango.soak.trend import Samples

MOST_DISAGREEMENTS = 50
"""After so many the soak ends: something is wrong throughout, and their files would fill the disk."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    seconds: float
    seed: int
    first: int = 0
    """Number of the first acquisition."""
    acquisitions: int = 0
    """0 = as many as there is time for."""


class Step(msgspec.Struct, frozen=True):
    """Told before each acquisition begins."""

    recipe: Drawn
    seconds: float
    """Since the first one began."""
    disagreements: int


class Conductor:
    """One soak. What it starts has ended when `run` returns; the files of acquisitions that agree are removed."""

    def __init__(
        self,
        plan: Plan,
        campaign: Campaign,
        folder: Path,
        interruption: Interruption,
        *,
        look: Callable[[Step], None] = lambda step: None,
        listener: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._plan, self._campaign, self._folder, self._interruption = plan, campaign, folder, interruption
        self._look, self._listener = look, listener
        self._tally, self._samples = Tally(), Samples()
        self._killed: Counter[str] = Counter()
        """Processes that were ended on purpose."""
        self._notes: Counter[str] = Counter()
        self._ready_s = 0.0
        """The longest that it took until every device was ready for the next acquisition."""
        self._stuck = False
        """The devices do not become ready any more: nothing further can be taken."""
        self._deaths: list[str] = []
        self._seconds = 0.0
        self._restarts: dict[str, int] = {}

    def run(self) -> SoakResult:
        """All of it. LaunchError when the stack does not come up; Interrupted leaves what was found in `result`."""
        campaign = self._campaign
        topology = campaign.topology(self._folder.name)
        with deployed(topology, self._folder, interruption=self._interruption, listener=self._listener) as deployment:
            wait_until_devices_are_on(deployment, self._interruption)
            campaign.begin(deployment, self._interruption)
            try:
                self._soak()
            finally:
                self._count_deaths(deployment)
                campaign.end()
        return self.result()

    def result(self) -> SoakResult:
        """What was found so far."""
        tally, trends = self._tally, self._samples.trends()
        grown = [problem for trend in trends for problem in trend.problems]
        return SoakResult(
            ok=not tally.disagreements and not self._deaths and not grown,
            seed=self._plan.seed,
            first=self._plan.first,
            acquisitions=tally.acquisitions,
            seconds=round(self._seconds, 1),
            frames=tally.frames,
            verdicts=dict(tally.verdicts),
            lines=tally.lines(),
            disagreements=tally.disagreements,
            trends=trends,
            deaths=self._deaths,
            restarts={name: count for name, count in self._restarts.items() if count},
            tracebacks=self._tracebacks(),
            notes=dict(sorted(self._notes.items())),
            ready_s=round(self._ready_s, 1),
            slowest={name: round(seconds, 2) for name, seconds in sorted(self._campaign.slowest().items())},
            folder=str(self._folder),
        )

    def _soak(self) -> None:
        plan, began = self._plan, monotonic()
        number = plan.first
        while self._goes_on(number, monotonic() - began):
            recipe = self._campaign.draw(number)
            self._look(Step(recipe, monotonic() - began, len(self._tally.disagreements)))
            self._take(recipe)
            self._seconds = monotonic() - began
            number += 1

    def _goes_on(self, number: int, seconds: float) -> bool:
        plan = self._plan
        enough = plan.acquisitions and number >= plan.first + plan.acquisitions
        return (
            not enough
            and not self._stuck
            and seconds < plan.seconds
            and len(self._tally.disagreements) < MOST_DISAGREEMENTS
        )

    def _take(self, recipe: Drawn) -> None:
        folder = self._campaign.folder(recipe.number)
        try:
            taken = self._campaign.take(recipe.number, folder)
        except (MaxdaqError, OSError) as error:
            taken = Taken(problems=[f"could not be carried out: {error}"])
        except Exception as error:  # Tango's DevFailed, which only some modules may name
            taken = Taken(problems=[f"could not be carried out: {sentence(error)}"])
        self._killed.update(taken.killed)
        self._notes.update(taken.notes)
        problems = taken.problems + self._settle()
        self._note(recipe, taken, problems, folder)
        if not problems:
            shutil.rmtree(folder)
        for name, pid in self._campaign.pids().items():
            if (held := holding(pid)) is not None:
                self._samples.add(name, pid, held)

    def _settle(self) -> list[str]:
        """What keeps the devices from being ready for the next one."""
        began = monotonic()
        try:
            return self._campaign.settle()
        except MaxdaqError as error:
            self._stuck = True
            return [str(error)]
        finally:
            self._ready_s = max(self._ready_s, monotonic() - began)

    def _note(self, recipe: Drawn, taken: Taken, problems: list[str], folder: Path) -> None:
        wrong = None
        if problems:
            options = f"--seed {self._plan.seed} --first {recipe.number} --acquisitions 1 {self._campaign.again}"
            wrong = Disagreement(
                number=recipe.number,
                again=f"maxdaq soak {options}",
                recipe=recipe.describe(),
                problems=tuple(problems),
                folder=str(folder),
            )
            self._listener(f"acquisition {recipe.number}: {problems[0]}")
        self._tally.add(recipe.labels, taken.verdict, taken.frames, wrong)

    def _count_deaths(self, deployment: Deployment) -> None:
        self._restarts = {one.service.name: one.restarts for one in deployment.processes}
        for name, count in self._restarts.items():
            unasked = count - self._killed[name]
            if unasked > 0:
                self._deaths.append(f"{name} ended {unasked} times without being asked")

    def _tracebacks(self) -> dict[str, int]:
        logs = sorted(self._folder.glob("logs/*/*.log"))
        counts = {log.name: log.read_text(errors="replace").count("Traceback (most recent call last)") for log in logs}
        return {name: count for name, count in counts.items() if count}
