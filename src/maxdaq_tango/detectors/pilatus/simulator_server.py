"""The simulated camserver on the network: its TCP port, its image folder and a small HTTP control.

    python -m maxdaq_tango.detectors.pilatus.simulator_server --camserver-port 0 --port 0 --folder FOLDER

prints one line of JSON with the real ports when it is ready, and ends on SIGTERM, SIGINT, or (with --exit-with-parent)
when its standard input is closed. Images are written under another name and renamed into the folder, so that whoever
watches it never sees half a file.

Threads: one serves every TCP connection, one makes and writes images, one accepts HTTP, one serves each HTTP
connection. One lock guards the simulator.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import socket
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from maxdaq_tango.detectors.pilatus.simulator import NO_FAULTS, PilatusSimulator, Placing, SimulatorOptions, Work
from maxdaq_tango.detectors.pilatus.simulator_controls import PREFIX, handle_control
from maxdaq_tango.detectors.serving.listener import HttpListener
from maxdaq_tango.detectors.serving.messages import Reply, Request, refused
from maxdaq_tango.detectors.serving.program import serve
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.program import new_parser
from maxdaq_tango.errors import ConfigurationError, WireError

UNFINISHED = ".being-written"
"""Folder below the image folder, on the same file system, where a file grows before it appears."""
LONGEST_WAIT_S = 0.5


class PilatusSimulatorServer:
    """A running simulated camserver. `with PilatusSimulatorServer(options) as server: ... server.port ...`

    Port 0 takes a free one. Without `folder` images go into a folder of its own, which is removed at the end.
    `simulator` may be looked into from outside only while holding `lock`.
    """

    def __init__(
        self,
        options: SimulatorOptions,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        http_port: int = 0,
        folder: str = "",
        faults: Faults = NO_FAULTS,
    ) -> None:
        self._own_folder = "" if folder else tempfile.mkdtemp(prefix="maxdaq-pilatus-")
        self.folder = os.path.abspath(folder or self._own_folder)
        options = msgspec.structs.replace(options, image_path=self.folder + "/")
        try:
            self.simulator = PilatusSimulator(options, make_folder=_make_folder, faults=faults)
        except BaseException:
            self._remove_own_folder()
            raise
        self.host, self.port, self.http_port = host, port, http_port
        self.lock = threading.Lock()
        self._changed = threading.Condition(self.lock)
        self._stopping = threading.Event()
        self._offline_until_s = 0.0
        self._threads: list[threading.Thread] = []
        self._http: HttpListener | None = None
        self._listening: socket.socket | None = None
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._connections: dict[int, socket.socket] = {}
        self._next_connection = 1

    def __enter__(self) -> Self:
        try:
            os.makedirs(self.folder, exist_ok=True)
            self._listen()
            self._http = HttpListener(self.host, self.http_port, self._serve)
            self.http_port = self._http.port
            for name, target in (("pilatus-sim-tcp", self._talk), ("pilatus-sim-exposures", self._expose)):
                thread = threading.Thread(target=target, name=name)
                self._threads.append(thread)
                thread.start()
            self._http.start()
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
        with self.lock:
            self._changed.notify_all()
        self._wake()
        if self._http:
            self._http.close()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._hang_up()
        self._wake_in.close()
        self._wake_out.close()
        self._remove_own_folder()

    def break_connections(self, seconds: float) -> None:
        """Hang up on every client, and refuse new ones for so long."""
        self._offline_until_s = time.monotonic() + seconds
        self._wake()

    def _remove_own_folder(self) -> None:
        if self._own_folder:
            shutil.rmtree(self._own_folder, ignore_errors=True)

    # --- HTTP --------------------------------------------------------------------------------------------------------

    def _serve(self, request: Request) -> Reply:
        if not request.path.startswith(PREFIX):
            return refused(404, f"{request.path} does not exist. Accepted: {PREFIX}...")
        with self.lock:
            reply = handle_control(self.simulator, request, time.monotonic())
            outage = self.simulator.faults.offline_s
            self._changed.notify_all()
        if request.method == "POST" and request.path == PREFIX + "faults" and reply.status == 200 and outage:
            self.break_connections(outage)
        return reply

    # --- TCP ---------------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self.host, self.port))
            listening.listen(16)
        except OSError:
            listening.close()
            raise
        listening.setblocking(False)
        self._listening, self.port = listening, listening.getsockname()[1]

    def _hang_up(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for connection, line in list(self._connections.items()):
            with self.lock:
                self.simulator.disconnected(connection)
            line.close()
        self._connections.clear()

    def _talk(self) -> None:
        while not self._stopping.is_set():
            if time.monotonic() < self._offline_until_s:
                self._hang_up()
                self._stopping.wait(max(0.0, self._offline_until_s - time.monotonic()))
                continue
            if self._listening is None:
                self._listen()
            self._talk_once()

    def _talk_once(self) -> None:
        assert self._listening is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._listening, selectors.EVENT_READ, 0)
            selector.register(self._wake_in, selectors.EVENT_READ, -1)
            for connection, line in self._connections.items():
                selector.register(line, selectors.EVENT_READ, connection)
            events = selector.select(LONGEST_WAIT_S)
        for key, _ in events:
            if key.data == -1:
                with contextlib.suppress(BlockingIOError):
                    self._wake_in.recv(4096)
            elif key.data == 0:
                self._accept()
            else:
                self._receive(key.data)
        self._send()

    def _accept(self) -> None:
        assert self._listening is not None
        try:
            line, _ = self._listening.accept()
        except OSError:
            return  # who called has gone
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.settimeout(5.0)
        connection, self._next_connection = self._next_connection, self._next_connection + 1
        self._connections[connection] = line
        with self.lock:
            self.simulator.connected(connection)

    def _receive(self, connection: int) -> None:
        try:
            data = self._connections[connection].recv(65536)
        except OSError:
            data = b""
        with self.lock:
            try:
                if data:
                    self.simulator.received(connection, data, time.monotonic())
                    self._changed.notify_all()
            except WireError:
                data = b""
        if not data:
            self._drop(connection)

    def _drop(self, connection: int) -> None:
        self._connections.pop(connection).close()
        with self.lock:
            self.simulator.disconnected(connection)

    def _send(self) -> None:
        """What is to be said, one line's messages together."""
        with self.lock:
            waiting, pending = self.simulator.outbox, dict[int, bytes]()
            while waiting:
                connection, data = waiting.popleft()
                pending[connection] = pending.get(connection, b"") + data
        for connection, data in pending.items():
            if connection in self._connections:
                try:
                    self._connections[connection].sendall(data)
                except OSError:
                    self._drop(connection)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_out.send(b"!")

    # --- images ------------------------------------------------------------------------------------------------------

    def _expose(self) -> None:
        while not self._stopping.is_set():
            with self.lock:
                now = time.monotonic()
                work = self.simulator.step(now)
                if work is None:
                    if self.simulator.outbox:
                        self._wake()
                    due = self.simulator.next_due()
                    wait_s = LONGEST_WAIT_S if due is None else min(due - now, LONGEST_WAIT_S)
                    if wait_s > 0 and not self._stopping.is_set():
                        self._changed.wait(wait_s)
                    continue
            try:
                for placing in work.placings():
                    self._place(work, placing)
            except Exception as error:  # nobody may wait for ever because an image could not be made
                traceback.print_exc()
                with self.lock:
                    self.simulator.error = f"the simulator failed: {error!r}"
            with self.lock:
                self.simulator.done(work, time.monotonic())
            self._wake()

    def _place(self, work: Work, placing: Placing) -> None:
        delivery = placing.delivery
        if delivery.away_s:
            self.break_connections(delivery.away_s)
        if delivery.delay_s:
            self._stopping.wait(delivery.delay_s)
        folder, name = os.path.split(placing.path)
        unfinished = Path(folder) / UNFINISHED
        unfinished.mkdir(parents=True, exist_ok=True)
        (unfinished / name).write_bytes(placing.data)
        os.replace(unfinished / name, placing.path)
        with self.lock:
            self.simulator.placed(work, placing)


