"""Our receiver as a contestant: the engine process of a StreamReceiver with the settings of `maxdaq receive`."""

from __future__ import annotations

import os
import time

from maxdaq_tango.bench.inbox import Inbox
from maxdaq_tango.bench.plan import Extra
from maxdaq_tango.bench.talk import Done, Expect, Failed, Prepare, Ready
from maxdaq_tango.engine.client import EngineClient
from maxdaq_tango.engine.protocol import Told
from maxdaq_tango.errors import MaxdaqError
from maxdaq_tango.model import AcquisitionState, Compression, RunRequest, StreamFormat

START_TIMEOUT_S, STALL_TIMEOUT_S = 60.0, 10.0


def make_request(endpoint: str, path: str, extra: Extra | None, image_nbytes: int) -> RunRequest:
    """What the engine is asked to do in one turn. The size of an image is known, as a detector device tells it."""
    return RunRequest(
        sources=(endpoint,),
        stream_format=StreamFormat.STINS,
        destination=path,
        roots=(os.path.dirname(path),) if path else (),
        frame_nbytes=image_nbytes,
        compression=Compression.BSLZ4 if extra is Extra.COMPRESS else Compression.NONE,
        start_timeout_s=START_TIMEOUT_S,
        stall_timeout_s=STALL_TIMEOUT_S,
    )


class Ours:
    """Owns one engine for all turns of a case."""

    def __init__(self, inbox: Inbox, extra: Extra | None, image_nbytes: int) -> None:
        self._inbox = inbox
        self._extra = extra
        self._image_nbytes = image_nbytes
        self._client = EngineClient("engine", self._hear)
        self._client.start()

    def serve(self) -> None:
        """Turn after turn. The end of the process ends the engine."""
        self._inbox.tell(Ready(self._client.pid or 0))
        while True:
            try:
                match self._inbox.next():
                    case Prepare() as asked:
                        self._prepare(asked)
                    case Expect(frames) if self._client.is_alive:
                        self._client.expect(None, frames)
                    case _:
                        pass
            except MaxdaqError as error:
                self._inbox.tell(Failed(str(error)))

    def _prepare(self, asked: Prepare) -> None:
        self._client.prepare(make_request(asked.endpoint, asked.path, self._extra, self._image_nbytes))
        self._inbox.tell(Ready(self._client.pid or 0))

    def _hear(self, told: Told) -> None:
        """In the client's reader thread."""
        ended = time.monotonic_ns()
        if told.state is AcquisitionState.FAULT:
            self._inbox.tell(Failed(told.message))
        elif told.receipt is not None:
            receipt = told.receipt
            self._inbox.tell(
                Done(
                    frames=receipt.frames_written if receipt.file else receipt.frames_received,
                    nbytes=receipt.bytes_written if receipt.file else 0,
                    ended_ns=ended,
                    verdict=receipt.verdict.value,
                    note="; ".join(receipt.reasons),
                )
            )
