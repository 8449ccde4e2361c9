"""Speaks to camserver: one thread owns the socket, sends what is asked one after the other, and hears what comes.

Answers and events come on the same line. 7 (exposure finished) and 13 (killed) answer nothing; everything else answers
what was asked last. While camserver exposes nothing is sent but the stop sequence: the original server looks for the
letter k in whatever comes in, and stops when it finds one.

An answer that does not come in time makes every later one doubtful, so the connection is given up then. So is one that
is not in control, as that never changes: camserver gives control to a client when it calls, if nobody has it.

Source: see `protocol.py`.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Collection

from maxdaq_tango.detectors.pilatus import protocol
from maxdaq_tango.detectors.pilatus.protocol import Code, Reply, ReplyReader
from maxdaq_tango.detectors.pilatus.request import Request, Stage
from maxdaq_tango.errors import DetectorOffline, DetectorRefused, DetectorTimeout, WireError

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 3.0
KEEP_ALIVE = {
    socket.TCP_KEEPIDLE: 10,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 4,
}
"""A computer that dies without a word is noticed after 10 + 4 x 5 s: nothing is sent while it exposes, perhaps for
days, so the kernel has to ask."""
KILL_S = 3.0
"""From the stop sequence to the word that the exposure has ended; ADPilatus waits 2 s, MAX IV's own device 3 s."""
JOIN_S = 5.0
STOP_SEQUENCES = {2: ("K",), 3: ("camcmd k", "K")}
"""By generation."""


_WITHOUT_A_WORD = Reply(Code.EXPOSURE_FINISHED, False, "it has ended without a word")