def _make_folder(path: str) -> str:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return "" if os.access(path, os.W_OK) else "not writable"


def main(arguments: list[str] | None = None) -> int:
    """Run one simulated camserver until it is told to end."""
    parser = new_parser("simulated-pilatus", "A simulated Pilatus: camserver's port, and image files.")
    parser.set_defaults(rows=619, columns=487)
    parser.add_argument("--camserver-port", type=int, default=0, help="commands; 0 = any free port")
    parser.add_argument("--folder", default="", help="where images appear; empty = a temporary one")
    parser.add_argument("--generation", type=int, choices=(2, 3), default=3)
    parser.add_argument("--trim-time", type=float, default=0.2, help="of SetThreshold and its kin, seconds")
    given = parser.parse_args(arguments)
    try:
        options = SimulatorOptions(
            rows=given.rows,
            columns=given.columns,
            seed=given.seed,
            generation=given.generation,
            trim_time_s=given.trim_time,
        )
        faults = Faults.parse(given.fault)
        return serve(
            parser.prog,
            given,
            lambda: PilatusSimulatorServer(
                options,
                host=given.host,
                port=given.camserver_port,
                http_port=given.port,
                folder=given.folder,
                faults=faults,
            ),
            lambda server: {"http": server.http_port, "camserver": server.port, "folder": server.folder},
        )
    except ConfigurationError as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
