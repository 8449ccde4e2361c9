from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from maxdaq_tango.soak.processes import Holding, holding
from maxdaq_tango.soak.trend import LEAST_SAMPLES, WARM_UP, Samples, trend_of

MIB = 1 << 20


def life(
    count: int, memory: float = 100.0, growth: float = 0.0, files: float = 0.0, threads: float = 0.0
) -> list[Holding]:
    return [
        Holding(int((memory + growth * at) * MIB), 300 * MIB, 20 + int(files * at), 9 + int(threads * at))
        for at in range(count)
    ]


def test_what_stays_the_same_is_flat() -> None:
    trend = trend_of("engine", [life(40)], 300 * MIB)
    assert (trend.judged, trend.problems, trend.growth_bytes) == (True, (), 0.0)
    assert trend.memory_bytes == 100 * MIB


def test_slow_growth_is_found_and_said_in_mib() -> None:
    trend = trend_of("engine", [life(108, growth=0.2)], 300 * MIB)
    assert len(trend.problems) == 1
    assert f"engine has grown by {0.2 * (108 - WARM_UP):.1f} MiB in {108 - WARM_UP} acquisitions" in trend.problems[0]


def test_one_more_file_or_thread_for_every_tenth_acquisition_is_found() -> None:
    assert "more open files" in trend_of("engine", [life(108, files=0.1)], 0).problems[0]
    assert "more threads" in trend_of("engine", [life(108, threads=0.1)], 0).problems[0]


def test_a_large_series_in_the_midst_is_no_trend() -> None:
    samples = life(60)
    samples[40] = Holding(900 * MIB, 900 * MIB, 20, 9)
    assert trend_of("engine", [samples], 900 * MIB).problems == ()


def test_the_warm_up_does_not_count() -> None:
    samples = [*life(WARM_UP, memory=10, growth=12), *life(30)]
    assert trend_of("engine", [samples], 0).problems == ()


def test_growth_is_found_over_several_lives_of_which_none_is_long() -> None:
    assert trend_of("engine", [life(24, growth=2.0) for _ in range(5)], 0).problems
    assert not trend_of("engine", [life(24, memory=100 + 30 * n) for n in range(5)], 0).problems


def test_too_few_samples_are_not_judged() -> None:
    trend = trend_of("engine", [life(WARM_UP + LEAST_SAMPLES - 1, growth=50)], 7)
    assert (trend.judged, trend.problems, trend.peak_bytes) == (False, (), 7)


def test_samples_are_kept_by_process_and_life() -> None:
    samples = Samples()
    for pid in (5, 6):
        for one in life(20):
            samples.add("engine", pid, one)
    samples.add("database", 1, life(1)[0])
    engine, database = samples.trends()
    assert (engine.process, engine.lives, engine.samples) == ("engine", 2, 2 * (20 - WARM_UP))
    assert (database.process, database.judged) == ("database", False)


HOLDER = """
import os, sys, threading
print("small", flush=True)
sys.stdin.readline()
room = bytearray(os.urandom(32 << 20))
file, leave = open(sys.argv[1], "wb"), threading.Event()
threading.Thread(target=leave.wait).start()
print("large", flush=True)
sys.stdin.readline()
leave.set()
"""


def test_what_another_process_holds_is_seen(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "open")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        found = []
        for word in ("small", "large"):
            assert process.stdout.readline().strip() == word
            found.append(holding(process.pid))
            process.stdin.write("\n")
            process.stdin.flush()
    before, now = found
    assert before is not None
    assert now is not None
    assert now.memory_bytes - before.memory_bytes > 16 * MIB
    assert (now.files - before.files, now.threads - before.threads) == (1, 1)


def test_a_process_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    assert holding(1, proc=tmp_path) is None
