"""Where the threads of a run may run: on which cores, and how many of them are ZeroMQ's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import zmq

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import Pinned
from maxdaq_tango.pipeline.pool import usable_cores
from maxdaq_tango.pipeline.sources import MOST_SOCKETS

Context = zmq.Context[zmq.Socket[bytes]]


@contextlib.contextmanager
def on_cores(cores: tuple[int, ...]) -> Iterator[None]:
    """Threads that are started inside stay on these cores, and so does whatever they start; () = where they may.

    ConfigurationError when one of them is not there, or the process may not use it.
    """
    before = os.sched_getaffinity(0)
    if strangers := set(cores) - before:
        raise ConfigurationError(
            f"take frames on cores {sorted(cores)}",
            answer=f"this process may not use {sorted(strangers)}",
            accepted=f"some of {sorted(before)}, or none to leave it to the system",
        )
    if cores:
        os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        if cores:
            os.sched_setaffinity(0, before)


class IoThreads:
    """ZeroMQ's context of a receiver: made anew where a run asks for other threads than the last one."""

    def __init__(self) -> None:
        self._context: Context | None = None
        self._made_for: tuple[int, frozenset[int]] = (0, frozenset())

    def context(self, pinned: Pinned) -> Context:
        """For the next run, inside of `on_cores`. No socket of an earlier one is open any more.

        Each thread copies for the connections that were given to it; one that has none costs nothing.
        """
        count = pinned.io_threads or max(1, min(MOST_SOCKETS, usable_cores() // 2))
        wanted = count, frozenset(os.sched_getaffinity(0))
        if self._context is None or wanted != self._made_for:
            self.close()
            self._context, self._made_for = zmq.Context(count), wanted
        return self._context

    @property
    def decision(self) -> str:
        """How many there are, and where."""
        count, cores = self._made_for
        return f"{count}, on {len(cores)} cores"

    def close(self) -> None:
        """Harmless twice."""
        context, self._context = self._context, None
        if context is not None:
            context.term()
