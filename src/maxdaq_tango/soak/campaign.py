"""What a soak consists of: what is started, what one acquisition is, and how it is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec

from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.launcher import Deployment
from maxdaq_tango.deployment.topology import Topology


class Drawn(Protocol):
    """One acquisition before it is taken; it follows from seed and number alone."""

    @property
    def number(self) -> int:
        """From 0 in every soak."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """Its faults, and what else happens to it: the lines of the table in which it counts."""
        ...

    def describe(self) -> str:
        """One line for people."""
        ...


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """One acquisition afterwards."""

    problems: list[str]
    """Where not everybody says the same."""
    verdict: str = "unknown"
    """Or `refused`."""
    frames: int = 0
    """That senders made."""
    killed: tuple[str, ...] = ()
    """Processes that were ended on purpose, by name: the supervisor starts them again."""
    notes: tuple[str, ...] = ()
    """What happened beside, to be counted."""


class Campaign(Protocol):
    """One kind of soak. `begin` comes first, `end` last; all in one thread."""

    again: str
    """Options that make the same acquisitions, beside --seed, --first and --acquisitions."""

    def topology(self, name: str) -> Topology:
        """What is started."""
        ...

    def begin(self, deployment: Deployment, interruption: Interruption) -> None:
        """All devices are ON."""
        ...

    def draw(self, number: int) -> Drawn:
        """Acquisition `number`."""
        ...

    def folder(self, number: int) -> Path:
        """A new one, for its files."""
        ...

    def take(self, number: int, folder: Path) -> Taken:
        """Carry it out and judge it."""
        ...

    def settle(self) -> list[str]:
        """Bring every device to a state from which Arm works; what had to be done for it that should not have been.

        StateError when it cannot be done.
        """
        ...

    def pids(self) -> dict[str, int]:
        """Living processes by name."""
        ...

    def slowest(self) -> dict[str, float]:
        """The longest that each command took, s."""
        ...

    def end(self) -> None:
        """Let go of what `begin` took."""
        ...