class CamserverClient:
    """One connection at a time. Raises `DetectorRefused`, `DetectorTimeout` and `DetectorOffline`, nothing else.

    Any thread may call; requests wait for each other.
    """

    def __init__(self, host: str, port: int = protocol.DEFAULT_PORT) -> None:
        """Nothing is sent before `connect`."""
        self.host, self.port = host, port
        self.address = f"{host}:{port}"
        self._turn = threading.Lock()  # one request at a time
        self._changed = threading.Condition()  # guards everything below
        self._stage = Stage.OFFLINE
        self._why_offline = "not connected"
        self._current: Request | None = None
        self._stop_lines: list[str] = []
        self._kills = 0
        self._killed = False
        self._kill_word: Reply | None = None
        self._finished: Reply | None = None
        self._closing = False
        self._no_control: DetectorRefused | None = None
        """What was answered to a client that is not in control; it hangs up."""
        self._wake: socket.socket | None = None
        self._thread: threading.Thread | None = None

    # --- connection ---------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Connect; whether this client is in control shows with the first thing it sets. May be called again."""
        self.close()
        try:
            line = socket.create_connection((self.host, self.port), CONNECT_TIMEOUT_S)
        except OSError as error:
            raise DetectorOffline(
                "connect to camserver", of=self.address, answer=str(error), accepted="a camserver that runs there"
            ) from error
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEP_ALIVE.items():
            line.setsockopt(socket.IPPROTO_TCP, option, value)
        wake, woken = socket.socketpair()
        for end in (wake, woken):
            end.setblocking(False)
        with self._changed:
            self._stage, self._why_offline = Stage.IDLE, ""
            self._current, self._finished, self._killed, self._closing = None, None, False, False
            self._stop_lines, self._no_control = [], None
            self._wake = wake
        self._thread = threading.Thread(target=self._run, args=(line, woken), name=f"camserver {self.address}")
        self._thread.start()

    def close(self) -> None:
        """Hang up, and with it give up control; whoever waits gets `DetectorOffline`. May be called twice."""
        with self._changed:
            self._closing = True
            self._poke()
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(JOIN_S)

    @property
    def stage(self) -> Stage:
        """What camserver is doing."""
        return self._stage

    @property
    def why_offline(self) -> str:
        """Why there is no connection; "" while there is one."""
        return self._why_offline

    @property
    def is_exposing(self) -> bool:
        """From the start command to the word that it is finished."""
        return self._stage in (Stage.STARTING, Stage.EXPOSING)

    @property
    def asking(self) -> str:
        """The request whose answer somebody waits for; "" when nobody does."""
        request = self._current
        return request.line if request is not None else ""

    # --- asking -------------------------------------------------------------------------------------------------------

    def ask(
        self,
        line: str,
        expect: Collection[int] = (Code.ACKNOWLEDGED,),
        *,
        timeout_s: float = protocol.ANSWER_S,
        patience_s: float | None = None,
    ) -> Reply:
        """One request and its answer. ERR, and a code that is none of `expect`, are `DetectorRefused`.

        `patience_s` is how long an earlier request of another thread is waited for; None = as long as that may last.
        """
        return self._ask(Request(line, expect, timeout_s, starts=False, skips=False), patience_s)

    def start(self, line: str, timeout_s: float = protocol.START_S) -> Reply:
        """Begin an exposure; returns when camserver says that it has begun. See `wait_finished`."""
        return self._ask(Request(line, (Code.ACKNOWLEDGED,), timeout_s, starts=True, skips=False), None)

    def assume_exposing(self) -> None:
        """Camserver has said that it is: somebody started it before this connection was made."""
        with self._changed:
            if self._stage is Stage.IDLE:
                self._stage, self._finished, self._killed = Stage.EXPOSING, None, False

    def wait_finished(self, timeout_s: float) -> Reply | None:
        """Wait for the end of the exposure and return how it ended; None when it lasts longer. `DetectorOffline`."""
        with self._changed:
            self._changed.wait_for(lambda: not self.is_exposing, timeout_s)
            self._must_be_connected("wait for the end of an exposure")
            return None if self.is_exposing else self._finished

    def kill(self, generation: int) -> None:
        """End the exposure at once. Returns when camserver says that it has ended; harmless when there is none.

        A start that waits for its turn is refused then. A request that starts nothing is not waited for.
        """
        with self._changed:
            self._must_be_connected("stop the exposure")
            self._kills += 1
            request = self._current
            if not self.is_exposing and not (request is not None and request.starts):
                return
        # The turn: a start under way must be answered first, for the letter would be lost in one that is about to
        # begin; and nobody may ask before the answers to the stop sequence are over.
        with self._turn:
            with self._changed:
                self._must_be_connected("stop the exposure")
                if not self.is_exposing:
                    return
                self._killed, self._kill_word = True, None
                self._stop_lines = list(STOP_SEQUENCES[generation])
                self._poke()
                ended = self._changed.wait_for(lambda: not self.is_exposing, KILL_S)
                if self._no_control is not None:
                    raise self._no_control
                self._must_be_connected("stop the exposure")
                if not ended:  # perhaps it had ended before, and the word of it was lost: it has to be asked
                    self._stage, self._finished = Stage.IDLE, self._kill_word or _WITHOUT_A_WORD
            # Behind the answer to a question of its own there are no more answers to the stop sequence.
            self._exchange(Request("Version", (Code.VERSION,), protocol.ANSWER_S, starts=False, skips=True))
            if not ended:
                self._must_have_ended()

    def _must_have_ended(self) -> None:
        """With the turn."""
        setup = Request("CamSetup", (Code.CAMERA_SETUP,), protocol.ANSWER_S, starts=False, skips=False)
        state = protocol.state_in(self._exchange(setup).text)
        if not protocol.is_exposing_word(state):
            return
        with self._changed:
            self._stage = Stage.EXPOSING
        raise DetectorTimeout(
            "stop the exposure", of=self.address, answer=f"its state is still '{state}' after {KILL_S:g} s"
        )

    def _ask(self, request: Request, patience_s: float | None) -> Reply:
        try:
            protocol.encode_request(request.line)
        except WireError as error:
            raise DetectorRefused(error.asked, of=self.address, answer=error.answer, accepted=error.accepted) from None
        request.kills_before = self._kills
        if not self._turn.acquire(timeout=-1 if patience_s is None else patience_s):
            raise DetectorTimeout(
                request.line, of=self.address, answer="camserver is still busy with an earlier command"
            )
        try:
            return self._exchange(request)
        finally:
            self._turn.release()

    def _exchange(self, request: Request) -> Reply:
        """With the turn."""
        with self._changed:
            self._must_be_connected(request.line)
            if self.is_exposing:
                raise DetectorRefused(
                    request.line,
                    of=self.address,
                    answer="it is exposing, and might stop at any letter k that comes in",
                    accepted="ask when the exposure has ended; stop and abort end it",
                )
            if request.starts and request.kills_before != self._kills:
                raise DetectorRefused(request.line, of=self.address, answer="it was ended before it began")
            self._current = request
            self._poke()
            self._changed.wait_for(lambda: request.is_done)
            self._current = None
        if request.error is not None:
            raise request.error
        assert request.reply is not None
        return request.reply

    def _must_be_connected(self, asked: str) -> None:
        """With the lock."""
        if self._stage is Stage.OFFLINE:
            raise DetectorOffline(asked, of=self.address, answer=self._why_offline, accepted="connect first")

    def _poke(self) -> None:
        if self._wake is not None:
            with contextlib.suppress(OSError):  # full: it is awake anyway
                self._wake.send(b"!")

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self, line: socket.socket, woken: socket.socket) -> None:
        reader, why = ReplyReader(), "closed"
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(line, selectors.EVENT_READ)
                selector.register(woken, selectors.EVENT_READ)
                while True:
                    with self._changed:
                        if self._closing:
                            break
                        self._send_what_waits(line)
                        timeout_s = self._time_left_s()
                    ready = {key.fileobj for key, _ in selector.select(timeout_s)}
                    if woken in ready:
                        with contextlib.suppress(OSError):
                            woken.recv(4096)
                    if line in ready:
                        data = line.recv(65536)
                        if not data:
                            why = "camserver has hung up"
                            break
                        replies = reader.feed(data)
                        with self._changed:
                            for reply in replies:
                                self._heard(reply)
                            self._changed.notify_all()
                            if self._no_control is not None:
                                why = str(self._no_control)
                                break
                    with self._changed:
                        if self._is_overdue():
                            why = "given up, because an answer did not come"
                            break
        except (OSError, WireError) as error:
            why = str(error)
        except Exception as error:  # the root of a thread: whoever waits must hear of it
            log.exception("camserver %s", self.address)
            why = f"{type(error).__name__}: {error}"
        finally:
            line.close()
            woken.close()
            self._lost(why)

    def _send_what_waits(self, line: socket.socket) -> None:
        lines, self._stop_lines = self._stop_lines, []
        for stop in lines:
            line.sendall(protocol.encode_request(stop))
        request = self._current
        if request is None or request.is_sent or request.is_done:
            return
        request.is_sent, request.deadline_s = True, time.monotonic() + request.timeout_s
        if request.starts:
            self._stage, self._finished, self._killed = Stage.STARTING, None, False
        line.sendall(protocol.encode_request(request.line))

    def _time_left_s(self) -> float | None:
        request = self._current
        if request is None or not request.is_sent or request.is_done:
            return None
        return max(0.0, request.deadline_s - time.monotonic())

    def _is_overdue(self) -> bool:
        request = self._current
        if request is None or not request.is_sent or request.is_done or time.monotonic() < request.deadline_s:
            return False
        request.error = DetectorTimeout(
            request.line, of=self.address, answer=f"no answer within {request.timeout_s:g} s"
        )
        return True

    def _heard(self, reply: Reply) -> None:
        log.debug("camserver %s: %s", self.address, reply)
        request = self._current
        waits = request is not None and request.is_sent and not request.is_done
        if reply.code == Code.NO_ACCESS:
            self._no_control = self._refusal(request.line if request is not None else "stop the exposure", reply)
        if reply.is_event:
            if reply.code == Code.EXPOSURE_FINISHED and self._stage is Stage.EXPOSING:
                # Of a kill the word that it is being done comes first, and then how it ended.
                if reply.ok or not self._killed:
                    self._stage, self._finished = Stage.IDLE, reply
                else:
                    self._kill_word = reply
                return
            if not (waits and request is not None and request.starts and not reply.ok) or reply.code == Code.KILLED:
                return
        if not waits or request is None:
            log.warning("camserver %s says what nobody asked for: %s", self.address, reply)
            return
        fits = reply.code in request.expect and reply.ok
        if request.skips and not fits:
            return
        if request.starts:
            self._stage = Stage.EXPOSING if fits else Stage.IDLE
        if fits:
            request.reply = reply
        else:
            request.error = self._refusal(request.line, reply)

    def _refusal(self, asked: str, reply: Reply) -> DetectorRefused:
        accepted = ""
        if reply.code == Code.NO_ACCESS:
            accepted = "control of camserver, which its first client has until it hangs up"
        answer = f"{reply.code} {'OK' if reply.ok else 'ERR'} {reply.text}".strip()
        return DetectorRefused(asked, of=self.address, answer=answer, accepted=accepted)

    def _lost(self, why: str) -> None:
        with self._changed:
            self._stage, self._why_offline = Stage.OFFLINE, why
            request = self._current
            if request is not None and not request.is_done:
                request.error = DetectorOffline(request.line, of=self.address, answer=why)
            wake, self._wake = self._wake, None
            self._changed.notify_all()
        if wake is not None:
            wake.close()
