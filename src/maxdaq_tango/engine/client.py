"""The owner's side: starts an engine process, talks to it, notices when it dies.

A `StreamReceiver` device owns one `EngineClient` for its life. If the engine dies, `on_told` hears FAULT with the
reason, and the next `prepare` starts a fresh one. So it is with one that hangs, also in a file system that does not
answer, where nothing can kill it: then it is set aside (`pipeline/unkillable.py`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
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
from maxdaq_tango.engine.environment import engine_environment
from maxdaq_tango.engine.last_words import receipt_of_the_dead
from maxdaq_tango.engine.preview_memory import Previews, create_preview_file
from maxdaq_tango.engine.protocol import Answer, Ask, Told, Verb
from maxdaq_tango.errors import EngineError, MaxdaqError
from maxdaq_tango.model import BUSY_STATES, AcquisitionState, Counters, Receipt, RunRequest, ScanMaster
from maxdaq_tango.pipeline.blackbox import BlackBox, create_blackbox_file
from maxdaq_tango.pipeline.noting import keep
from maxdaq_tango.pipeline.unkillable import end_within, is_set_aside, reap

log = logging.getLogger(__name__)

START_TIMEOUT_S = 20.0
"""A cold start imports numpy and HDF5 from a slow disk."""
ANSWER_TIMEOUT_S = 5.0
END_TIMEOUT_S = 15.0
KILL_TIMEOUT_S = 5.0
"""The system buries a process at once, unless that waits for a file system."""
HANG_S = 60.0
"""Whoever owes an answer, or the end of a run that was aborted, and gives no sign of life for so long is killed."""
CLOSING = 10
"""Times as long for a file that is being closed, which gives none; what a kill leaves of it can be recovered."""
SILENT_S = 5.0
"""A run that is on changes its counters ten times a second; while a write does not return, it does not."""
LOOK_S = 0.5
READ_BYTES = 1 << 16


class EngineClient:
    """One engine process and the conversation with it. Thread-safe; callbacks come from the reader thread."""

    def __init__(
        self,
        name: str = "engine",
        on_told: Callable[[Told], None] | None = None,
        *,
        hang_s: float = HANG_S,
        kill_s: float = KILL_TIMEOUT_S,
    ) -> None:
        """`hang_s`: see HANG_S; `kill_s` is waited for the death of a process that was killed."""
        self.name = name
        self._hang_s, self._kill_s = hang_s, kill_s
        self._on_told = on_told or (lambda told: None)
        self._condition = threading.Condition()  # guards everything below but the process and its memory
        self._told = Told(state=AcquisitionState.IDLE)
        self._last_receipt: Receipt | None = None
        self._answers: dict[int, Future[Answer]] = {}
        self._next_id = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._counters: CountersMemory | None = None
        self._blackbox: BlackBox | None = None
        self.previews = Previews()
        self._reader: threading.Thread | None = None
        self._closing = False
        self._request: RunRequest | None = None
        """Of the present or last run: what is known of it when the engine dies."""
        self._deaf_since: float | None = None
        """An answer is owed since then, longer than its asker waited for it, and nothing else was heard."""
        self._aborted_at: float | None = None
        self._killed_at: float | None = None
        self._why_killed = ""
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
        """The process runs, and was not given up."""
        process = self._process
        return process is not None and process.poll() is None and not is_set_aside(process)

    @property
    def pid(self) -> int | None:
        """Process id of the engine."""
        return self._process.pid if self._process else None

    def counters(self) -> Counters:
        """The live account, from shared memory; zeros before the first start."""
        memory = self._counters
        return memory.read() if memory is not None else Counters()

    @property
    def silent_s(self) -> float:
        """How long a run that takes frames has given no sign of life, once that is SILENT_S; else 0. See its disk."""
        taking = (AcquisitionState.ARMED, AcquisitionState.ACQUIRING, AcquisitionState.DRAINING)
        updated_ns = self.counters().updated_ns
        if self.state not in taking or not updated_ns:
            return 0.0
        silent = (time.monotonic_ns() - updated_ns) / 1e9
        return silent if silent >= SILENT_S else 0.0

    # -- what can be asked -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the process unless it runs; EngineError when it does not come up."""
        with self._start_lock:
            reap()
            if not self.is_alive or self._killed_at is not None:
                self._clean_up()
                self._spawn()

    def prepare(self, request: RunRequest, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        """File made and sockets connected when this returns; else the engine's error, and nothing is left.

        After a time-out that is so as soon as the engine answers again: an abort waits for it behind the request.
        """
        self.start()
        self._request, self._aborted_at = request, None
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
        """Close the run now. Harmless when none is on. An engine that does not for HANG_S is killed."""
        if self.is_alive:
            self._aborted_at = self._aborted_at or time.monotonic()
            self._ask(Verb.ABORT, {"reason": reason}, timeout_s)

    def link(self, master: ScanMaster, roots: tuple[str, ...]) -> None:
        """Write the scan master, also when the last engine has died. FileError says what was in the way."""
        self.start()
        self._ask(Verb.LINK, {"master": msgspec.to_builtins(master), "roots": roots}, 2 * ANSWER_TIMEOUT_S)

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

    def kill(self, why: str = "") -> None:
        """End the process at once (the expert's way out of a hang); its death is told like any other.

        Where it does not die within KILL_TIMEOUT_S, FAULT is told all the same.
        """
        process = self._process
        if process is not None and process.poll() is None:
            self._killed_at, self._why_killed = self._killed_at or time.monotonic(), self._why_killed or why
            process.send_signal(signal.SIGKILL)

    def wait_gone(self, timeout_s: float) -> bool:
        """After `kill`: wait for its death, and until that was told. False when it is alive after the time-out."""
        if self._reader is not None:
            self._reader.join(timeout_s)
        return not self.is_alive

    def close(self) -> None:
        """Let the present run end in order, then end the process, or give it up. May be called twice."""
        with self._start_lock:
            self._closing = True
            if self.is_alive:
                with contextlib.suppress(MaxdaqError):
                    self._ask(Verb.SHUTDOWN, {}, ANSWER_TIMEOUT_S)
            self._clean_up()

    # -- inside ------------------------------------------------------------------------------------------------------

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        counters_fd, blackbox_fd, preview_fd = create_counters_file(), create_blackbox_file(), create_preview_file()
        handles = (counters_fd, blackbox_fd, preview_fd)
        command = [
            sys.executable, "-m", "maxdaq_tango.engine", "--control-fd", str(theirs.fileno()),
            "--counters-fd", str(counters_fd), "--blackbox-fd", str(blackbox_fd), "--preview-fd", str(preview_fd),
            "--name", self.name,
        ]  # fmt: skip
        try:
            self._process = subprocess.Popen(
                command,
                pass_fds=(theirs.fileno(), *handles),
                stdin=subprocess.DEVNULL,
                env=engine_environment(os.environ),
            )
            self._counters, self._blackbox = CountersMemory(counters_fd), BlackBox(blackbox_fd)
            self.previews.attach(preview_fd)
        except OSError as error:
            ours.close()
            raise EngineError("start the engine", of=" ".join(command), answer=str(error)) from error
        finally:
            theirs.close()
            for handle in handles:
                os.close(handle)
        self._control = ours
        self._closing = False
        self._deaf_since = self._aborted_at = self._killed_at = None
        self._why_killed = ""
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
        asked_at = time.monotonic()
        number, future = self._send(verb, arguments)
        try:
            answer = future.result(timeout_s)
        except TimeoutError:
            self._deaf_since = self._deaf_since or asked_at
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
        trouble, rest = "", b""
        poller = select.poll()
        poller.register(control, select.POLLIN)
        with contextlib.suppress(OSError):
            while not trouble:
                if not poller.poll(LOOK_S * 1000):
                    trouble = self._look_at(process)
                    continue
                data = control.recv(READ_BYTES)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    try:
                        self._take(decoder.decode(line))
                    except (msgspec.DecodeError, UnicodeError) as error:
                        trouble = f"said what cannot be understood ({error}): {line[:80]!r}"
                        log.error("%s: the engine %s", self.name, trouble)
                        process.kill()  # nobody can know what it means by the next line
                        break
        self._bury(process, trouble)

    def _take(self, message: Answer | Told) -> None:
        self._deaf_since = None
        if isinstance(message, Told):
            self._hear(message)
            return
        with self._condition:
            future = self._answers.pop(message.id, None)
        if future is not None:
            with contextlib.suppress(InvalidStateError):  # its asker has given up
                future.set_result(message)

    def _look_at(self, process: subprocess.Popen[bytes]) -> str:
        """Nothing was heard for a moment. Why the engine is given up, or "" while there is hope."""
        reap()
        now = time.monotonic()
        if self._killed_at is not None:
            return "was killed" if now - self._killed_at >= self._kill_s else ""
        silent_s = 0.0 if self._deaf_since is None else now - self._deaf_since
        if self._aborted_at is not None and self.state in BUSY_STATES:
            since = max(self._aborted_at, self.counters().updated_ns / 1e9)
            silent_s = max(silent_s, (now - since) / (CLOSING if self.state is AcquisitionState.FINALISING else 1))
        if silent_s >= self._hang_s:
            self._why_killed = f"gave no sign of life for {self._hang_s:g} s and was killed"
            log.error("%s: the engine (process %d) %s", self.name, process.pid, self._why_killed)
            self.kill()
        return ""

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

    def _bury(self, process: subprocess.Popen[bytes], trouble: str = "") -> None:
        """The conversation is over: nobody may wait for an answer any more, and an unasked death is a fault."""
        code = end_within(process, END_TIMEOUT_S if self._killed_at is None else 0.0, self._kill_s)
        if code is None:
            how = self._why_killed or trouble or "was killed"
            how += " and does not die: a file system may not answer it"
        else:
            ended = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
            how = self._why_killed or trouble or ended
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
                look = code is not None  # a file system that hangs would make this thread hang as well
                receipt = receipt_of_the_dead(self._request, self.counters(), message, self.decisions, look=look)
                # What the dead engine had noted goes beside the file that it has left.
                if look and self._blackbox is not None and (problem := keep(self._blackbox, receipt)):
                    log.warning("%s: %s", self.name, problem)
            self._hear(Told(state=AcquisitionState.FAULT, run_id=run_id, message=message, receipt=receipt))

    def _clean_up(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            with contextlib.suppress(OSError):
                control.shutdown(socket.SHUT_WR)
        process = self._process
        if process is not None and not is_set_aside(process):
            end_within(process, END_TIMEOUT_S if self._killed_at is None else 0.0, self._kill_s)
        if process is not None and is_set_aside(process) and control is not None:
            with contextlib.suppress(OSError):
                control.shutdown(socket.SHUT_RDWR)  # the reader would wait for one that cannot speak any more
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join()
            self._reader = None
        if control is not None:
            control.close()
        self._counters = self._blackbox = None
        self.previews.detach()
        self._process = None
