"""Runs a plan: starts what a case needs, gives every contestant its turns, measures, and tidies up after each."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import h5py
import msgspec

from maxdaq_tango.bench.child import Child, wait_for
from maxdaq_tango.bench.disk import FreeBytes, check_room, file_system, free_bytes, own_folder
from maxdaq_tango.bench.machine import describe_machine
from maxdaq_tango.bench.payload import store_payload
from maxdaq_tango.bench.plan import (
    OUR_OWN,
    SAVING,
    SENDERLESS,
    THROTTLE_BYTES_PER_S,
    Block,
    Case,
    Contestant,
    Extra,
    Plan,
)
from maxdaq_tango.bench.results import Result, Sample, Skipped, judge, make_rows
from maxdaq_tango.bench.talk import Close, Done, Expect, Go, Open, Opened, Prepare, Ready, Sent
from maxdaq_tango.bench.throttle import throttled, why_no_throttle
from maxdaq_tango.bench.usage import family, forget_peak, peak_rss_bytes, usage_of
from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.errors import PipelineError

START_S = 60.0
"""For a process to start and to make itself ready."""
FILE_NAME = "frames.h5"
COLUMNS_GROUP = "/entry/instrument/detector/frame_metadata"
PATIENCE_S = 120.0
"""For a turn to end after the time that it was given."""


class Turn(msgspec.Struct, frozen=True):
    """Told before each turn begins."""

    number: int
    """From 0."""
    case: Case
    contestant: Contestant
    repeat: int
    pid: int
    """Of the receiving process."""


class Conductor:
    """One run of the bench. Everything that it starts and writes is gone when `run` ends, however it ends."""

    def __init__(
        self,
        plan: Plan,
        parent: Path,
        interruption: Interruption,
        *,
        look: Callable[[Turn], None] = lambda turn: None,
        free: FreeBytes = free_bytes,
    ) -> None:
        self._plan = plan
        self._parent = parent
        self._interruption = interruption
        self._look = look
        self._free = free
        self._samples: list[Sample] = []
        self._skipped: list[Skipped] = []
        self._notes: dict[str, None] = {}
        self._turn_number = 0

    def run(self) -> Result:
        """Interrupted, or an error of ours when anything is less than complete."""
        self._plan.check()
        started = datetime.now(UTC)
        with own_folder(self._parent) as folder:
            if self._plan.writes:
                check_room(folder, self._plan.most_bytes, self._free)
            for block in self._plan.blocks():
                self._interruption.check()
                if reason := why_no_throttle(folder) if block.case.extra is Extra.THROTTLE else "":
                    self._skipped.append(Skipped(block.case.name, reason))
                    self._turn_number += block.runs * len(block.contestants)
                    continue
                self._run_block(block, folder)
            machine = describe_machine(self._parent, file_system(folder))
        rows = make_rows(self._samples)
        return Result(
            started_at=started.isoformat(timespec="seconds"),
            machine=machine,
            plan=self._plan,
            rows=rows,
            targets=judge(rows),
            skipped=tuple(self._skipped),
            notes=tuple(self._notes),
            samples=tuple(self._samples),
        )

    def _run_block(self, block: Block, folder: Path) -> None:
        with contextlib.ExitStack() as stack:
            description, handle = store_payload(block.case)
            stack.callback(os.close, handle)
            words = msgspec.json.encode(description).decode()

            def start(name: str, module: str, arguments: list[str]) -> Child:
                child = Child(name, module, arguments, handles=(handle,), log=folder / f"{name}.log")
                stack.callback(child.close)
                return child

            sender = start("sender", "sender", [words, str(handle)])
            extra = block.case.extra.value if block.case.extra else ""
            children = {
                contestant: start(contestant.value, "contestant", [contestant.value, words, str(handle), extra])
                for contestant in block.contestants
            }
            for child in (sender, *children.values()):
                wait_for(child, Ready, self._interruption, START_S)  # nobody starts while another one is measured
            for repeat, contestant in block.turns():
                data = folder / "data"
                data.mkdir()
                try:
                    self._take_turn(block, contestant, repeat, children[contestant], sender, data)
                finally:
                    shutil.rmtree(data, ignore_errors=True)
                    os.sync()  # what one leaves to the kernel's write-back shall not slow the next one down
                self._turn_number += 1

    def _take_turn(
        self, block: Block, contestant: Contestant, repeat: int, child: Child, sender: Child, data: Path
    ) -> None:
        if contestant in SAVING:
            check_room(data, self._plan.most_bytes, self._free)
        streamed = contestant not in SENDERLESS
        endpoint = self._ask_for_endpoint(sender) if streamed else ""
        child.ask(Prepare(endpoint=endpoint, path=str(data / FILE_NAME) if contestant in SAVING else ""))
        pid = wait_for(child, Ready, self._interruption, START_S).pid
        self._look(Turn(self._turn_number, block.case, contestant, repeat, pid))
        with self._slowed(block.case, data, pid):
            pids = family(pid)
            forget_peak(pids)
            before, sender_before = usage_of(pids), usage_of([sender.pid])
            go = Go(seconds=block.seconds, most_bytes=self._plan.most_bytes, columns=block.case.columns(contestant))
            sent = self._send(go, sender, child) if streamed else None
            if sent is None:
                child.ask(go)
            else:
                child.ask(Expect(sent.frames))
            done = wait_for(child, Done, self._interruption, block.seconds + PATIENCE_S, [sender])
            # What was started meanwhile is found now, what ended meanwhile is in the account of its parent.
            pids = family(pid)
            used, sender_used = usage_of(pids).since(before), usage_of([sender.pid]).since(sender_before)
            peak = peak_rss_bytes(pids)
        if streamed:
            sender.ask(Close())
        if sent is not None:
            check_complete(contestant, block.case, sent, done)
            check_columns(data / FILE_NAME, block.case.columns(contestant))
        if done.note and contestant not in OUR_OWN:
            self._notes[done.note] = None
        sample = Sample(
            case=block.case,
            contestant=contestant,
            repeat=repeat,
            frames=done.frames,
            nbytes=sent.nbytes if sent else done.nbytes,
            seconds=(done.ended_ns - (sent.began_ns if sent else done.began_ns)) / 1e9,
            cpu_s=used.cpu_s,
            sender_cpu_s=sender_used.cpu_s if sent else 0.0,
            minor_faults=used.minor_faults,
            peak_rss_bytes=peak,
        )
        if block.case.extra is Extra.THROTTLE and sample.nbytes / sample.seconds > 1.3 * THROTTLE_BYTES_PER_S:
            why = (
                f"the kernel's limit of this control group did not hold: {sample.gb_per_s * 1e3:.0f} MB/s were written"
            )
            self._skipped.append(Skipped(block.case.name, why))
        else:
            self._samples.append(sample)

    def _ask_for_endpoint(self, sender: Child) -> str:
        sender.ask(Open())
        return wait_for(sender, Opened, self._interruption, START_S).endpoint

    def _send(self, go: Go, sender: Child, child: Child) -> Sent:
        sender.ask(go)
        child.ask(go)
        return wait_for(sender, Sent, self._interruption, go.seconds + PATIENCE_S, [child])

    @contextlib.contextmanager
    def _slowed(self, case: Case, data: Path, pid: int) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            if case.extra is Extra.THROTTLE:
                stack.enter_context(throttled(data, family(pid), THROTTLE_BYTES_PER_S))
            yield


def check_complete(contestant: Contestant, case: Case, sent: Sent, done: Done) -> None:
    """Everything that was sent has arrived; PipelineError when it has not: a fast loss is no result."""
    what = f"measure {contestant} with frames of {case.name}"
    if contestant in OUR_OWN and done.verdict != "COMPLETE":
        raise PipelineError(what, answer=f"verdict {done.verdict}: {done.note}", accepted="COMPLETE")
    if done.frames != sent.frames:
        raise PipelineError(what, answer=f"{done.frames} of {sent.frames} frames arrived", accepted="all")
    as_sent = contestant is not Contestant.OURS_LIVE and case.extra is not Extra.COMPRESS
    if as_sent and done.nbytes != sent.nbytes:
        raise PipelineError(what, answer=f"{done.nbytes} of {sent.nbytes} bytes", accepted="all")


def check_columns(path: Path, columns: int) -> None:
    """The values beside the pixels are columns of the file; PipelineError when some are not."""
    if not columns:
        return
    with h5py.File(path, "r", locking=False) as file:
        found = len(file[COLUMNS_GROUP]) if COLUMNS_GROUP in file else 0
    if found != columns:
        raise PipelineError(f"measure {columns} columns", answer=f"{found} are in the file", accepted="all")
