"""The HTTP listener before a simulator or a streamer: standard library, keep-alive, one write an answer.

Answers leave at once (no Nagle delay).
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from maxdaq_tango.detectors.serving.messages import Reply, Request, refused

MOST_BODY_BYTES = 512 << 20
ACCEPT_S = 0.05
ANSWER_S = 0.05


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > MOST_BODY_BYTES or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self._answer(refused(411, f"Content-Length {length!r} is not understood"))
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return
        url = urlsplit(self.path)
        request = Request(
            self.command, unquote(url.path), body, dict(parse_qsl(url.query)), self.headers.get("Accept", "")
        )
        try:
            reply = self.server.serve(request)
        except Exception as error:  # a fault of ours: say so to both sides and go on
            traceback.print_exc()
            reply = refused(500, f"The server failed: {error!r}")
        self._answer(reply)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - names given by http.server

    def _answer(self, reply: Reply) -> None:
        head = (
            f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n"
            f"Content-Type: {reply.content_type}\r\nContent-Length: {len(reply.body)}\r\n"
            f"{'Connection: close' if self.close_connection else 'Connection: keep-alive'}\r\n\r\n"
        ).encode()
        try:
            # One write: with two the body would wait for the acknowledgement of the head.
            self.wfile.write(head if self.command == "HEAD" else head + reply.body)
        except OSError:
            self.close_connection = True  # the client has gone

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: standard error is for what is wrong here."""


class _Server(ThreadingHTTPServer):
    block_on_close = False  # the listener joins: during an outage a blocked trigger must not hold up the rest
    allow_reuse_address = True
    request_queue_size = 128
    timeout = ACCEPT_S

    def __init__(self, address: tuple[str, int], serve: Callable[[Request], Reply]) -> None:
        self.serve = serve
        self.open: dict[socket.socket, threading.Thread] = {}
        self.guard = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for each connection, remembered so that it can be ended and joined."""
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="http-connection"
        )
        with self.guard:
            self.open[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        """A connection has ended."""
        with self.guard:
            self.open.pop(request, None)
        super().shutdown_request(request)

    def hang_up(self) -> list[threading.Thread]:
        """End every connection; the threads that will end because of it."""
        with self.guard:
            for connection in self.open:
                with contextlib.suppress(OSError):  # the other side was faster
                    connection.shutdown(socket.SHUT_RDWR)
            return list(self.open.values())

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off is no error of ours; anything else is shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class HttpListener:
    """Serves on one port in a thread of its own; can be taken off the network for a while.

    `serve` is called in the thread of the connection and may block; when the listener closes it must return soon.
    """

    def __init__(self, host: str, port: int, serve: Callable[[Request], Reply]) -> None:
        self._host, self._serve = host, serve
        self._server = _Server((host, port), serve)
        self.port = int(self._server.server_address[1])
        self._stopping = threading.Event()
        self._outage: tuple[float, float] | None = None
        self._leftover: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._run, name="http-listener")

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def take_offline(self, seconds: float, after_s: float = ANSWER_S) -> None:
        """For so long connections are refused and existing ones end. The present answer may still leave.

        With `after_s` 0, before `start`, it begins off the network.
        """
        self._outage = (time.monotonic() + after_s, seconds)

    def close(self) -> None:
        """Hang up and join every thread. May be called twice."""
        self._stopping.set()
        if self._thread.ident is None:
            self._server.server_close()
            return
        self._thread.join()
        for thread in self._leftover:
            thread.join()

    def _run(self) -> None:
        while True:
            while not self._stopping.is_set() and not (self._outage and time.monotonic() >= self._outage[0]):
                self._server.handle_request()
            self._server.server_close()
            self._leftover = [thread for thread in self._leftover if thread.is_alive()] + self._server.hang_up()
            if self._stopping.wait(self._outage[1] if self._outage else 0.0) or self._stopping.is_set():
                return
            self._outage = None
            self._server = _Server((self._host, self.port), self._serve)
