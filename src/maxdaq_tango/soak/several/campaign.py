"""The soak of several detectors, as the conductor of soaks wants it."""

from __future__ import annotations

from pathlib import Path

from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.launcher import Deployment
from maxdaq_tango.deployment.simulated_site import SimulatedSite, why_not
from maxdaq_tango.deployment.topology import Topology
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.soak.campaign import Taken
from maxdaq_tango.soak.one_detector import DIGITS
from maxdaq_tango.soak.several.acquisition import SeveralAcquisition
from maxdaq_tango.soak.several.judgement import judge
from maxdaq_tango.soak.several.menu import dishes_of
from maxdaq_tango.soak.several.recipe import SeveralRecipe, draw
from maxdaq_tango.soak.several.site import SeveralSite, several_site
from maxdaq_tango.soak.site import sentence


class SeveralDetectors:
    """Fulfils `Campaign`."""

    def __init__(self, seed: int, families: tuple[str, ...], faults: str, allowed: frozenset[str]) -> None:
        """`faults` as they were typed, and the names of faults and tricks that they allow. ConfigurationError for a
        family that cannot be soaked."""
        for family in families:
            dishes_of(family)
        for family, reason in why_not(families).items():
            raise ConfigurationError(f"soak the family '{family}'", answer=reason)
        self._seed, self._families, self._allowed = seed, families, allowed
        self._simulated: SimulatedSite = several_site("soak", families, seed % DIGITS)
        self.again = f"--detectors {','.join(families)} --faults {faults}"
        self._site: SeveralSite | None = None

    def topology(self, name: str) -> Topology:
        """One simulator, streamer where there is one, detector and receiver for each family; one controller."""
        self._simulated = several_site(name, self._families, self._seed % DIGITS)
        return self._simulated.topology

    def begin(self, deployment: Deployment, interruption: Interruption) -> None:
        """Connect."""
        self._site = SeveralSite(deployment, interruption, self._simulated)

    @property
    def site(self) -> SeveralSite:
        """After `begin`."""
        assert self._site is not None
        return self._site

    def draw(self, number: int) -> SeveralRecipe:
        """See `recipe`."""
        return draw(self._seed, number, self._families, self._allowed)

    def folder(self, number: int) -> Path:
        """Under the folder of the deployment."""
        return self.site.folder(number)

    def take(self, number: int, folder: Path) -> Taken:
        """See `acquisition` and `judgement`."""
        recipe = self.draw(number)
        acquisition = SeveralAcquisition(self.site, recipe, folder)
        try:
            happened = acquisition.perform()
        except Exception as error:  # Tango's DevFailed too, which only some modules may name
            return Taken(problems=[f"could not be carried out: {sentence(error)}"], killed=acquisition.killed)
        accounts = [account for one in happened.detectors.values() for account in one.accounts]
        return Taken(
            problems=judge(recipe, happened),
            verdict="refused" if happened.refusal else happened.verdict or "unknown",
            frames=sum(account.frames_made for account in accounts),
            killed=happened.killed,
            notes=happened.notes,
        )

    def settle(self) -> list[str]:
        """Until every device is ON, and Arm works."""
        aborted = self.site.settle()
        return [f"{name} was left running with nobody who uses it" for name in aborted]

    def pids(self) -> dict[str, int]:
        """With the engines."""
        return self.site.pids()

    def slowest(self) -> dict[str, float]:
        """Commands of all clients."""
        return self._site.slowest() if self._site is not None else {}

    def end(self) -> None:
        """Let go of the simulators."""
        if self._site is not None:
            self._site.close()
