"""The STINS sender on the network: a ZeroMQ PUSH port and a small HTTP control, as a context manager and a program.

    python -m maxdaq_tango.detectors.simulation.stins_server --port 0 --stream-port 0

prints one line of JSON with the real ports when it is ready, and ends on SIGTERM, SIGINT, or (with --exit-with-parent)
when its standard input is closed.

Threads: one accepts HTTP, one serves each HTTP connection, one makes and sends. One lock guards the account.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import Self

if __name__ == "__main__":
    # Before bitshuffle is imported: its OpenMP threads spin, and on a busy machine they made it five times slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import msgspec

from maxdaq_tango.detectors.serving.listener import HttpListener
from maxdaq_tango.detectors.serving.messages import Reply, Request, json_reply, refused
from maxdaq_tango.detectors.serving.program import serve
from maxdaq_tango.detectors.simulation.account import AccountBook
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.outlet import Outlet
from maxdaq_tango.detectors.simulation.program import new_parser
from maxdaq_tango.detectors.simulation.stins_sender import (
    COMPRESSIONS,
    DTYPES,
    NO_FAULTS,
    SeriesRequest,
    StinsMessage,
    StinsOptions,
    StinsSender,
)
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import StreamFormat

PREFIX = "/simulator/api/"
ACCEPTED = "POST series, stop, faults; GET faults, account, status"


class StinsServer:
    """A running sender. `with StinsServer(options) as server: ... server.http_port, server.stream_port ...`

    Port 0 takes a free one.
    """

    def __init__(
        self,
        options: StinsOptions,
        *,
        host: str = "127.0.0.1",
        http_port: int = 0,
        stream_port: int = 0,
        faults: Faults = NO_FAULTS,
        curve_key: str = "",
    ) -> None:
        self.sender = StinsSender(options, faults)
        self.accounts = AccountBook()
        self.host, self.http_port, self.stream_port = host, http_port, stream_port
        self._curve_key = curve_key
        self.lock = threading.Lock()
        self._asked = threading.Condition(self.lock)
        self._request: SeriesRequest | None = None
        self._running = False
        self._frames_made = 0
        self._stop_series, self._stopping = threading.Event(), threading.Event()
        self._outlet: Outlet | None = None
        self._listener: HttpListener | None = None
        self._thread = threading.Thread(target=self._send, name="stins-sim-send")

    def __enter__(self) -> Self:
        try:
            self._outlet = Outlet(self.host, self.stream_port, StreamFormat.STINS, self._curve_key)
            self.stream_port = self._outlet.port
            self._listener = HttpListener(self.host, self.http_port, self._serve)
            self.http_port = self._listener.port
            self._thread.start()
            self._listener.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where HTTP is served."""
        return f"http://{self.host}:{self.http_port}"

    def close(self) -> None:
        """Stop, hang up, join every thread. May be called twice."""
        self._stopping.set()
        self._stop_series.set()
        with self.lock:
            self._asked.notify_all()
        if self._listener:
            self._listener.close()
        if self._thread.ident is not None:
            self._thread.join()
        if self._outlet:
            self._outlet.close()

    # --- HTTP --------------------------------------------------------------------------------------------------------

    def _serve(self, request: Request) -> Reply:
        if not request.path.startswith(PREFIX):
            return refused(404, f"{request.path} does not exist. Accepted: {PREFIX}...: {ACCEPTED}")
        try:
            with self.lock:
                return self._handle(request)
        except (msgspec.MsgspecError, ConfigurationError, ValueError) as error:
            return refused(400, str(error))

    def _handle(self, request: Request) -> Reply:
        match request.method, request.path.removeprefix(PREFIX):
            case "POST", "series":
                asked = msgspec.json.decode(request.body, type=SeriesRequest)
                if self._running:
                    return refused(
                        409, f"Series {self.sender.series} is being sent. Accepted: when it is over, or stop"
                    )
                self._request, self._running = asked, True
                self._stop_series.clear()
                self._asked.notify_all()
                return json_reply({"series": self.sender.series + 1})
            case "POST", "stop":
                self._stop_series.set()
                return json_reply({"series": self.sender.series})
            case "POST", "faults":
                self.sender.faults = msgspec.json.decode(request.body or b"{}", type=Faults)
                if self.sender.faults.offline_s and self._listener:
                    self._listener.take_offline(self.sender.faults.offline_s)
                return json_reply(self.sender.faults)
            case "GET", "faults":
                return json_reply(self.sender.faults)
            case "GET", "account":
                series = request.query.get("series", "")
                if series and not series.isdigit():
                    raise ConfigurationError(f"tell the account of series {series!r}", accepted="a number from 1")
                return json_reply(self.accounts.read(int(series) if series else self.sender.series))
            case "GET", "status":
                return json_reply(
                    {
                        "series": self.sender.series,
                        "running": self._running,
                        "frames_made": self._frames_made,
                        "options": self.sender.options,
                    }
                )
        return refused(404, f"{request.method} {request.path} does not exist. Accepted: {ACCEPTED}")

    # --- ZeroMQ ------------------------------------------------------------------------------------------------------

    def _send(self) -> None:
        while not self._stopping.is_set():
            with self.lock:
                request, self._request = self._request, None
                if request is None:
                    if not self._stopping.is_set():
                        self._asked.wait(1.0)
                    continue
                self._frames_made = 0
                header = list(self.sender.begin(request, self.accounts))
            self._series(request, header)
            with self.lock:
                self._running = False

    def _series(self, request: SeriesRequest, header: list[StinsMessage]) -> None:
        series, faults, began = self.sender.series, self.sender.faults, time.monotonic()
        self._push(series, header)
        for number in range(request.frames):
            due_s = began + number / request.rate_hz - time.monotonic() if request.rate_hz else 0.0
            if faults.never_start:
                self._stop_series.wait()
            elif due_s > 0:
                self._stop_series.wait(due_s)
            if self._stop_series.is_set():
                break
            with self.lock:
                self.accounts.made(series)
                self._frames_made += 1
            self._push(series, list(self.sender.frame(number)))
        self._push(series, list(self.sender.end()))
        with self.lock:
            self.accounts.finished(series)

    def _push(self, series: int, messages: list[StinsMessage]) -> None:
        assert self._outlet is not None

        def stolen(number: int) -> None:
            with self.lock:
                self.accounts.stolen(series, number)

        with self.lock:
            for _ in messages:
                self.accounts.offered(series)
        for message in messages:
            # Only the end of the simulator gives up a message.
            if self._outlet.push(message.parts, message.delivery, self._stopping, stolen):
                with self.lock:
                    self.accounts.sent(series, message.delivery)


def main(arguments: list[str] | None = None) -> int:
    """Run one sender until it is told to end."""
    parser = new_parser("simulated-stins", "A sender of STINS series.")
    parser.add_argument("--stream-port", type=int, default=0, help="the stream; 0 = any free port")
    parser.add_argument("--dtype", choices=DTYPES, default="uint16")
    parser.add_argument("--compression", choices=list(COMPRESSIONS), default="bslz4")
    given = parser.parse_args(arguments)
    try:
        options = StinsOptions(
            rows=given.rows,
            columns=given.columns,
            dtype=given.dtype,
            compression=given.compression,
            seed=given.seed,
        )
        faults = Faults.parse(given.fault)
    except ConfigurationError as error:
        parser.error(str(error))
    return serve(
        parser.prog,
        given,
        lambda: StinsServer(
            options,
            host=given.host,
            http_port=given.port,
            stream_port=given.stream_port,
            faults=faults,
            curve_key=given.curve_key,
        ),
        lambda server: {"http": server.http_port, "stream": server.stream_port},
    )


if __name__ == "__main__":
    sys.exit(main())
