"""What a scan wants, how far it is, and what it needs of a device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.integrations.sardana.link import Look, Report, Settings
from maxdaq_tango.integrations.sardana.naming import Files


class Link(Protocol):
    """What is needed of a device; see `link.DaqLink`."""

    name: str

    def configure(self, settings: Settings) -> None:
        """Write the set-points."""

    def arm(self, wait_s: float) -> None:
        """Begin, and wait."""

    def wait_until_armed(self, wait_s: float) -> bool:
        """Go on waiting."""

    def trigger(self) -> None:
        """Give one software trigger."""

    def stop(self) -> None:
        """In order."""

    def abort(self) -> None:
        """At once."""

    def wait_until_idle(self, wait_s: float) -> bool:
        """Until the last file is closed."""

    def look(self, *, counts: bool = True, safe: bool = False) -> Look:
        """At one moment."""

    def trouble(self) -> str:
        """Why, in one line."""

    def report(self) -> Report:
        """Of the last series."""


@dataclass(frozen=True)
class Plan:
    """Of all starts of a scan; each has `repetitions` frames."""

    mode: str
    """SOFTWARE, EXTERNAL_MULTI or EXTERNAL_MULTI_GATE."""
    burst: bool
    """One trigger starts all repetitions; False: each repetition has its own."""
    exposure_s: float
    latency_s: float
    repetitions: int
    starts: int
    detectors: tuple[str, ...]
    references: bool
    files: Files
    arm_early: bool = False
    """Arm before motors go to where a hardware scan begins, and not when they are there."""


@dataclass(frozen=True)
class Progress:
    """What StateOne tells."""

    state: str
    """idle, moving or fault."""
    text: str


IDLE = Progress("idle", "Nothing is being acquired")


def for_images(plan: Plan, folder: str, name: str, number: int) -> Plan:
    """The plan with files that are only for reading images. ConfigurationError when there is no folder for them."""
    if not folder.startswith("/"):
        raise ConfigurationError(
            "read images through Sardana",
            of=name,
            answer=f"property ImageFolder is '{folder}'",
            accepted="an absolute path under the receiver's Roots that the Pool can read, or ValueRefEnabled",
        )
    return replace(plan, files=Files(folder, f"image-{name}-{{scan:06d}}_{{detector}}.h5", number))
