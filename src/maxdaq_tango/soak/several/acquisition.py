"""One acquisition of several detectors: set, arm, trigger, let it be disturbed, wait for the end, gather all."""

from __future__ import annotations

import contextlib
from concurrent.futures import Future
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import msgspec
import tango

from maxdaq_tango.client.report import Report, report_of
from maxdaq_tango.detectors.simulation.account import SeriesAccount
from maxdaq_tango.detectors.simulation.expected_outcome import numbers
from maxdaq_tango.errors import MaxdaqError, StateError
from maxdaq_tango.files import Recovered
from maxdaq_tango.model import Receipt, TriggerMode
from maxdaq_tango.soak.evidence import look_at, recovered
from maxdaq_tango.soak.menu import Group
from maxdaq_tango.soak.several.happened import OneHappened, SeveralHappened
from maxdaq_tango.soak.several.recipe import Moment, Part, SeveralRecipe, Trick
from maxdaq_tango.soak.several.site import Member, SeveralSite
from maxdaq_tango.soak.several.tricks import Tricks, is_precious
from maxdaq_tango.soak.several.truth import truth_of
from maxdaq_tango.soak.site import GOOD_HEALTH, sentence

SPARE_S = 75.0
"""On top of the length of a series: time-outs of the receivers, servers that are started again."""
ARM_S = 60.0
LATE_S = 30.0
"""For a call of an earlier run to come back, which Arm waits for in words."""
WITHOUT_TRIGGER_S = 8.0
"""A client that could not trigger for so long stops the run."""
LIVE_S = 1.5
ARMING_S = 0.6
"""Arm of three healthy detectors is over within about this."""
EDGE_EVERY_S = 0.1
SETTLED_S = 1.0
"""An account that nobody takes messages for any more does not change."""
OVER = (tango.DevState.ON, tango.DevState.ALARM, tango.DevState.FAULT)
PATTERN = "{detector}_{scan:06d}.h5"


