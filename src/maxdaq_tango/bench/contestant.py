"""A contestant's process: `python -m maxdaq_tango.bench.contestant NAME DESCRIPTION FD EXTRA`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Protocol

import msgspec
import numpy as np

from maxdaq_tango.bench.inbox import Inbox
from maxdaq_tango.bench.payload import Payload
from maxdaq_tango.bench.plan import OUR_OWN, Contestant, Extra
from maxdaq_tango.bench.talk import Description, Done, Failed, Go, Prepare, Ready
from maxdaq_tango.errors import MaxdaqError


class Runner(Protocol):
    """A contestant that does its work in this process."""

    def prepare(self, asked: Prepare) -> None:
        """Get ready for a turn; nothing of it is measured."""

    def run(self, go: Go) -> Done:
        """Take the turn."""


def make_runner(contestant: Contestant, payload: Payload) -> Runner:
    """By name; the modules of the others are not even imported."""
    if contestant is Contestant.PLAIN:
        from maxdaq_tango.bench.plain import Plain

        return Plain(payload)
    from maxdaq_tango.bench import floors

    made: dict[Contestant, Callable[[Payload], Runner]] = {
        Contestant.PULL: floors.Pull,
        Contestant.WRITE: floors.Write,
        Contestant.PULL_WRITE: floors.PullWrite,
        Contestant.COMPRESSION: floors.Compression,
    }
    return made[contestant](payload)


def serve(inbox: Inbox, runner: Runner) -> None:
    """Turn after turn."""
    inbox.tell(Ready(os.getpid()))
    while True:
        try:
            match inbox.next():
                case Prepare() as asked:
                    runner.prepare(asked)
                    inbox.tell(Ready(os.getpid()))
                case Go() as go:
                    inbox.tell(runner.run(go))
                case _:
                    pass
        except (MaxdaqError, OSError) as error:
            inbox.tell(Failed(str(error)))


def main() -> None:
    """Entry point of the process."""
    inbox = Inbox()
    contestant, extra = Contestant(sys.argv[1]), Extra(sys.argv[4]) if sys.argv[4] else None
    description = msgspec.json.decode(sys.argv[2], type=Description)
    if contestant in OUR_OWN:
        from maxdaq_tango.bench.ours import Ours

        rows, columns = description.shape
        Ours(inbox, extra, rows * columns * np.dtype(description.dtype).itemsize).serve()
    else:
        serve(inbox, make_runner(contestant, Payload(description, int(sys.argv[3]))))


if __name__ == "__main__":
    main()
