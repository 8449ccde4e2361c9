"""The writer processes of a receiver: started once, for one run after the other, and replaced when they have died."""

from __future__ import annotations

import time
from collections.abc import Sequence

from maxdaq_tango.errors import PipelineError
from maxdaq_tango.pipeline.unkillable import reap
from maxdaq_tango.pipeline.writers import Writer

START_S = 3.0
"""How long a run waits for fresh processes; those that need longer find their frames when they are up."""


class WriterCrew:
    """The writer processes of a receiver."""

    def __init__(self) -> None:
        self._writers: list[Writer] = []

    def ready(self, count: int) -> Sequence[Writer]:
        """So many of them, fresh ones for those that died; none for less than two. PipelineError, and none is left."""
        if count < 2:
            count = 0
        reap()
        try:
            for number, writer in enumerate(self._writers):
                if not writer.is_alive:
                    writer.end()
                    self._writers[number] = Writer(number + 1)
            while len(self._writers) < count:
                self._writers.append(Writer(len(self._writers) + 1))
            deadline = time.monotonic() + START_S
            for writer in self._writers[:count]:
                writer.wait_ready(deadline)
        except PipelineError:
            self.close()
            raise
        for writer in self._writers[count:]:
            writer.shrink()
        return tuple(self._writers[:count])

    def close(self) -> None:
        """All end at the same time."""
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.hang_up()
        for writer in writers:
            writer.end()
