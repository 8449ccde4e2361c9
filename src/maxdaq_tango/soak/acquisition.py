"""One acquisition of a soak: set, arm, trigger, let the fault come, wait for the end, and gather what can be known."""

from __future__ import annotations

from pathlib import Path
from random import Random
from time import monotonic

import msgspec
import tango

from maxdaq_tango.client.report import report_of
from maxdaq_tango.detectors.simulation.account import SeriesAccount
from maxdaq_tango.detectors.simulation.expected_outcome import expect_outcome
from maxdaq_tango.errors import StateError
from maxdaq_tango.files import Recovered
from maxdaq_tango.model import Receipt, TriggerMode
from maxdaq_tango.soak.evidence import FileEvidence, look_at, recovered
from maxdaq_tango.soak.happened import COUNTERS, Happened, Told
from maxdaq_tango.soak.menu import Group
from maxdaq_tango.soak.recipe import End, Recipe
from maxdaq_tango.soak.site import GOOD_HEALTH, RECEIVER_PROPERTIES, Site, sentence

SPARE_S = 60.0
"""On top of the length of a series: slow computers, time-outs of the receiver, a server that is started again."""
ARMED_S = 15.0
STABLE_S = 1.0
"""An account that nobody takes messages for any more does not change; a thief leaves half a second after the end."""
SAFE_S = 2.5
"""What was written this long before a kill must be on the disk: a checkpoint is at most a second old, and this machine
may be busy with other work."""
OWNER_S = 20.0
"""For an engine whose device server was killed to finish its file."""
KILLS = (End.KILL_ENGINE, End.KILL_SERVER)


