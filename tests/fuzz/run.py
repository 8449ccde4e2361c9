"""Fuzzes our decoders: `python tests/fuzz/run.py --target dectris_v2 --runs 10000000 --jobs 1`.

Each target runs in processes of its own under libFuzzer (atheris), which is led by the branches of our Python code. A
finding is an input after which something else came than an event or a WireError: another exception, a crash of C code,
more than --timeout s, more memory than a small message may cost. The input is kept in --findings, its path is told, and
`--input FILE` tries it again. Exit status 0: no finding; 1: a finding; 2: asked wrongly, or the fuzzer did not run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from fuzz.targets import NAMES  # noqa: E402

SEEDS = HERE / "corpus"
LONGEST_INPUT = 4096
GOODBYE_S = 60.0
"""Beyond its time a child that does not end by itself is killed."""
STATISTICS = re.compile(r"^stat::(\w+):\s+(\d+)", re.MULTILINE)
KINDS = {"crash": "crash", "timeout": "hang", "oom": "memory", "leak": "memory", "slow": "hang"}
"""First word of the name that libFuzzer gives to an input."""


@dataclass
class Outcome:
    """Of one target."""

    target: str
    runs: int = 0
    seconds: float = 0.0
    new_inputs: int = 0
    """Which reached what no input before them had; kept in the corpus of this run."""
    peak_mib: int = 0
    """Of the largest of its processes."""
    findings: list[dict[str, str]] = field(default_factory=list)
    failure: str = ""
    """Why the fuzzer did not run."""

    @property
    def runs_per_s(self) -> float:
        """Of all jobs together."""
        return self.runs / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        found = ", ".join(f"{one['kind']}: {one['input']} ({one['what']})" for one in self.findings)
        return (
            f"{self.target:10}  {self.runs:>10} runs in {self.seconds:6.1f} s = {self.runs_per_s:6.0f}/s, "
            f"{self.new_inputs:4} new inputs, peak {self.peak_mib} MiB: {self.failure or found or 'nothing found'}"
        )


def fuzz(name: str, asked: argparse.Namespace) -> Outcome:
    """Run one target to its end."""
    outcome = Outcome(name)
    findings = Path(asked.findings).resolve() / name
    findings.mkdir(parents=True, exist_ok=True)
    known = set(findings.iterdir())
    with tempfile.TemporaryDirectory(prefix="maxdaq-fuzz-") as folder:
        corpus = Path(asked.corpus).resolve() / name if asked.corpus else Path(folder) / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        before = len(list(corpus.iterdir()))
        began = time.monotonic()
        children = [_start(name, number, asked, corpus, findings, Path(folder)) for number in range(asked.jobs)]
        limit_s = asked.seconds + GOODBYE_S if asked.seconds else None
        for number, child in enumerate(children):
            try:
                status = child.wait(limit_s)
            except subprocess.TimeoutExpired:
                child.kill()
                status = child.wait()
            log = (Path(folder) / f"log{number}").read_text(errors="replace")
            _account(outcome, status, log)
            if asked.verbose:
                print(log, file=sys.stderr)
        outcome.seconds = time.monotonic() - began
        outcome.new_inputs = len(list(corpus.iterdir())) - before
    kept = [path for path in sorted(findings.iterdir()) if path not in known]
    if asked.input and outcome.findings:  # of one input libFuzzer keeps no copy
        kept = [Path(asked.input).resolve()]
    texts = [one["what"] for one in outcome.findings] or [""]
    outcome.findings = [
        {"kind": KINDS.get(path.name.split("-")[0], "crash"), "input": str(path), "what": texts[min(n, len(texts) - 1)]}
        for n, path in enumerate(kept)
    ]
    if not any(findings.iterdir()):
        findings.rmdir()
    return outcome


def _start(
    name: str, number: int, asked: argparse.Namespace, corpus: Path, findings: Path, folder: Path
) -> subprocess.Popen[bytes]:
    options = [
        f"-artifact_prefix={findings}/",
        f"-timeout={asked.timeout}",
        f"-rss_limit_mb={asked.rss_limit_mb}",
        f"-max_len={LONGEST_INPUT}",
        "-print_final_stats=1",
        "-verbosity=1",
        "-reload=1",
    ]
    if asked.runs:
        options.append(f"-runs={max(1, asked.runs // asked.jobs)}")
    if asked.seconds:
        options.append(f"-max_total_time={asked.seconds}")
    if asked.seed:
        options.append(f"-seed={asked.seed + number}")
    seeds = [str(SEEDS / name)] if (SEEDS / name).is_dir() else []
    inputs = [str(Path(asked.input).resolve())] if asked.input else [str(corpus), *seeds]
    with (folder / f"log{number}").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, str(asked.child), name, *options, *inputs],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            # One arena: each further one takes 64 MiB of the address space, which is limited.
            env={
                **os.environ,
                "MALLOC_ARENA_MAX": "1",
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            },
        )


def _account(outcome: Outcome, status: int, log: str) -> None:
    numbers = {name: int(value) for name, value in STATISTICS.findall(log)}
    outcome.runs += numbers.get("number_of_executed_units", 0)
    outcome.peak_mib = max(outcome.peak_mib, numbers.get("peak_rss_mb", 0))
    if status == 0:
        return
    exception = re.search(r"=== Uncaught Python exception: ===\n(.*)", log)
    summary = re.search(r"SUMMARY: libFuzzer: .*", log)
    if summary:
        what = exception.group(1) if exception else summary.group(0)
        outcome.findings.append({"what": what.strip()[:300]})
    else:
        outcome.failure = f"the fuzzer ended with {status}: {log.strip()[-300:]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", action="append", choices=NAMES, help="default: all, one after the other")
    parser.add_argument("--runs", type=int, default=0, help="inputs for each target; 0 = until --seconds")
    parser.add_argument("--seconds", type=int, default=0, help="for each target; 0 = until --runs (neither: 10 s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes for each target, which share a corpus")
    parser.add_argument("--timeout", type=int, default=10, help="longest for one input, s")
    parser.add_argument("--rss-limit-mb", type=int, default=1024, help="largest that a process may be")
    parser.add_argument("--corpus", default="", help="folder that keeps the inputs that reached something new")
    parser.add_argument("--findings", default=".fuzz", help="folder for the inputs that found something")
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same inputs; 0 = by the clock")
    parser.add_argument("--input", default="", help="try this one input only (with one --target)")
    parser.add_argument("--json", action="store_true", help="print the outcomes as one JSON object")
    parser.add_argument("--verbose", action="store_true", help="show what libFuzzer says, when a target has ended")
    parser.add_argument("--child", default=HERE / "child.py", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.input and len(asked.target or ()) != 1:
        parser.error("--input takes one --target: which decoder is the input for?")
    if asked.runs < 0 or asked.seconds < 0 or asked.jobs < 1:
        parser.error("--runs and --seconds count from 0, --jobs from 1")
    if not asked.runs and not asked.seconds:
        asked.seconds = 10
    if importlib.util.find_spec("atheris") is None:
        print("fuzzing is skipped: atheris is not installed, or has no wheel for this Python and machine")
        return 0
    outcomes = []
    for name in asked.target or NAMES:
        outcomes.append(fuzz(name, asked))
        print(outcomes[-1], file=sys.stderr if asked.json else sys.stdout, flush=True)
    if asked.json:
        print(json.dumps({"outcomes": [asdict(one) | {"runs_per_s": round(one.runs_per_s)} for one in outcomes]}))
    if any(one.findings for one in outcomes):
        return 1
    return 2 if any(one.failure for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