class SeveralAcquisition:
    """One recipe, carried out on a site whose devices are all ON."""

    def __init__(self, site: SeveralSite, recipe: SeveralRecipe, folder: Path) -> None:
        self._site, self._recipe, self._folder = site, recipe, folder
        self._tricks = Tricks(site, recipe)
        self._refusal = self._hung = ""
        self._armed = self._stopped = self._broken = False
        self._triggers = self._edges = 0
        self._edge_at = self._ready_at = 0.0

    def perform(self) -> SeveralHappened:
        """From the settings to the evidence. Nothing that devices or simulators do is an error here."""
        site, recipe = self._site, self._recipe
        members = {part.family: site.members[part.family] for part in recipe.parts}
        self._set()
        before = {family: member.series() for family, member in members.items()}
        for part in recipe.parts:
            members[part.family].break_it(GOOD_HEALTH if part.has(Group.MID_RUN) else part.faults)
        last = self._report()
        self._tricks.before_arm(self._path(members[recipe.victim]))
        self._arm()
        if not self._refusal:
            self._run()
        self._tricks.wait()
        report = self._report()
        new = report is not None and (last is None or report.run_id != last.run_id)
        run_id = report.run_id if report is not None and new else ""
        return SeveralHappened(
            refusal=self._refusal,
            armed=self._armed,
            hung=self._hung,
            stopped=self._stopped,
            triggers_given=self._triggers,
            verdict=self._read("Verdict", ""),
            state=str(self._state()),
            report=report,
            report_is_new=new,
            detectors={
                part.family: self._one(part, members[part.family], before[part.family], run_id) for part in recipe.parts
            },
            too_late=self._tricks.too_late,
            complaints=tuple(self._tricks.complaints),
            killed=self.killed,
            notes=tuple(self._tricks.notes),
        )

    @property
    def killed(self) -> tuple[str, ...]:
        """Processes that were ended on purpose so far."""
        return tuple(self._tricks.killed)

    # ---- the run ----

    def _set(self) -> None:
        recipe, controller = self._recipe, self._site.controller
        common = next((part for part in recipe.parts if not part.overridden), recipe.parts[0])
        controller.EnabledDetectors = [self._site.members[part.family].device for part in recipe.parts]
        controller.TriggerMode = recipe.trigger_mode.value
        controller.nTriggers, controller.nFramesPerTrigger = recipe.triggers, common.frames_per_trigger
        controller.LatencyTime, controller.ExposureTime = 0.0, common.exposure_s
        overrides = ", ".join(
            f'"{part.family}": {{"ExposureTime": {part.exposure_s}, "nFramesPerTrigger": {part.frames_per_trigger}}}'
            for part in recipe.parts
            if part.overridden
        )
        controller.Overrides = "{" + overrides + "}"
        controller.DestinationFileOverwritable = recipe.trick is Trick.OVERWRITE
        controller.FilePattern, controller.ScanNumber = PATTERN, recipe.number
        controller.DestinationDirectory = "" if recipe.live else str(self._folder)

    def _path(self, member: Member) -> Path:
        return self._folder / PATTERN.format(detector=member.family, scan=self._recipe.number)

    def _arm(self) -> None:
        site, recipe, until = self._site, self._recipe, monotonic() + LATE_S
        command = "Live" if recipe.trick is Trick.LIVE_VIEW else "Arm"
        arming = recipe.moment is Moment.ARMING
        while True:
            began = monotonic()
            call = site.aside(lambda: site.timed(site.controller, command))

            def answered(call: Future[object] = call, began: float = began) -> bool:
                if arming and monotonic() - began >= recipe.at * ARMING_S:
                    self._tricks.do()
                return call.done()

            site.until(answered, ARM_S, 0.01)
            error = call.exception(0.0) if call.done() else StateError(command, answer=f"no answer in {ARM_S:g} s")
            if error is None:
                break
            self._refusal = sentence(error) if isinstance(error, Exception) else repr(error)
            if "has not come back yet" not in self._refusal or monotonic() > until:
                return
            self._tricks.notes.append("Arm waited for a call of an earlier run")
            self._refusal = ""
            site.until(lambda: False, 0.5)
        self._wait_armed(command)

    def _wait_armed(self, command: str) -> None:
        began = monotonic()

        def armed() -> bool:
            if self._recipe.moment is Moment.ARMING and monotonic() - began >= self._recipe.at * ARMING_S:
                self._tricks.do()
            return bool(self._read("AcquisitionState", "CONFIGURING") != "CONFIGURING")

        if not self._site.until(armed, ARM_S, 0.02):
            self._hung = f"{command}: {self._read('Status', 'no answer')}"
        report = self._report()
        over = self._state() in OVER
        self._armed = not over or (report is not None and report.armed)
        if over and report is not None and not report.armed:
            self._refusal = "; ".join(report.reasons)

    def _run(self) -> None:
        recipe, site, began = self._recipe, self._site, monotonic()
        self._ready_at = began
        seconds = LIVE_S if recipe.trick is Trick.LIVE_VIEW else recipe.seconds

        def over() -> bool:
            elapsed = monotonic() - began
            if elapsed >= recipe.at * seconds:
                self._break()
            if self._is_moment(elapsed, seconds):
                self._tricks.do()
            state = self._state()
            if state in OVER:
                return True
            if recipe.trigger_mode is TriggerMode.SOFTWARE:
                self._trigger()
            elif recipe.trigger_mode is TriggerMode.EXTERNAL_MULTI:
                self._edge()
            return False

        if not site.until(over, seconds + SPARE_S, 0.01):
            self._hung = f"the acquisition: {self._read('Status', 'no answer')}"
            with contextlib.suppress(tango.DevFailed):
                site.controller.Abort()
            site.until(lambda: self._state() in OVER, SPARE_S)
        if recipe.moment is Moment.ENDING:
            self._tricks.do()  # it was faster than we: then it is over

    def _is_moment(self, elapsed: float, seconds: float) -> bool:
        recipe = self._recipe
        if recipe.trick is Trick.LIVE_VIEW:
            return elapsed >= seconds
        if recipe.moment is Moment.ENDING:
            return self._read("AcquisitionState", "") in ("DRAINING", "FINALISING")
        return elapsed >= recipe.at * seconds

    def _break(self) -> None:
        """Faults that come in mid-run."""
        if self._broken:
            return
        self._broken = True
        for part in self._recipe.parts:
            if part.has(Group.MID_RUN):
                self._site.members[part.family].break_it(part.faults)

    def _trigger(self) -> None:
        controller, now = self._site.controller, monotonic()
        if self._triggers >= self._recipe.triggers or self._stopped:
            return
        if self._read("ReadyForSwTrigger", False):
            try:
                self._site.timed(controller, "SoftwareTrigger")
            except tango.DevFailed as error:
                self._tricks.notes.append("SoftwareTrigger: refused")
                if self._tricks.is_quiet and not any(part.dishes for part in self._recipe.parts):
                    self._tricks.complaints.append(f"SoftwareTrigger was refused: {sentence(error)}")
                return
            self._triggers, self._ready_at = self._triggers + 1, now
        elif now - self._ready_at > WITHOUT_TRIGGER_S + self._recipe.seconds:
            with contextlib.suppress(tango.DevFailed):  # its server is starting
                self._site.timed(controller, "Stop")
                self._stopped = True
                self._tricks.notes.append("the client stopped, as it could not trigger")

    def _edge(self) -> None:
        now = monotonic()
        if self._edges >= self._recipe.triggers or now - self._edge_at < EDGE_EVERY_S:
            return
        self._edges, self._edge_at = self._edges + 1, now
        for part in self._recipe.parts:
            self._site.members[part.family].edge()

    # ---- what can be known ----

    def _state(self) -> Any:
        try:
            return self._site.controller.state()
        except tango.DevFailed:
            return tango.DevState.UNKNOWN  # its server is starting

    def _read(self, name: str, otherwise: Any) -> Any:
        try:
            return self._site.controller.read_attribute(name).value
        except tango.DevFailed:
            return otherwise

    def _report(self) -> Report | None:
        text = self._read("LastReport", "")
        return report_of(text, self._site.controller_name) if text else None

    def _one(self, part: Part, member: Member, before: int, run_id: str) -> OneHappened:
        recipe = self._recipe
        accounts = self._accounts(member, before)
        saved: list[Recovered] = []
        if recipe.trick in (Trick.KILL_ENGINE, Trick.KILL_RECEIVER, Trick.INIT_RECEIVER) and not recipe.live:
            saved = self._recover()
        truth, looks = truth_of(recipe, part, accounts), Random(recipe.look_seed)
        mine = sorted(path for path in self._folder.iterdir() if path.name.startswith(f"{part.family}_"))
        path = self._path(member)
        found = [path] if path.exists() else [one for one in mine if one.suffix == ".h5"]
        found = [one for one in found if not is_precious(one)]
        told = self._receipt(member, run_id)
        partial = numbers(told.frames_partial_ranges) if told is not None else set()  # a module of them is blank
        untrue = truth.untrue | partial
        evidence = tuple(look_at(one, member.pixels, truth.stored, untrue, looks) for one in found)
        return OneHappened(
            device=member.device,
            file="" if recipe.live or recipe.trick is Trick.LIVE_VIEW else str(path),
            accounts=accounts,
            receipt_of_receiver=told,
            evidence=evidence,
            recovered=tuple(one for one in saved if Path(one.part).name.startswith(f"{part.family}_")),
            left=tuple(one.name for one in mine),
            precious=next((one.name for one in mine if is_precious(one)), ""),
        )

    def _receipt(self, member: Member, run_id: str) -> Receipt | None:
        try:
            text = member.receiver.LastReceipt
        except tango.DevFailed:
            return None
        told = msgspec.json.decode(text, type=Receipt) if text else None
        return told if told is not None and told.run_id == run_id else None

    def _accounts(self, member: Member, before: int) -> tuple[SeriesAccount, ...]:
        """Final where everything was taken; otherwise as they are once nobody takes anything any more."""
        newest = member.series()
        series = range(before + 1 if newest >= before else 1, newest + 1)
        seen, since = [self._look(member, series)], [monotonic()]

        def settled() -> bool:
            accounts = self._look(member, series)
            if accounts != seen[-1]:
                since[0] = monotonic()
            seen.append(accounts)
            whole = all(one.finished and one.messages_waiting == 0 for one in accounts)
            return whole or monotonic() - since[0] > SETTLED_S

        if not self._site.until(settled, SPARE_S):
            raise StateError("read the final account", of=f"the simulator {member.family}", answer=repr(seen[-1]))
        return seen[-1]

    @staticmethod
    def _look(member: Member, series: range) -> tuple[SeriesAccount, ...]:
        accounts = []
        for number in series:
            try:
                accounts.append(member.account(number))
            except MaxdaqError:
                continue  # it was refused before it began
        return tuple(accounts)

    def _recover(self) -> list[Recovered]:
        saved = [recovered(self._folder)]

        def free() -> bool:
            saved.append(recovered(self._folder))
            return not any(one.note.startswith("left alone") for one in saved[-1])

        if any(one.note.startswith("left alone") for one in saved[0]):
            self._site.until(free, 20.0, 0.5)
        return [one for turn in saved for one in turn if turn is saved[-1] or one.file]
