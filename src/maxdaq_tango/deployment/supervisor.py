"""Starts services, waits until they are ready, restarts those that die, and stops them in reverse order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import Protocol

from maxdaq_tango.deployment.guard import PATIENCE_S
from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.process import ChildProcess, Launch
from maxdaq_tango.errors import LaunchError


class Service(Protocol):
    """Something that runs as one process. Asked anew at every start, so that a restart knows what was learnt."""

    @property
    def name(self) -> str:
        """How people call it; also the name of its log."""
        ...

    @property
    def ready_timeout_s(self) -> float:
        """Longest time from start to ready."""
        ...

    def command(self) -> Sequence[str]:
        """The words to run."""
        ...

    def environment(self) -> Mapping[str, str]:
        """What to add to our environment."""
        ...

    def prepare(self) -> None:
        """Called before every start."""
        ...

    def ready(self, process: ChildProcess) -> bool:
        """Look once, quickly, whether the process does its work. Raises LaunchError when it never will."""
        ...


class ServiceState(StrEnum):
    """Where one service stands."""

    STARTING = "STARTING"
    READY = "READY"
    WAITING = "WAITING"
    """Died, and is waiting to be started again."""
    STOPPED = "STOPPED"


class BackOff:
    """How long to wait before the next start: doubling, so that a service which cannot start does no harm."""

    FIRST_S = 1.0
    LONGEST_S = 30.0
    FORGIVEN_AFTER_S = 60.0
    """A service that was ready for this long begins anew."""

    def __init__(self) -> None:
        self._next_s = self.FIRST_S

    def delay_s(self, was_ready_for_s: float) -> float:
        """The wait after a death."""
        if was_ready_for_s >= self.FORGIVEN_AFTER_S:
            self._next_s = self.FIRST_S
        delay = self._next_s
        self._next_s = min(2 * delay, self.LONGEST_S)
        return delay


class Supervised:
    """One service and what has become of it."""

    def __init__(self, service: Service, process: ChildProcess) -> None:
        self.service = service
        self.process = process
        self.state = ServiceState.STARTING
        self.restarts = 0
        self.message = ""
        """Why it is not READY."""
        self.back_off = BackOff()
        self.since = monotonic()
        """When it came into this state."""
        self.start_again_at = 0.0

    def enter(self, state: ServiceState, message: str = "") -> None:
        """Change the state."""
        self.state, self.message, self.since = state, message, monotonic()


Listener = Callable[[str], None]
"""Is told, one sentence at a time, what happens."""


class Supervisor:
    """Owns the processes of one launch. Everything happens in the thread that calls; call `stop` at the end, always."""

    def __init__(self, launch: Launch, logs: Path, interruption: Interruption, listener: Listener) -> None:
        self.services: list[Supervised] = []
        self._launch = launch
        self._logs = logs
        self._interruption = interruption
        self._listener = listener

    def start(self, services: Sequence[Service]) -> None:
        """Start all of them at once, then wait until each is ready. The first that fails is a LaunchError."""
        begun = [self._begin(service) for service in services]
        for supervised in begun:
            self._await_ready(supervised)

    def watch(self) -> None:
        """One look at every service: notes who died, starts again who has waited long enough, notes who is ready."""
        for supervised in self.services:
            self._interruption.check()
            if supervised.state is ServiceState.WAITING:
                if monotonic() >= supervised.start_again_at:
                    self._start_again(supervised)
            elif supervised.process.exit_status is not None:
                self._note_death(supervised)
            elif supervised.state is ServiceState.STARTING:
                self._look_whether_ready(supervised)

    def check_alive(self) -> None:
        """For those who do not restart: a service that has died is a LaunchError."""
        for supervised in self.services:
            if supervised.process.exit_status is not None:
                raise self._death(supervised, "keep running")

    def stop(self) -> None:
        """Stop all in reverse order. A second Ctrl-C meanwhile ends the patience."""
        for supervised in reversed(self.services):
            supervised.process.stop(PATIENCE_S, in_a_hurry=lambda: self._interruption.count > 1)
            supervised.enter(ServiceState.STOPPED)

    def _begin(self, service: Service) -> Supervised:
        self._interruption.check()
        supervised = Supervised(service, self._run(service))
        self.services.append(supervised)
        return supervised

    def _run(self, service: Service) -> ChildProcess:
        service.prepare()
        log = self._logs / f"{service.name.replace('/', '-')}.log"
        return ChildProcess(self._launch, service.name, service.command(), service.environment(), log)

    def _await_ready(self, supervised: Supervised) -> None:
        service, process = supervised.service, supervised.process

        def over() -> bool:
            # Looked at first: a process that has died must not count as ready because of what it left behind.
            return process.exit_status is not None or service.ready(process)

        came = self._interruption.wait_until(over, service.ready_timeout_s)
        if process.exit_status is not None:
            raise self._death(supervised, "start")
        if not came:
            raise LaunchError(
                f"start {service.name}",
                answer=f"not ready after {service.ready_timeout_s:.0f} s; {_last_words(process)}",
            )
        supervised.enter(ServiceState.READY)
        self._listener(f"{service.name} is ready")

    def _death(self, supervised: Supervised, asked: str) -> LaunchError:
        process = supervised.process
        return LaunchError(
            f"{asked} {supervised.service.name}",
            answer=f"it {process.how_it_ended()}; {_last_words(process)}",
        )

    def _note_death(self, supervised: Supervised) -> None:
        process = supervised.process
        ready_for_s = monotonic() - supervised.since if supervised.state is ServiceState.READY else 0.0
        self._wait_and_start_again(supervised, ready_for_s, f"{process.how_it_ended()}: {process.last_words()}")

    def _wait_and_start_again(self, supervised: Supervised, ready_for_s: float, reason: str) -> None:
        delay_s = supervised.back_off.delay_s(ready_for_s)
        supervised.start_again_at = monotonic() + delay_s
        supervised.enter(ServiceState.WAITING, reason)
        self._listener(f"{supervised.service.name} {reason}; starting it again in {delay_s:.0f} s")

    def _start_again(self, supervised: Supervised) -> None:
        supervised.restarts += 1
        try:
            supervised.process = self._run(supervised.service)
        except LaunchError as error:
            self._wait_and_start_again(supervised, 0.0, str(error))
        else:
            supervised.enter(ServiceState.STARTING)

    def _look_whether_ready(self, supervised: Supervised) -> None:
        service = supervised.service
        if service.ready(supervised.process):
            supervised.enter(ServiceState.READY)
            self._listener(f"{service.name} is ready again")
        elif monotonic() - supervised.since > service.ready_timeout_s:
            supervised.process.stop()
            self._wait_and_start_again(supervised, 0.0, f"was not ready within {service.ready_timeout_s:.0f} s")


def _last_words(process: ChildProcess) -> str:
    return f"its last words: {process.last_words()} (all of them: {process.log})"
