"""Runs a soak: one acquisition after the other until the time is over, each judged, everything counted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import msgspec

from maxdaq_tango.deployment.acquisition import wait_until_devices_are_on
from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.launcher import Deployment, deployed
from maxdaq_tango.errors import MaxdaqError
from maxdaq_tango.soak.acquisition import Acquisition
from maxdaq_tango.soak.happened import Happened
from maxdaq_tango.soak.judgement import judge
from maxdaq_tango.soak.processes import holding
from maxdaq_tango.soak.recipe import End, Recipe, draw
from maxdaq_tango.soak.results import Disagreement, SoakResult, Tally
from maxdaq_tango.soak.site import RECEIVER, Site, sentence, soak_topology
from maxdaq_tango.soak.trend import Samples

DIGITS = 2**31
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
    faults: str = "all"
    """As it was typed; for the command that repeats an acquisition."""
    allowed: frozenset[str]
    """Names of faults and ends."""


class Step(msgspec.Struct, frozen=True):
    """Told before each acquisition begins."""

    recipe: Recipe
    seconds: float
    """Since the first one began."""
    disagreements: int


class Conductor:
    """One soak. What it starts has ended when `run` returns; the files of acquisitions that agree are removed."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        interruption: Interruption,
        *,
        look: Callable[[Step], None] = lambda step: None,
        listener: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self._plan, self._folder, self._interruption = plan, folder, interruption
        self._look, self._listener = look, listener
        self._tally, self._samples = Tally(), Samples()
        self._kills = 0
        self._stuck = False
        """The devices do not become ready any more: nothing further can be taken."""
        self._deaths: list[str] = []
        self._seconds = 0.0
        self._restarts: dict[str, int] = {}

    def run(self) -> SoakResult:
        """All of it. LaunchError when the stack does not come up; Interrupted leaves what was found in `result`."""
        topology = soak_topology(self._folder.name, self._plan.seed % DIGITS)
        with deployed(topology, self._folder, interruption=self._interruption, listener=self._listener) as deployment:
            wait_until_devices_are_on(deployment, self._interruption)
            site = Site(deployment, self._interruption)
            try:
                self._soak(site)
            finally:
                self._count_deaths(deployment)
                site.close()
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
            folder=str(self._folder),
        )

    def _soak(self, site: Site) -> None:
        plan, began = self._plan, monotonic()
        number = plan.first
        while self._goes_on(number, monotonic() - began):
            recipe = draw(plan.seed, number, plan.allowed)
            self._look(Step(recipe, monotonic() - began, len(self._tally.disagreements)))
            self._take(site, recipe)
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

    def _take(self, site: Site, recipe: Recipe) -> None:
        folder = site.folder(recipe.number)
        happened = Happened()
        try:
            site.use(recipe.setup)
            happened = Acquisition(site, recipe, folder).perform()
            problems = judge(recipe, happened)
        except (MaxdaqError, OSError) as error:
            problems = [f"could not be carried out: {error}"]
        except Exception as error:  # Tango's DevFailed, which only some modules may name
            problems = [f"could not be carried out: {sentence(error)}"]
        self._kills += happened.killed and recipe.end is End.KILL_SERVER
        problems += self._settle(site)
        self._note(recipe, happened, problems, folder)
        if not problems:
            shutil.rmtree(folder)
        for name, pid in site.pids().items():
            if (held := holding(pid)) is not None:
                self._samples.add(name, pid, held)

    def _settle(self, site: Site) -> list[str]:
        """What keeps the devices from being ready for the next one."""
        try:
            return ["the detector was left armed with nobody who uses it"] if site.settle() else []
        except MaxdaqError as error:
            self._stuck = True
            return [str(error)]

    def _note(self, recipe: Recipe, happened: Happened, problems: list[str], folder: Path) -> None:
        plan, end = self._plan, recipe.end
        wrong = None
        if problems:
            wrong = Disagreement(
                number=recipe.number,
                again=f"maxdaq soak --seed {plan.seed} --first {recipe.number} --acquisitions 1 --faults {plan.faults}",
                recipe=recipe.describe(),
                problems=tuple(problems),
                folder=str(folder),
            )
            self._listener(f"acquisition {recipe.number}: {problems[0]}")
        verdict = happened.told.verdict
        name = "refused" if happened.refusal else verdict.value if verdict is not None else "unknown"
        made = happened.account.frames_made if happened.account is not None else 0
        ends = () if end is End.ITSELF else (end.value,)
        self._tally.add((*recipe.dishes, *ends), name, made, wrong)

    def _count_deaths(self, deployment: Deployment) -> None:
        self._restarts = {one.service.name: one.restarts for one in deployment.processes}
        for name, count in self._restarts.items():
            unasked = count - (self._kills if name.startswith(RECEIVER) else 0)
            if unasked > 0:
                self._deaths.append(f"{name} ended {unasked} times without being asked")

    def _tracebacks(self) -> dict[str, int]:
        logs = sorted(self._folder.glob("logs/*/*.log"))
        counts = {log.name: log.read_text(errors="replace").count("Traceback (most recent call last)") for log in logs}
        return {name: count for name, count in counts.items() if count}
