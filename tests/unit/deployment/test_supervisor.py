from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic

import pytest

from maxdaq_tango.deployment.interruption import Interrupted, Interruption
from maxdaq_tango.deployment.process import ChildProcess, Launch
from maxdaq_tango.deployment.supervisor import BackOff, ServiceState, Supervisor
from maxdaq_tango.errors import LaunchError

GOOD = "import signal; print('ready', flush=True)\nwhile True: signal.pause()"
SLOW = "import signal; print('thinking', flush=True)\nwhile True: signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + GOOD
BAD = "print('no camera'); raise SystemExit(3)"


class Script:
    """A service that is ready when it says so."""

    ready_timeout_s = 10.0

    def __init__(self, name: str, code: str = GOOD) -> None:
        self.name = name
        self.code = code
        self.prepared = 0

    def command(self) -> Sequence[str]:
        return (sys.executable, "-c", self.code)

    def environment(self) -> Mapping[str, str]:
        return {}

    def prepare(self) -> None:
        self.prepared += 1

    def ready(self, process: ChildProcess) -> bool:
        return "ready" in process.output()


class Setting:
    def __init__(self, folder: Path) -> None:
        self.launch = Launch()
        self.interruption = Interruption()
        self.told: list[str] = []
        self.supervisor = Supervisor(self.launch, folder, self.interruption, self.told.append)

    def watch_until(self, condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
        def look() -> bool:
            self.supervisor.watch()
            return condition()

        assert Interruption().wait_until(look, deadline_s)


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    monkeypatch.setattr(BackOff, "FIRST_S", 0.05)
    setting = Setting(tmp_path)
    yield setting
    setting.interruption.request()
    setting.interruption.request()
    setting.supervisor.stop()
    assert setting.launch.close() == []


def test_all_are_ready_after_start(setting: Setting) -> None:
    setting.supervisor.start([Script("a"), Script("b")])
    assert [one.state for one in setting.supervisor.services] == [ServiceState.READY] * 2
    assert setting.told == ["a is ready", "b is ready"]


def test_they_stop_in_reverse_order(setting: Setting, tmp_path: Path) -> None:
    def told(name: str) -> str:
        leave = f"import sys; open({str(tmp_path / 'order')!r}, 'a').write({name!r}); sys.exit()"
        return f"import signal; signal.signal(signal.SIGTERM, lambda *_: exec({leave!r}))\n{GOOD}"

    setting.supervisor.start([Script("a", told("a")), Script("b", told("b"))])
    setting.supervisor.start([Script("c", told("c"))])
    setting.supervisor.stop()
    assert (tmp_path / "order").read_text() == "cba"
    assert {one.state for one in setting.supervisor.services} == {ServiceState.STOPPED}


def test_one_that_dies_at_start_is_an_error_with_its_last_words(setting: Setting) -> None:
    with pytest.raises(LaunchError, match=r"start b: it ended with status 3; its last words: no camera.*b\.log"):
        setting.supervisor.start([Script("a"), Script("b", BAD)])


def test_one_that_is_not_ready_in_time_is_an_error(setting: Setting) -> None:
    slow = Script("slow", SLOW)
    slow.ready_timeout_s = 0.3
    with pytest.raises(LaunchError, match=r"start slow: not ready after 0 s; its last words: thinking"):
        setting.supervisor.start([slow])


def test_an_interruption_ends_the_start(setting: Setting) -> None:
    setting.interruption.request(signal.SIGINT)
    with pytest.raises(Interrupted):
        setting.supervisor.start([Script("a")])
    assert setting.supervisor.services == []


def test_one_that_dies_is_started_again(setting: Setting) -> None:
    service = Script("a")
    setting.supervisor.start([service])
    (one,) = setting.supervisor.services
    first = one.process.pid
    os.kill(first, signal.SIGKILL)
    setting.watch_until(lambda: one.state is ServiceState.WAITING)
    assert "killed by SIGKILL" in one.message
    setting.watch_until(lambda: one.state is ServiceState.READY)
    assert one.process.pid != first
    assert (one.restarts, service.prepared) == (1, 2)
    assert setting.told[-1] == "a is ready again"


def test_one_that_dies_again_and_again_waits_longer_each_time(setting: Setting) -> None:
    service = Script("a")
    setting.supervisor.start([service])
    service.code = BAD
    (one,) = setting.supervisor.services
    os.kill(one.process.pid, signal.SIGKILL)
    setting.watch_until(lambda: one.restarts >= 3)
    assert one.back_off.delay_s(0) >= 0.4


def test_one_that_is_not_ready_after_a_restart_is_stopped_and_tried_again(setting: Setting) -> None:
    service = Script("a")
    setting.supervisor.start([service])
    (one,) = setting.supervisor.services
    service.code, service.ready_timeout_s = SLOW, 0.2
    os.kill(one.process.pid, signal.SIGKILL)
    setting.watch_until(lambda: one.restarts >= 1 and one.state is ServiceState.WAITING)
    assert "not ready within" in one.message
    assert one.process.exit_status is not None


def test_one_whose_program_has_gone_is_tried_again(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Script("a")
    setting.supervisor.start([service])
    (one,) = setting.supervisor.services
    monkeypatch.setattr(service, "command", lambda: ("/no/such",))
    os.kill(one.process.pid, signal.SIGKILL)
    setting.watch_until(lambda: "No such file" in one.message)
    monkeypatch.undo()
    setting.watch_until(lambda: one.state is ServiceState.READY)


def test_check_alive_tells_of_a_death(setting: Setting) -> None:
    setting.supervisor.start([Script("a")])
    setting.supervisor.check_alive()
    os.kill(setting.supervisor.services[0].process.pid, signal.SIGKILL)
    assert Interruption().wait_until(lambda: setting.supervisor.services[0].process.exit_status is not None, 10)
    with pytest.raises(LaunchError, match="keep running a: it was killed by SIGKILL"):
        setting.supervisor.check_alive()


def test_a_second_interruption_ends_the_patience(setting: Setting) -> None:
    setting.supervisor.start([Script("deaf", DEAF)])
    setting.interruption.request(signal.SIGINT)
    setting.interruption.request(signal.SIGINT)
    begin = monotonic()
    setting.supervisor.stop()
    assert monotonic() - begin < 3


def test_back_off_doubles_has_a_limit_and_forgives() -> None:
    back_off = BackOff()
    assert [back_off.delay_s(0) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert back_off.delay_s(59) == 30
    assert back_off.delay_s(60) == 1
    assert back_off.delay_s(0) == 2
