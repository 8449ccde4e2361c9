"""Kill campaign: receivers at full rate, SIGKILL at random instants, and every pixel of what is left compared.

    python tests/kills.py --kills 200 --backend both --victim both --seed 1

For each kill there is a real engine, owned by a process that stands for the device server, and a sender in a third
process that sends as fast as it can. The instant is uniformly random between the start of Prepare and the end of the
run, which a few runs that are not killed have measured. Afterwards `recover_file` does its work, and

- every row of the file is unpacked and compared with what was sent under its number,
- the account (frames, missing, wrong) has to be that of the pixels, row by row,
- every frame that the engine had called safe before the kill has to be there: counter `frames_safe`, whose memory
  is looked at after the death of whoever wrote it. With `--frames-per-file` that is how many, and not which.

Exit status 1, with the seed and the folder kept, when anything is otherwise. Not collected by pytest; a short campaign
is in tests/unit/engine/test_kills.py.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kill_findings import Kill, all_patterns, look_at
from kill_processes import WAIT_S, Child, shared_counters, wait_end, wait_owners
from maxdaq_tango.model import FileBackend, StreamFormat

CALIBRATIONS = 2
"""Runs of each backend that are not killed; one in a short campaign."""
SHORT = 20
LONGER = 1.05
"""The last instant of a kill, in lengths of a run: runs are not all of one length."""
KEPT = 0.6
"""Of what is known of the length of a run, when one that came to its end took another time: other work disturbs."""
VICTIMS = ("engine", "device", "both")
CHECKPOINTS_S = (0.0, 0.05)
"""Every second kill, by lot: as a receiver does it by itself, and so often that more kills fall behind one."""


class Campaign:
    """All of it; a context manager."""

    def __init__(self, folder: Path, count: int, seed: int, frames_per_file: int = 0, engines: int = 1) -> None:
        self.folder, self.count = folder, count
        self.frames_per_file, self.engines = frames_per_file, engines
        self.random = random.Random(seed)
        self.patterns = all_patterns()
        self.errors = folder / "errors.log"
        self.sender = Child("sender", str(count), errors=self.errors)
        self.sender.wait("ready", 4 * WAIT_S)
        self._spare: Child | None = self._start_device()
        self.run_s: dict[str, float] = {}

    def __enter__(self) -> Campaign:
        return self

    def __exit__(self, *_: object) -> None:
        if self._spare is not None:
            self._spare.end()
        self.sender.end()

    def _start_device(self) -> Child:
        return Child("device", errors=self.errors)

    def _device(self) -> Child:
        """One that is up; the next is started, and comes up while this one works."""
        device, self._spare = self._spare or self._start_device(), None
        return device

    def calibrate(self, backend: str, runs: int) -> None:
        """How long a run takes; SystemExit when it is not COMPLETE without a kill."""
        for number in range(runs):
            kill = self.run(Kill(-1 - number, backend, "engine", 4 * WAIT_S))
            if kill.phase != "finished" or kill.problems or kill.frames != self.count:
                raise SystemExit(f"a run that nobody kills is not whole: {kill}; see {self.folder}")
            self.run_s[backend] = max(kill.after_s, self.run_s.get(backend, 0.0))

    def run(self, kill: Kill) -> Kill:
        """One run and its kill."""
        folder = self.folder / f"{kill.number}"
        folder.mkdir()
        kill.frames_per_file = self.frames_per_file
        self.sender.tell("next")
        endpoint = self.sender.wait("endpoint")
        device = self._device()
        engine = int(device.wait("engine"))
        counters = shared_counters(engine)
        request = {
            "sources": [endpoint],
            "stream_format": StreamFormat.STINS,
            "destination": str(folder / "a.h5"),
            "roots": [str(folder)],
            "detector": "d",
            "backend": FileBackend(kill.backend).value,
            "connect_timeout_s": WAIT_S,
            "expected_frames": self.count,
            "memory_bytes": 64 << 20,
            "pinned": {"checkpoint_s": kill.checkpoint_s},
            "grace_s": 0.5,
            "frames_per_file": self.frames_per_file,
            "engines": self.engines,
        }
        began = time.monotonic()
        device.tell(json.dumps(request))
        verdict = ""
        with contextlib.suppress(TimeoutError):
            if self.engines > 1:  # whose start takes most of the time: then the instant counts from its end
                device.wait("prepared", WAIT_S)
                began = time.monotonic()
            else:
                device.wait("prepared", kill.after_s)
            self.sender.tell("go")
            verdict = device.wait_verdict(max(0.0, began + kill.after_s - time.monotonic()))
        kill.phase = "finished" if verdict else device.state
        if device.process.poll() is not None:
            kill.problems.append(f"the device ended by itself, see {self.errors}")
        elif verdict:
            kill.after_s = time.monotonic() - began
        elif kill.victim == "engine":
            os.kill(engine, signal.SIGKILL)
        else:
            device.process.kill()
            if kill.victim == "both":
                os.kill(engine, signal.SIGKILL)
        self._spare = self._start_device()
        device.end()
        wait_end(engine)
        wait_owners(folder)
        self.sender.tell("stop")
        kill.safe = counters.read().frames_safe
        look_at(kill, folder, self.count, self.patterns)
        if not kill.problems:
            shutil.rmtree(folder)
        return kill


# -- the campaign ------------------------------------------------------------------------------------------------------


def kills(campaign: Campaign, backends: list[str], victims: list[str], wanted: int) -> Iterator[Kill]:
    """Until `wanted` kills hit a run; those that came too late are told as well."""
    hit = 0
    while hit < wanted:
        backend, victim = backends[hit % len(backends)], victims[hit // len(backends) % len(victims)]
        after_s = campaign.random.uniform(0.0, LONGER * campaign.run_s[backend])
        number = hit
        while (campaign.folder / str(number)).exists():
            number += wanted
        checkpoint_s = campaign.random.choice(CHECKPOINTS_S)
        kill = campaign.run(Kill(number, backend, victim, after_s, checkpoint_s))
        hit += kill.counts
        if not kill.counts:
            campaign.run_s[backend] = KEPT * campaign.run_s[backend] + (1 - KEPT) * kill.after_s
        yield kill


def summary(done: list[Kill]) -> dict[str, Any]:
    hits = [kill for kill in done if kill.counts]
    return {
        "kills": len(hits),
        "came_too_late": len(done) - len(hits),
        "phases": dict(Counter(kill.phase for kill in hits)),
        "outcomes": dict(Counter(kill.outcome for kill in hits)),
        "with_safe_frames": sum(kill.safe > 0 for kill in hits),
        "frames_safe": sum(kill.safe for kill in hits),
        "frames_compared": sum(kill.frames for kill in done),
        "frames_beyond_the_safe_ones": sum(kill.frames - kill.safe for kill in hits),
        "kills_with_problems": sum(bool(kill.problems) for kill in done),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--backend", choices=["swmr", "direct", "both"], default="both")
    parser.add_argument("--victim", choices=[*VICTIMS, "all"], default="all", help="who is killed; both at once")
    parser.add_argument("--frames", type=int, default=4000, help="of one series")
    parser.add_argument("--frames-per-file", type=int, default=0, help="in blocks; 0 = all in one file")
    parser.add_argument("--engines", type=int, default=1, help="processes that write the blocks in turn")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--folder", type=Path, default=None, help="where files are made; default: a temporary one")
    parser.add_argument("--json", type=Path, default=None, help="file for the result")
    return run(parser.parse_args())


def run(options: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    console = Console(stderr=True, highlight=False)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    folder = Path(tempfile.mkdtemp(prefix="kills-", dir=options.folder))
    backends = ["swmr", "direct"] if options.backend == "both" else [options.backend]
    victims = list(VICTIMS) if options.victim == "all" else [options.victim]
    done: list[Kill] = []
    began = time.monotonic()
    blocks = (options.frames_per_file, options.engines)
    with Campaign(folder, options.frames, seed, *blocks) as campaign:
        for backend in backends:
            campaign.calibrate(backend, CALIBRATIONS if options.kills >= SHORT else 1)
        console.print(f"seed {seed}, {folder}; a run takes {campaign.run_s} s")
        for kill in track(kills_that_hit(campaign, backends, victims, options.kills, done), "kills", options.kills,
                          console=console):  # fmt: skip
            if options.json is not None:
                options.json.write_text(json.dumps(result(campaign, options, seed, done, began), indent=1) + "\n")
            for problem in kill.problems:
                console.print(f"kill {kill.number} ({kill.backend}, {kill.victim}, {kill.phase}): {problem}")
    table = Table("backend", "victim", "kills", "phases", "outcomes", "safe", "in the files", "problems")
    for backend in backends:
        for victim in victims:
            some = [kill for kill in done if (kill.backend, kill.victim) == (backend, victim)]
            told = summary(some)
            table.add_row(
                backend, victim, str(told["kills"]), words(told["phases"]), words(told["outcomes"]),
                str(told["frames_safe"]), str(sum(kill.frames for kill in some if kill.counts)),
                str(told["kills_with_problems"]),
            )  # fmt: skip
    console.print(table)
    told = result(campaign, options, seed, done, began)
    if options.json is not None:
        options.json.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps({key: value for key, value in told.items() if key != "each"}, indent=1))
    if told["kills_with_problems"]:
        console.print(f"[red]something is wrong[/red]: seed {seed}, what is left is in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def result(
    campaign: Campaign, options: argparse.Namespace, seed: int, done: list[Kill], began: float
) -> dict[str, Any]:
    """So far."""
    return {
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "frames_a_series": options.frames,
        "frames_per_file": options.frames_per_file,
        "engines": options.engines,
        "run_s": {name: round(seconds, 3) for name, seconds in campaign.run_s.items()},
        **summary(done),
        "bad": [asdict(kill) for kill in done if kill.problems],
        "each": [asdict(kill) for kill in done],
    }


def kills_that_hit(
    campaign: Campaign, backends: list[str], victims: list[str], wanted: int, done: list[Kill]
) -> Iterator[Kill]:
    """All go into `done`."""
    for kill in kills(campaign, backends, victims, wanted):
        done.append(kill)
        if kill.counts or kill.problems:
            yield kill


def words(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


if __name__ == "__main__":
    sys.exit(main())
