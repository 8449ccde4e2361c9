"""A process that writes data files for an engine: `python -m maxdaq_tango.pipeline.writer_process`.

It has an HDF5 lock, an interpreter and slabs of its own, and one thread that does it all: frames out of shared memory,
checksums, columns, chunks, checkpoints. It lives as long as its engine: when the socket pair ends, what was handed over
is written, the files are closed as they are, and the process ends. Signals that a terminal or a supervisor sends to the
whole group are the engine's business, which then closes in order.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import select
import signal
import socket
import time

import numpy as np

from maxdaq_tango.errors import FileError, MaxdaqError, PipelineError
from maxdaq_tango.files import BlockSet, FrameTimes
from maxdaq_tango.pipeline.arena import mapped
from maxdaq_tango.pipeline.writer_protocol import (
    Answer,
    Begin,
    CloseAll,
    Done,
    Failed,
    Frames,
    FromWriter,
    GiveUp,
    Map,
    Ready,
    Settle,
    Splitter,
    StoredFrame,
    ToWriter,
    Trouble,
    encode,
)

IDLE_S = 0.25
READ_BYTES = 1 << 18
ACKNOWLEDGE_S = 0.02
"""So long at most an engine waits for room that is there already."""

log = logging.getLogger(__name__)


class WriterServer:
    """One thread, one engine, one series at a time."""

    def __init__(self, control: socket.socket, arena_handle: int) -> None:
        self._control = control
        self._arena_handle = arena_handle
        self._memory = memoryview(b"")
        self._blocks: BlockSet | None = None
        self._settled: BlockSet | None = None
        """The files are the engine's, who gives them their names, or gives them up where another writer failed."""
        self._failed = False

    def serve(self) -> None:
        """Until the engine is gone."""
        splitter, poller = Splitter(ToWriter), select.poll()
        poller.register(self._control, select.POLLIN)
        try:
            self._send(Ready())
            while True:
                if poller.poll(IDLE_S * 1000):
                    data = self._control.recv(READ_BYTES)
                    if not data:
                        break
                    for message in splitter.feed(data):
                        self._take(message)
                self._checkpoint()
        except OSError as error:
            log.warning("the engine is gone: %s", error)
        finally:
            self._give_up()

    # ---- inside ----

    def _take(self, message: ToWriter) -> None:
        if isinstance(message, Frames):
            self._write(message.frames)
        elif isinstance(message, Map):
            self._memory = memoryview(mapped(self._arena_handle, message.nbytes) if message.nbytes else b"")
        elif isinstance(message, Begin):
            self._give_up()
            self._settled, self._failed = None, False
            blocks = BlockSet(
                message.layout, message.index, message.count, spare=message.spare, on_progress=self._show_life
            )
            self._blocks = blocks
        else:
            self._answer(message)

    def _write(self, frames: list[StoredFrame]) -> None:
        blocks = self._blocks
        if self._failed or blocks is None:
            return
        done, slowest, told_at = 0, 0.0, time.monotonic()
        trouble: Trouble | None = None
        for frame in frames:
            before = time.monotonic()
            try:
                blobs = [self._memory[offset : offset + length] for offset, length in frame.places]
                blocks.write(frame.row, frame.number, blobs, FrameTimes(*frame.times), frame.extras)
            except Exception as error:  # the engine must hear of a bug, not wait for ever
                trouble = _told(error)
                break
            done += 1
            now = time.monotonic()
            slowest = max(slowest, now - before)
            if now - told_at >= ACKNOWLEDGE_S:
                self._done(blocks, done, slowest)
                done, slowest, told_at = 0, 0.0, now
        if done:
            self._done(blocks, done, slowest)
        if trouble is not None:
            self._fail(trouble)

    def _answer(self, message: CloseAll | Settle | GiveUp) -> None:
        blocks, trouble = self._blocks, None
        if isinstance(message, GiveUp):
            blocks, self._blocks, self._settled = blocks or self._settled, None, None
        if blocks is not None:
            try:
                if isinstance(message, CloseAll):
                    blocks.close_all(message.block_count, message.elsewhere)
                elif isinstance(message, Settle):
                    blocks.settle(np.frombuffer(message.valid, np.bool_), message.first)
                else:
                    blocks.give_up()
            except Exception as error:  # as above
                trouble = _told(error)
        if isinstance(message, Settle) and trouble is None:
            self._settled, self._blocks = blocks, None
        if blocks is None:
            self._send(Answer(trouble, 0, 0))
            return
        counts = (blocks.bytes_written, blocks.lost_texts, blocks.frames_safe)
        self._send(Answer(trouble, *counts, tuple(blocks.spilled)))

    def _checkpoint(self) -> None:
        blocks = self._blocks
        if blocks is None or self._failed:
            return
        before = blocks.frames_safe
        try:
            blocks.checkpoint_if_due(time.monotonic())
        except Exception as error:  # as above
            self._fail(_told(error))
            return
        if blocks.frames_safe != before:
            self._done(blocks, 0, 0.0)

    def _fail(self, trouble: Trouble) -> None:
        log.error("%s: %s", trouble.asked, trouble.answer)
        self._failed = True
        self._send(Failed(trouble))

    def _give_up(self) -> None:
        blocks, self._blocks = self._blocks, None
        if blocks is not None:
            try:
                blocks.give_up()
            except FileError as error:
                log.warning("%s", error)

    def _show_life(self) -> None:
        if self._blocks is not None:
            self._done(self._blocks, 0, 0.0)

    def _done(self, blocks: BlockSet, frames: int, slowest_s: float) -> None:
        counts = (blocks.bytes_written, int(slowest_s * 1e6), blocks.frames_safe)
        self._send(Done(frames, *counts, tuple(blocks.spilled), blocks.why_spilled, blocks.is_spilling))

    def _send(self, message: FromWriter) -> None:
        with contextlib.suppress(OSError):  # the engine is gone: what it has handed over is written first
            self._control.sendall(encode(message))


def _told(error: Exception) -> Trouble:
    if isinstance(error, MaxdaqError):
        return Trouble.of_error(error)
    log.error("internal error", exc_info=error)
    answer = f"internal error, please report it: {type(error).__name__}: {error}"
    return Trouble.of_error(PipelineError("write frames", answer=answer))


def main() -> None:
    """Entry point of the process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parser = argparse.ArgumentParser(prog="python -m maxdaq_tango.pipeline.writer_process")
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--arena-fd", type=int, required=True)
    parser.add_argument("--name", default="writer")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {arguments.name} %(levelname)s %(message)s")
    WriterServer(socket.socket(fileno=arguments.control_fd), arguments.arena_fd).serve()


if __name__ == "__main__":
    main()
