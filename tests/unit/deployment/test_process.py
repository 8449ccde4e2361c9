from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from maxdaq_tango.deployment import guard
from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.process import ChildProcess, Launch
from maxdaq_tango.errors import LaunchError

WaitGone = Callable[..., None]

SAYS = "import sys; print('one'); print('two', file=sys.stderr); sys.exit(4)"
STAYS = "import signal; print('here', flush=True)\nwhile True: signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + STAYS
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {DEAF!r}], start_new_session=True)\n{STAYS}"


@pytest.fixture
def launch() -> Iterator[Launch]:
    launch = Launch()
    yield launch
    launch.close()


@pytest.fixture
def start(launch: Launch, tmp_path: Path) -> Iterator[Callable[..., ChildProcess]]:
    begun = []

    def start(code: str, until: str = "") -> ChildProcess:
        process = ChildProcess(launch, "it", [sys.executable, "-c", code], {"EXTRA": "yes"}, tmp_path / "it.log")
        begun.append(process)
        Interruption().wait_until(
            lambda: (bool(until) and until in process.output()) or process.exit_status is not None, 10
        )
        return process

    yield start
    for process in begun:
        process.stop(0)


def test_output_of_both_kinds_goes_to_the_log(start: Callable[..., ChildProcess]) -> None:
    process = start(SAYS)
    assert sorted(process.output().split()) == ["one", "two"]
    assert process.how_it_ended() == "ended with status 4"


def test_a_second_run_does_not_read_the_words_of_the_first(start: Callable[..., ChildProcess]) -> None:
    start("print('first')")
    second = start("print('second')")
    assert second.output().split() == ["second"]
    assert second.log.read_text().split() == ["first", "second"]


def test_last_words_of_the_silent(start: Callable[..., ChildProcess]) -> None:
    assert start("pass").last_words() == "it said nothing"


def test_it_gets_the_environment_and_the_mark(start: Callable[..., ChildProcess], launch: Launch) -> None:
    process = start(f"import os; print(os.environ['EXTRA'], os.environ['{guard.MARK}'])")
    assert process.output().split() == ["yes", launch.mark]


def test_stop_asks_first(start: Callable[..., ChildProcess]) -> None:
    process = start(STAYS, "here")
    process.stop()
    assert process.how_it_ended() == "was killed by SIGTERM"


def test_stop_insists(start: Callable[..., ChildProcess]) -> None:
    process = start(DEAF, "here")
    process.stop(0.1)
    assert process.how_it_ended() == "was killed by SIGKILL"


def test_stop_hurries_when_asked(start: Callable[..., ChildProcess]) -> None:
    process = start(DEAF, "here")
    begin = monotonic()
    process.stop(30, in_a_hurry=lambda: monotonic() > begin + 0.1)
    assert monotonic() - begin < 5


def test_stop_twice_is_harmless(start: Callable[..., ChildProcess]) -> None:
    process = start(STAYS, "here")
    process.stop()
    process.stop()
    assert process.exit_status == -signal.SIGTERM


def test_a_program_that_is_not_there_is_one_sentence(launch: Launch, tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"start it \(of /no/such\): No such file"):
        ChildProcess(launch, "it", ["/no/such"], {}, tmp_path / "log")


def test_close_ends_grandchildren_that_outlived_their_parents(
    start: Callable[..., ChildProcess], launch: Launch, wait_gone: WaitGone
) -> None:
    process = start(PARENT, "here")
    Interruption().wait_until(lambda: len(guard.marked_processes(launch.mark)) == 2, 10)
    (grandchild,) = [pid for pid in guard.marked_processes(launch.mark) if pid != process.pid]
    process.stop()
    assert guard.sweep(launch.mark, 0.2) == [grandchild]
    wait_gone([process.pid, grandchild])
    assert launch.close() == []


def test_the_guard_ends_everything_when_the_launcher_is_killed(tmp_path: Path, wait_gone: WaitGone) -> None:
    code = f"""
from pathlib import Path
from maxdaq_tango.deployment.process import ChildProcess, Launch
import sys, signal
launch = Launch()
for n in range(3):
    ChildProcess(launch, str(n), [sys.executable, "-c", {STAYS!r}], {{}}, Path({str(tmp_path)!r}) / str(n))
print(launch.mark, flush=True)
while True: signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as launcher:
        try:
            assert launcher.stdout is not None
            mark = launcher.stdout.readline().strip()
            assert Interruption().wait_until(lambda: len(guard.marked_processes(mark)) == 3, 10)
            pids = guard.marked_processes(mark)
        finally:
            launcher.kill()
    wait_gone(pids)


def test_the_guard_leaves_when_it_is_dismissed(
    start: Callable[..., ChildProcess], launch: Launch, children: Callable[[], list[int]]
) -> None:
    start("pass")
    before = children()
    launch.close()
    assert len(children()) == len(before) - 1


def test_a_killed_guard_does_not_disturb(start: Callable[..., ChildProcess], launch: Launch) -> None:
    start("pass")
    assert launch._guard is not None
    launch._guard.kill()
    launch._guard.wait()
    assert start("print('still')").output().split() == ["still"]
    assert launch.close() == []


def test_a_process_without_the_mark_is_left_alone(wait_gone: WaitGone) -> None:
    with subprocess.Popen([sys.executable, "-c", STAYS], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            guard.end_process(other.pid, 0.1, "a mark of somebody else")
            assert other.poll() is None
        finally:
            other.kill()


def test_ending_a_process_that_is_gone_is_harmless() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        pass
    guard.end_process(gone.pid, 0.1, "any")


def test_close_without_any_process() -> None:
    assert Launch().close() == []
