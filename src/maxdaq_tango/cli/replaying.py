"""The sending half of `maxdaq replay`."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import msgspec
import zmq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from maxdaq_tango.curve import Doorman, guard
from maxdaq_tango.errors import ConfigurationError, WireError
from maxdaq_tango.model import Buffer, Frame, SeriesEnd, SeriesStart
from maxdaq_tango.wire import decoder_for
from maxdaq_tango.wire.capture import read_capture
from maxdaq_tango.wire.renumber import Renumberer, format_of


class Sent(msgspec.Struct, frozen=True):
    """What a replay sent."""

    endpoint: str
    series: int = 0
    frames: int = 0
    messages: int = 0
    bytes: int = 0
    seconds: float = 0.0
    """From the first message a receiver took to the last."""
    taken: bool = False
    """The receiver took everything; False = the time for that was over before, and what was left is gone."""


class Player:
    """A bound PUSH socket, with a `key_file` one that speaks CURVE. Use as a context manager."""

    def __init__(self, bind: str, key_file: str = "") -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._pause = threading.Event()
        self._doorman: Doorman | None = None
        try:
            self._doorman = guard(self._context, self._socket, key_file)
            self._socket.bind(bind)
        except ConfigurationError:
            self._leave()
            raise
        except zmq.ZMQError as error:
            self._leave()
            raise ConfigurationError(f"listen on {bind!r}", answer=str(error), accepted="tcp://HOST:PORT") from None
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def __enter__(self) -> Player:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._doorman is not None:
            self._doorman.stop()
            self._doorman = None
        self._context.destroy(0)

    def play(
        self, capture: Path, *, repeat: int, rate_hz: float, loop_frames: int, add_end: bool, console: Console
    ) -> Sent:
        """Send the capture; waits for a receiver, and for as long as the receiver is slow."""
        recorded = list(read_capture(capture))
        if not recorded:
            raise WireError("replay a capture", of=str(capture), answer="it holds no message", accepted="a recording")
        format = format_of(recorded[0])
        decoder = decoder_for(format)
        events = [decoder.decode(parts) for parts in recorded]
        start = next((event for event in events if isinstance(event, SeriesStart)), None)
        if start is None:
            raise WireError("replay a capture", of=str(capture), answer="it holds no start message")
        needs_end = add_end and not any(isinstance(event, SeriesEnd) for event in events)
        renumberer = Renumberer(format)
        in_series = loop_frames or sum(isinstance(event, Frame) for event in events)
        messages = frames = nbytes = 0
        began: float | None = None
        with Progress(
            TextColumn("replay"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        ) as progress:  # fmt: skip
            task = progress.add_task("replay", total=in_series * repeat)
            for turn in range(repeat):
                for index, frame_number in _order(events, loop_frames):
                    parts = renumberer.next(recorded[index], series_shift=turn, frame_number=frame_number)
                    if isinstance(events[index], Frame):
                        if rate_hz and began is not None:
                            self._wait_until(began + frames / rate_hz)
                        frames += 1
                    self._socket.send_multipart(parts, copy=False)
                    began = time.monotonic() if began is None else began
                    messages, nbytes = messages + 1, nbytes + _size(parts)
                    if frames % 64 == 0:
                        progress.update(task, completed=frames)
                if needs_end:
                    parts = renumberer.end(start, turn)
                    self._socket.send_multipart(parts)
                    messages, nbytes = messages + 1, nbytes + _size(parts)
        return Sent(self.endpoint, repeat, frames, messages, nbytes, time.monotonic() - (began or time.monotonic()))

    def finish(self, sent: Sent, linger_s: float) -> Sent:
        """Wait until the receiver has taken everything, `linger_s` at most."""
        before = time.monotonic()
        self._socket.close(linger=int(linger_s * 1000))
        if self._doorman is not None:
            self._doorman.stop()  # its socket is the context's too
            self._doorman = None
        self._context.term()
        took_s = time.monotonic() - before
        # ZeroMQ drops the rest without a word when the linger time is over; the clock is the only witness.
        return msgspec.structs.replace(sent, seconds=sent.seconds + took_s, taken=took_s < linger_s)

    def _wait_until(self, moment: float) -> None:
        wait = moment - time.monotonic()
        if wait > 0:
            self._pause.wait(wait)


def _order(events: Sequence[object], loop_frames: int) -> Iterator[tuple[int, int | None]]:
    """(index of the message, its frame number or None = as recorded), in the order of sending."""
    if not loop_frames:
        yield from ((index, None) for index in range(len(events)))
        return
    images = [index for index, event in enumerate(events) if isinstance(event, Frame)]
    if not images:
        raise WireError("loop over the frames of a capture", answer="it holds no frame", accepted="--loop-frames 0")
    yield from ((index, None) for index in range(images[0]))
    yield from ((index, number) for number, index in zip(range(loop_frames), itertools.cycle(images), strict=False))
    yield from ((index, None) for index in range(images[-1] + 1, len(events)))


def _size(parts: Sequence[Buffer]) -> int:
    return sum(len(part) for part in parts)
