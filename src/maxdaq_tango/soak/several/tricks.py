"""What somebody does to an acquisition of several detectors, and what must be refused to him."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import tango

from maxdaq_tango.soak.several.recipe import SeveralRecipe, Trick
from maxdaq_tango.soak.several.site import SeveralSite
from maxdaq_tango.soak.site import sentence

WAIT_S = 25.0
"""Longest that a command of a second client may take."""
PRECIOUS = b"precious"
UNDER_WAY = ("ARMED", "ACQUIRING")


class Tricks:
    """Those of one acquisition. Each is done once."""

    def __init__(self, site: SeveralSite, recipe: SeveralRecipe) -> None:
        self._site, self._recipe = site, recipe
        self._done = False
        self._calls: list[tuple[str, Future[object]]] = []
        self.complaints: list[str] = []
        """What should have been refused and was not, and the other way round."""
        self.killed: list[str] = []
        self.notes: list[str] = []
        self.too_late = False
        """The acquisition was over when a second client armed: the report is of the second one."""

    @property
    def is_quiet(self) -> bool:
        """Nothing has been done to this acquisition."""
        return self._recipe.trick in (Trick.NONE, Trick.EARLY_TRIGGER)

    def before_arm(self, path: Path) -> None:
        """A trigger that comes too early; a file that is there already."""
        if self._recipe.trick is Trick.EARLY_TRIGGER:
            self._refused("SoftwareTrigger before Arm", self._site.controller, "SoftwareTrigger")
        if self._recipe.trick in (Trick.EXISTING_FILE, Trick.OVERWRITE):
            path.write_bytes(PRECIOUS)

    def do(self) -> None:
        """Now. Commands that may take their time get a thread of their own."""
        if self._done:
            return
        self._done = True
        site, victim, second = self._site, self._site.members[self._recipe.victim], self._site.second_client
        match self._recipe.trick:
            case Trick.STOP | Trick.LIVE_VIEW:
                self._aside("Stop", lambda: site.timed(second, "Stop"))
            case Trick.ABORT:
                self._aside("Abort", lambda: site.timed(second, "Abort"))
            case Trick.ARM_TWICE:
                self._aside("second Arm", lambda: self._while_under_way(second, "Arm"))
            case Trick.SECOND_CLIENT:
                self._aside("second client", lambda: self._second_client(victim.detector))
            case Trick.INIT_DETECTOR:
                self._aside("Init", lambda: site.timed(victim.detector, "Init"))
            case Trick.INIT_RECEIVER:
                self._aside("Init", lambda: site.timed(victim.receiver, "Init"))
            case Trick.INIT_CONTROLLER:
                self._aside("Init", lambda: site.timed(second, "Init"))
            case Trick.KILL_ENGINE:
                victim.kill_engine()
            case Trick.KILL_RECEIVER:
                self.killed.append(site.kill(victim.receiver_server))
            case Trick.KILL_DETECTOR:
                self.killed.append(site.kill(victim.server))
            case Trick.KILL_CONTROLLER:
                self.killed.append(site.kill(site.controller_server))
            case Trick.KILL_STREAMER:
                self.killed.append(site.kill(victim.streamer))

    def wait(self) -> None:
        """Until every command has come back; one that has not is a complaint."""
        for name, call in self._calls:
            if not self._site.until(call.done, WAIT_S):
                self.complaints.append(f"{name} has not come back within {WAIT_S:g} s")
                continue
            error = call.exception(0.0)
            if error is not None:
                self.complaints.append(f"{name} failed: {sentence(error) if isinstance(error, Exception) else error}")
        if self._recipe.trick is Trick.KILL_CONTROLLER and self._done:
            self._take_over()

    def _aside(self, name: str, call: Callable[[], object]) -> None:
        self._calls.append((name, self._site.aside(call)))

    def _second_client(self, detector: Any) -> None:
        """Of everything that it tries nothing may succeed but the Stop."""
        self._while_under_way(self._site.second_client, "Reset")
        self._while_under_way(detector, "Arm")
        self._while_under_way(self._site.second_client, "Arm")
        self._site.timed(self._site.second_client, "Stop")

    def _while_under_way(self, proxy: Any, command: str) -> None:
        """Must be refused while an acquisition is under way, before and after."""
        run, before = self._where()
        try:
            self._site.timed(proxy, command)
        except tango.DevFailed as error:
            if "the file exists" in sentence(error):
                self.too_late = True
            self.notes.append(f"{command} of a second client: {'too late' if self.too_late else 'refused'}")
            return
        run_after, after = self._where()
        if before in UNDER_WAY and after in UNDER_WAY and run == run_after:
            self.complaints.append(f"{command} of a second client was not refused in {after}")
        self.too_late = self.too_late or command == "Arm"
        self.notes.append(f"{command} of a second client: taken")

    def _where(self) -> tuple[str, str]:
        proxy = self._site.second_client
        return proxy.LastReport, proxy.AcquisitionState

    def _refused(self, what: str, proxy: Any, command: str) -> None:
        try:
            proxy.command_inout(command)
        except tango.DevFailed:
            self.notes.append(f"{what}: refused")
            return
        self.complaints.append(f"{what} was not refused")

    def _take_over(self) -> None:
        """The controller is started again: as an operator would, end what its predecessor left behind."""
        controller = self._site.controller

        def answers() -> bool:
            with contextlib.suppress(tango.DevFailed):
                return bool(controller.state() not in (tango.DevState.INIT, tango.DevState.UNKNOWN))
            return False

        self._site.until(answers, 60.0)
        with contextlib.suppress(tango.DevFailed):  # settling will say what is wrong
            self._site.timed(controller, "Abort")


def is_precious(path: Path) -> bool:
    """The file that was there before, as it was."""
    return path.stat().st_size == len(PRECIOUS) and path.read_bytes() == PRECIOUS
