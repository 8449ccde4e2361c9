"""The owner's side: starts an engine process, talks to it, notices when it dies.

A `StreamReceiver` device owns one `EngineClient` for its life. If the engine dies, `on_told` hears FAULT with the
reason, and the next `prepare` starts a fresh one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any

import msgspec

from maxdaq_tango.engine.counters import CountersMemory, create_counters_file
from maxdaq_tango.engine.last_words import receipt_of_the_dead
from maxdaq_tango.engine.protocol import Answer, Ask, Told, Verb
from maxdaq_tango.errors import EngineError, MaxdaqError
from maxdaq_tango.model import BUSY_STATES, AcquisitionState, Counters, Receipt, RunRequest

log = logging.getLogger(__name__)

START_TIMEOUT_S = 20.0
"""A cold start imports numpy and HDF5 from a slow disk."""
ANSWER_TIMEOUT_S = 5.0
END_TIMEOUT_S = 15.0


class EngineClient:
    """One engine process and the conversation with it. Thread-safe; callbacks come from the reader thread."""

    def __init__(self, name: str = "engine", on_told: Callable[[Told], None] | None = None) -> None:
        self.name = name
        self._on_told = on_told or (lambda told: None)
        self._condition = threading.Condition()  # guards everything below but the process and its memory
        self._told = Told(state=AcquisitionState.IDLE)
        self._last_receipt: Receipt | None = None
        self._answers: dict[int, Future[Answer]] = {}
        self._next_id = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._counters: CountersMemory | None = None
        self._reader: threading.Thread | None = None
        self._closing = False
        self._request: RunRequest | None = None
        """Of the present or last run: what is known of it when the engine dies."""
        self._start_lock = threading.Lock()

    # -- what can be looked at ---------------------------------------------------------------------------------------

    @property
    def state(self) -> AcquisitionState:
        """State of the present or the last run."""
        return self._told.state

    @property
    def message(self) -> str:
        """One sentence for Status."""
        return self._told.message

    @property
    def decisions(self) -> dict[str, str]:
        """What the engine decided by itself in the present or last run, and why."""
        return self._told.decisions

    @property
    def last_receipt(self) -> Receipt | None:
        """Account of the last finished run."""
        return self._last_receipt

    @property
    def is_alive(self) -> bool:
        """The process runs."""
        process = self._process
        return process is not None and process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of the engine."""
        return self._process.pid if self._process else None

    def counters(self) -> Counters:
        """The live account, from shared memory; zeros before the first start."""
        memory = self._counters
        return memory.read() if memory is not None else Counters()

    # -- what can be asked -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process unless it runs; EngineError when it does not come up."""
        with self._start_lock:
            if not self.is_alive:
                self._clean_up()
                self._spawn()

    def prepare(self, request: RunRequest, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """File made and sockets connected when this returns; else the engine's error, and nothing is left.

        After a time-out that is so as soon as the engine answers again: an abort waits for it behind the request.
        """
        self.start()
        self._request = request
        wait = timeout_s + request.connect_timeout_s
        try:
            self._ask(Verb.PREPARE, msgspec.to_builtins(request), wait)
        except EngineError:
            with contextlib.suppress(EngineError):
                self._send(Verb.ABORT, {"reason": "the request to prepare was given up"})
            raise

    def expect(self, series: str | None, frames: int | None, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """Tell what the armed detector said it will send."""
        self._ask(Verb.EXPECT, {"series": series, "frames": frames}, timeout_s)

    def stop(self, timeout_s: float = ANSWER_TIMEOUT_S, *, finished: str = "") -> None:
        """The source was told to stop, or ended untold (the reason in `finished`): the run closes when the rest has
        come. Harmless when no run is on."""
        if self.is_alive:
            self._ask(Verb.STOP, {"finished": finished}, timeout_s)

    def abort(self, reason: str, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """Close the run now. Harmless when none is on."""
        if self.is_alive:
            self._ask(Verb.ABORT, {"reason": reason}, timeout_s)

    def reset(self) -> None:
        """Leave FAULT; with a dead engine only our own memory of it is cleared."""
        if self.is_alive:
            self._ask(Verb.RESET, {}, ANSWER_TIMEOUT_S)
        if self.state is AcquisitionState.FAULT:  # a dead engine's; a fresh one has nothing to tell about it
            self._hear(Told(state=AcquisitionState.IDLE))

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait for the end of the run (IDLE or FAULT); False when it is still on after the time-out."""
        with self._condition:
            return self._condition.wait_for(lambda: self._told.state not in BUSY_STATES, timeout_s)

    def kill(self) -> None:
        """End the process at once (the expert's way out of a hang); its death is told like any other."""
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Let the present run end in order, then end the process. May be called twice."""
        with self._start_lock:
            self._closing = True
            if self.is_alive:
                with contextlib.suppress(MaxdaqError):
                    self._ask(Verb.SHUTDOWN, {}, ANSWER_TIMEOUT_S)
            self._clean_up()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        counters_fd = create_counters_file()
        command = [
            sys.executable, "-m", "maxdaq_tango.engine", "--control-fd", str(theirs.fileno()),
            "--counters-fd", str(counters_fd), "--name", self.name,
        ]  # fmt: skip
        try:
            self._process = subprocess.Popen(
                command,
                pass_fds=(theirs.fileno(), counters_fd),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            self._counters = CountersMemory(counters_fd)
        except OSError as error:
            ours.close()
            raise EngineError("start the engine", of=" ".join(command), answer=str(error)) from error
        finally:
            theirs.close()
            os.close(counters_fd)
        self._control = ours
        self._closing = False
        self._reader = threading.Thread(
            target=self._read, args=(ours, self._process), name=f"engine reader {self.name}", daemon=True
        )
        self._reader.start()
        self._ask(Verb.RESET, {}, START_TIMEOUT_S)  # the first answer proves that it is up

    def _send(self, verb: Verb, arguments: dict[str, Any]) -> tuple[int, Future[Answer]]:
        future: Future[Answer] = Future()
        control = self._control
        if control is None:
            raise EngineError(f"ask the engine to {verb}", of=self.name, answer="it is not running")
        with self._condition:
            self._next_id += 1
            ask = Ask(id=self._next_id, verb=verb, arguments=arguments)
            self._answers[ask.id] = future
            try:
                control.sendall(msgspec.json.encode(ask) + b"\n")
            except OSError as error:
                del self._answers[ask.id]
                raise EngineError(f"ask the engine to {verb}", of=self.name, answer=str(error)) from error
        return ask.id, future

    def _ask(self, verb: Verb, arguments: dict[str, Any], timeout_s: float) -> None:
        number, future = self._send(verb, arguments)
        try:
            answer = future.result(timeout_s)
        except TimeoutError:
            raise EngineError(
                f"ask the engine to {verb}", of=f"{self.name} (pid {self.pid})", answer=f"no answer in {timeout_s:g} s"
            ) from None
        finally:
            with self._condition:
                self._answers.pop(number, None)
        if answer.error is not None:
            raise answer.error.to_error()

    def _read(self, control: socket.socket, process: subprocess.Popen[bytes]) -> None:
        decoder = msgspec.json.Decoder(Answer | Told)
        nonsense = ""
        with contextlib.suppress(OSError), control.makefile("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):  # it died in the middle of a word
                    break
                try:
                    message = decoder.decode(line)
                except (msgspec.DecodeError, UnicodeError) as error:
                    nonsense = f"said what cannot be understood ({error}): {line[:80]!r}"
                    log.error("%s: the engine %s", self.name, nonsense)
                    process.kill()  # nobody can know what it means by the next line
                    break
                if isinstance(message, Answer):
                    with self._condition:
                        future = self._answers.pop(message.id, None)
                    if future is not None:
                        with contextlib.suppress(InvalidStateError):  # its asker has given up
                            future.set_result(message)
                else:
                    self._hear(message)
        self._bury(process, nonsense)

    def _hear(self, told: Told) -> None:
        with self._condition:
            self._told = told
            if told.receipt is not None:
                self._last_receipt = told.receipt
            self._condition.notify_all()
        try:
            self._on_told(told)
        except Exception:  # this thread must go on: whoever waits for an answer waits for it
            log.exception("%s: while telling of %s", self.name, told.state)

    def _bury(self, process: subprocess.Popen[bytes], nonsense: str = "") -> None:
        """The conversation is over: nobody may wait for an answer any more, and an unasked death is a fault."""
        try:
            code: int | None = process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        ended = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"
        how = nonsense or ended
        error = EngineError("wait for the engine", of=f"{self.name} (pid {process.pid})", answer=f"it {how}")
        with self._condition:
            futures, self._answers = list(self._answers.values()), {}
        for future in futures:
            with contextlib.suppress(InvalidStateError):
                future.set_exception(error)
        if not self._closing:
            message, receipt, run_id = f"the receiver engine {how}", None, ""
            if self.state in BUSY_STATES and self._request is not None:
                run_id = self._told.run_id
                receipt = receipt_of_the_dead(self._request, self.counters(), message, self.decisions)
            self._hear(Told(state=AcquisitionState.FAULT, run_id=run_id, message=message, receipt=receipt))

    def _clean_up(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            with contextlib.suppress(OSError):
                control.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + END_TIMEOUT_S
        process = self._process
        if process is not None:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join()
            self._reader = None
        if control is not None:
            control.close()
        self._counters = None
        self._process = None