class Acquisition:
    """One recipe, carried out on a site whose devices are all ON."""

    def __init__(self, site: Site, recipe: Recipe, folder: Path) -> None:
        self._site, self._recipe, self._folder = site, recipe, folder
        self._mid_run = recipe.has(Group.MID_RUN)
        self._refusal = self._hung = self._killed_server = ""
        self._triggers_given = 0
        self._done = self._killed = False
        """The end, or the fault in mid-run, that the recipe asks for has come."""
        self._written: list[tuple[float, int]] = []
        self._killed_at = 0.0

    def perform(self) -> Happened:
        """From the settings to the evidence. Nothing that the devices or the stream do is an error here."""
        site, recipe = self._site, self._recipe
        self._set()
        site.faults(GOOD_HEALTH if self._mid_run else recipe.parsed)
        self._arm()
        if not self._refusal:
            self._run()
        told = self._ask()
        if self._refusal:
            return Happened(refusal=self._refusal, told=told, left=self._names(), strays=self._strays())
        account = self._account()
        outcome = expect_outcome(
            recipe.parsed,
            account,
            recipe.frames,
            encoding=recipe.encoding,
            series_known=True,
            grace_s=RECEIVER_PROPERTIES["Grace"],
            stopped=recipe.end is End.STOP,
        )
        saved = self._recover() if recipe.end in KILLS else ()
        looks = Random(recipe.look_seed)
        files = tuple(
            look_at(path, site.pixels, outcome.stored, outcome.wrong, looks) for path in self._files(saved != ())
        )
        return Happened(
            hung=self._hung,
            killed=self._killed,
            killed_server=self._killed_server,
            written_before_kill=self._safe(),
            told=told,
            account=account,
            outcome=outcome,
            files=_without_parts_of_masters(files),
            recovered=saved,
            left=self._names(),
            strays=self._strays(),
        )

    # ---- the run ----

    def _set(self) -> None:
        recipe, controller = self._recipe, self._site.controller
        if self._site.detector.Compression != recipe.compression:
            self._site.detector.Compression = recipe.compression
        controller.TriggerMode = recipe.trigger_mode.value
        controller.nTriggers, controller.nFramesPerTrigger = recipe.triggers, recipe.frames_per_trigger
        controller.LatencyTime, controller.ExposureTime = 0.0, 1 / recipe.rate_hz
        controller.DestinationFilename = str(self._folder / "scan.h5")

    def _arm(self) -> None:
        controller = self._site.controller
        try:
            controller.Arm()
        except tango.DevFailed as error:
            self._refusal = sentence(error)
            return
        if not self._site.until(lambda: controller.AcquisitionState != "CONFIGURING", ARMED_S):
            self._hung = f"Arm: {controller.Status()}"
            controller.Abort()
        report = controller.LastReport
        if report and not report_of(report, controller.dev_name()).armed:
            self._refusal = controller.Status()

    def _run(self) -> None:
        recipe, site, began = self._recipe, self._site, monotonic()
        if recipe.trigger_mode is TriggerMode.EXTERNAL_MULTI:
            site.edges(recipe.triggers)
        elif recipe.trigger_mode is TriggerMode.EXTERNAL_MULTI_GATE:
            site.gates(recipe.triggers, 0.9 / recipe.rate_hz, 1 / recipe.rate_hz)

        def over() -> bool:
            if monotonic() - began >= recipe.end_at * recipe.seconds:
                self._bring_the_end()
            if recipe.trigger_mode is TriggerMode.SOFTWARE:
                self._trigger()
            if recipe.end is End.KILL_ENGINE and not self._killed:
                self._written.append((monotonic(), site.receiver.nFramesWritten))
            return bool(site.controller.state() != tango.DevState.RUNNING)

        if not site.until(over, recipe.seconds + SPARE_S):
            self._hung = f"the acquisition: {site.controller.Status()}"
            site.controller.Abort()
            site.until(lambda: bool(site.controller.state() != tango.DevState.RUNNING), SPARE_S)

    def _bring_the_end(self) -> None:
        if self._done:
            return
        self._done = True
        site, recipe = self._site, self._recipe
        if self._mid_run:
            site.faults(recipe.parsed)
        match recipe.end:
            case End.STOP:
                site.controller.Stop()
            case End.ABORT:
                site.controller.Abort()
            case End.KILL_ENGINE:
                self._killed_at, self._killed = monotonic(), site.kill_engine()
            case End.KILL_SERVER:
                self._killed_server = site.kill_server()
                self._killed_at, self._killed = monotonic(), True

    def _trigger(self) -> None:
        controller = self._site.controller
        if self._triggers_given >= self._recipe.triggers or not controller.ReadyForSwTrigger:
            return
        try:
            controller.SoftwareTrigger()
        except tango.DevFailed:
            return  # it has ended meanwhile; what that means for the frames is in both accounts
        self._triggers_given += 1

    # ---- what can be known ----

    def _ask(self) -> Told:
        site = self._site
        report = site.controller.LastReport
        decoded = report_of(report, site.controller.dev_name()) if report else None
        told = Told(state_of_controller=str(site.controller.state()))
        if decoded is not None:
            receipt = next(iter(decoded.receipts.values()), None)
            told = msgspec.structs.replace(
                told,
                verdict=decoded.verdict,
                armed=decoded.armed,
                reasons=decoded.reasons,
                receipt_of_controller=receipt,
            )
        try:
            text = site.receiver.LastReceipt
            return msgspec.structs.replace(
                told,
                receipt_of_receiver=msgspec.json.decode(text, type=Receipt) if text else None,
                verdict_of_receiver=site.receiver.Verdict,
                state_of_receiver=str(site.receiver.state()),
                counters={name: int(site.receiver.read_attribute(name).value) for name in COUNTERS},
            )
        except tango.DevFailed:
            return told  # its server was killed

    def _account(self) -> SeriesAccount:
        """Final where everything was taken; otherwise as it is once nobody takes anything any more."""
        site = self._site
        series = site.series()
        seen = [site.account(series)]
        since = [monotonic()]

        def settled() -> bool:
            newest = site.account(series)
            if newest != seen[-1]:
                since[0] = monotonic()
            seen.append(newest)
            whole = newest.finished and newest.messages_waiting == 0
            return whole or monotonic() - since[0] > STABLE_S

        if not site.until(settled, SPARE_S):
            raise StateError("read the final account", of="the simulator", answer=repr(seen[-1]))
        return seen[-1]

    def _safe(self) -> int:
        return max((count for at, count in self._written if at <= self._killed_at - SAFE_S), default=0)

    def _recover(self) -> tuple[Recovered, ...]:
        saved = [recovered(self._folder)]

        def free() -> bool:
            saved.append(recovered(self._folder))
            return not any(one.note.startswith("left alone") for one in saved[-1])

        if any(one.note.startswith("left alone") for one in saved[0]):
            self._site.until(free, OWNER_S, 0.5)
        return tuple(one for turn in saved for one in turn if turn is saved[-1] or one.file)

    def _files(self, killed: bool) -> list[Path]:
        """The file with the account: of a series in blocks the master. After a kill all that can be opened."""
        master = self._folder / "scan.h5"
        if master.exists():
            return [master]
        return sorted(self._folder.glob("*.h5")) if killed or self._recipe.end in KILLS else []

    def _names(self) -> tuple[str, ...]:
        return tuple(sorted(path.name for path in self._folder.iterdir()))

    def _strays(self) -> tuple[str, ...]:
        """`../../outside.h5` is what the stream asks for with the fault `filename`."""
        places = (self._folder, *self._folder.parents[:3])
        return tuple(str(path) for place in places for path in place.glob("*outside*"))


def _without_parts_of_masters(files: tuple[FileEvidence, ...]) -> tuple[FileEvidence, ...]:
    """A data file of a killed series has no account of its own, as check_file says of it; its frames still count."""
    return tuple(
        msgspec.structs.replace(one, problems=tuple(p for p in one.problems if "its account is in the master" not in p))
        for one in files
    )
