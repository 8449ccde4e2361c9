"""The soak of one simulated Eiger, whose receipt has to be what the account of the simulator says, number by number."""

from __future__ import annotations

from pathlib import Path

from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.launcher import Deployment
from maxdaq_tango.deployment.topology import Topology
from maxdaq_tango.soak.acquisition import Acquisition
from maxdaq_tango.soak.campaign import Taken
from maxdaq_tango.soak.judgement import judge
from maxdaq_tango.soak.recipe import Recipe, draw
from maxdaq_tango.soak.site import Site, soak_topology

DIGITS = 2**31


class OneDetector:
    """Fulfils `Campaign`."""

    def __init__(self, seed: int, faults: str, allowed: frozenset[str]) -> None:
        """`faults` as they were typed, and the names of faults and ends that they allow."""
        self._seed, self._allowed = seed, allowed
        self.again = f"--faults {faults}"
        self._site: Site | None = None

    def topology(self, name: str) -> Topology:
        """Database, simulator and three device servers."""
        return soak_topology(name, self._seed % DIGITS)

    def begin(self, deployment: Deployment, interruption: Interruption) -> None:
        """Connect."""
        self._site = Site(deployment, interruption)

    @property
    def site(self) -> Site:
        """After `begin`."""
        assert self._site is not None
        return self._site

    def draw(self, number: int) -> Recipe:
        """See `recipe`."""
        return draw(self._seed, number, self._allowed)

    def folder(self, number: int) -> Path:
        """Under the folder of the deployment."""
        return self.site.folder(number)

    def take(self, number: int, folder: Path) -> Taken:
        """See `acquisition` and `judgement`."""
        recipe = self.draw(number)
        self.site.use(recipe.setup)
        happened = Acquisition(self.site, recipe, folder).perform()
        verdict = happened.told.verdict
        return Taken(
            problems=judge(recipe, happened),
            verdict="refused" if happened.refusal else verdict.value if verdict is not None else "unknown",
            frames=happened.account.frames_made if happened.account is not None else 0,
            killed=(happened.killed_server,) if happened.killed_server else (),
        )

    def settle(self) -> list[str]:
        """Until every device is ON."""
        return ["the detector was left armed with nobody who uses it"] if self.site.settle() else []

    def pids(self) -> dict[str, int]:
        """With the engine."""
        return self.site.pids()

    def slowest(self) -> dict[str, float]:
        """Not measured."""
        return {}

    def end(self) -> None:
        """Let go of the simulator."""
        if self._site is not None:
            self._site.close()
