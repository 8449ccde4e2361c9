"""The simulated ORCA as a process: a TCP port for the simulated library, HTTP for faults and trigger signals.

    python -m maxdaq_tango.detectors.orca.simulator_server --model lightning --rows 512 --columns 512

prints one line of JSON with the path of a `libdcamapi.so.4` that has this camera, and its ports. Whoever loads that
library (our streamer, pylablib) finds a camera; on another computer MAXDAQ_SIMULATED_DCAM=HOST:PORT says where it is.

Threads: one accepts the library's connections, one serves each of them, one makes exposures, one sends frames, one
accepts HTTP, one serves each HTTP connection. One lock guards the simulator.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

if __name__ == "__main__":
    # Before bitshuffle is imported: its OpenMP threads spin, and on a busy machine they made it five times slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from maxdaq_tango.detectors.orca.dcam_errors import DcamError
from maxdaq_tango.detectors.orca.simulated_library import LIBRARY_NAME, place_library
from maxdaq_tango.detectors.orca.simulator import OrcaOptions, OrcaSimulator
from maxdaq_tango.detectors.orca.simulator_controls import PREFIX, handle_control
from maxdaq_tango.detectors.orca.simulator_dispatch import Parcel, parcel_of
from maxdaq_tango.detectors.orca.simulator_faults import refuse_meaningless
from maxdaq_tango.detectors.orca.simulator_models import MODELS
from maxdaq_tango.detectors.orca.simulator_wire import (
    REQUEST_NBYTES,
    Flag,
    FrameHead,
    Op,
    Purpose,
    Reply,
    Request,
)
from maxdaq_tango.detectors.serving.listener import HttpListener
from maxdaq_tango.detectors.serving.messages import Reply as HttpReply
from maxdaq_tango.detectors.serving.messages import Request as HttpRequest
from maxdaq_tango.detectors.serving.messages import refused
from maxdaq_tango.detectors.serving.program import serve
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.program import new_parser
from maxdaq_tango.errors import ConfigurationError

NO_FAULTS = Faults()
MOST_WAITING = 10_000
"""Exposures whose pixels are not made yet; one more is lost. A slow machine makes frames late, not fewer."""
ACCEPT_S = 0.2


class OrcaSimulatorServer:
    """A running simulated camera. `with OrcaSimulatorServer(options) as server: ... server.library ...`

    Port 0 takes a free one; `library` "" = in a folder of its own that goes with the server. `simulator` may be looked
    into from outside only while holding `lock`.
    """

    def __init__(
        self,
        options: OrcaOptions,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        http_port: int = 0,
        library: str = "",
        faults: Faults = NO_FAULTS,
    ) -> None:
        self.simulator = OrcaSimulator(options, faults)
        self.host, self.port, self.http_port = host, port, http_port
        self.library = Path(library) if library else None
        self.lock = threading.Lock()
        self._changed = threading.Condition(self.lock)
        self._queued = threading.Condition(self.lock)
        self._queue: deque[Parcel] = deque()
        self._stopping = threading.Event()
        self._away_until = 0.0
        self._threads: list[threading.Thread] = []
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._frames: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._http: HttpListener | None = None
        self._own_folder = ""

    def __enter__(self) -> Self:
        try:
            self._start()
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
        """Where faults and signals are taken."""
        return f"http://{self.host}:{self.http_port}"

    def ports(self) -> dict[str, int | str]:
        """What the program says when it is ready."""
        return {"library": str(self.library), "camera": self.port, "http": self.http_port}

    def close(self) -> None:
        """Stop, hang up, join every thread. May be called twice."""
        self._stopping.set()
        with self.lock:
            self._changed.notify_all()
            self._queued.notify_all()
        if self._http:
            self._http.close()
        self._hang_up()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        if self._listener:
            self._listener.close()
        if self._own_folder:
            shutil.rmtree(self._own_folder, ignore_errors=True)
            self._own_folder = ""

    def _start(self) -> None:
        self._listener = socket.create_server((self.host, self.port), backlog=16)
        self._listener.settimeout(ACCEPT_S)
        self.port = int(self._listener.getsockname()[1])
        if self.library is None:
            self._own_folder = tempfile.mkdtemp(prefix="maxdaq-orca-")
            self.library = Path(self._own_folder) / LIBRARY_NAME
        self._away_until = time.monotonic() + self.simulator.faults.offline_s
        place_library(self.library, f"{self.host}:{self.port}")
        self._http = HttpListener(self.host, self.http_port, self._serve_http)
        self.http_port = self._http.port
        self._launch("orca-sim-accept", self._accept)
        self._launch("orca-sim-exposures", self._expose)
        self._launch("orca-sim-send", self._send)
        self._http.start()

    def _launch(self, name: str, target: object) -> None:
        thread = threading.Thread(target=target, name=name)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    # --- the library's connections -----------------------------------------------------------------------------------

    def _accept(self) -> None:
        assert self._listener is not None
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            connection.settimeout(None)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._converse, args=(connection,), name="orca-sim-connection")
            with self.lock:
                self._connections[connection] = thread
            thread.start()

    def _converse(self, connection: socket.socket) -> None:
        try:
            self._serve_library(connection)
        except OSError:
            pass  # the library has gone
        except Exception:  # a fault of the simulator: the library sees a camera that is gone
            traceback.print_exc()
        finally:
            with self.lock:
                self._connections.pop(connection, None)
                if connection is self._frames:
                    self._frames = None
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _serve_library(self, connection: socket.socket) -> None:
        hello = _read(connection, REQUEST_NBYTES)
        if hello is None:
            return
        request = Request.unpack(hello)
        with self.lock:
            away = time.monotonic() < self._away_until
            delay_s = self.simulator.faults.initialise_delay_s
        if request.op != Op.HELLO or away or self._stopping.is_set():
            connection.sendall(Reply(DcamError.NOCAMERA).pack())
            return
        if request.id == Purpose.LOOK and delay_s:
            self._stopping.wait(delay_s)
        if request.id == Purpose.REQUESTS:
            with self.lock:
                self.simulator.reset()
                self._queue.clear()
        elif request.id == Purpose.FRAMES:
            with self.lock:
                self._frames = connection
        connection.sendall(Reply().pack())
        while (data := _read(connection, REQUEST_NBYTES)) is not None:
            connection.sendall(self._answer(Request.unpack(data)).pack())

    def _answer(self, request: Request) -> Reply:
        if request.op == Op.START:
            with self.lock:
                delay_s = self.simulator.faults.arm_delay_s
            self._stopping.wait(delay_s)
        with self.lock:
            now = time.monotonic()
            if request.op == Op.TRIGGER:
                self._due(now)  # what has ended by now counts before what begins now
            reply = self.simulator.handle(request, now)
            if request.op in (Op.START, Op.STOP, Op.TRIGGER, Op.SET, Op.BUFFERS):
                self._changed.notify_all()
        return reply

    def _hang_up(self) -> None:
        with self.lock:
            connections = dict(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):  # the library was faster
                connection.shutdown(socket.SHUT_RDWR)
        for thread in connections.values():
            thread.join()

    # --- exposures ---------------------------------------------------------------------------------------------------

    def _due(self, now: float) -> None:
        """With the lock held: exposures that have ended become parcels; their pixels are made by the sending thread."""
        for shot in self.simulator.step(now):
            if self.simulator.faults.vanish_at == shot.number:
                self._away_until = now + self.simulator.faults.vanish_s
                self._launch("orca-sim-vanish", self._hang_up)
            parcel = parcel_of(shot, self.simulator.faults)
            if parcel.lost or len(self._queue) < MOST_WAITING:
                self._queue.append(parcel)
            else:
                self._queue.append(Parcel(shot, lost=True))
            self._queued.notify_all()

    def _expose(self) -> None:
        while not self._stopping.is_set():
            with self.lock:
                now = time.monotonic()
                self._due(now)
                due = self.simulator.next_due()
                wait_s = 1.0 if due is None else min(due - now, 1.0)
                if wait_s > 0 and not self._stopping.is_set():
                    self._changed.wait(wait_s)

    def _send(self) -> None:
        lost = False
        while not self._stopping.is_set():
            with self.lock:
                if not self._queue:
                    self._queued.wait(1.0)
                    continue
                parcel, connection = self._queue.popleft(), self._frames
            lost = self._deliver(parcel, connection, lost)

    def _deliver(self, parcel: Parcel, connection: socket.socket | None, lost: bool) -> bool:
        """Send one; returns whether the next one has to say that something was lost."""
        shot = parcel.shot
        if parcel.delay_s:
            self._stopping.wait(parcel.delay_s)
        with self.lock:
            # What a stop has overtaken is not sent, nor are pixels made for it.
            wanted = connection is not None and self.simulator.live_capture == shot.capture
        if not wanted or connection is None:
            return False
        pixels = b"" if parcel.lost else parcel.changed(self.simulator.develop(shot))
        flags = (Flag.LOST if lost or (parcel.lost and parcel.announced) else Flag(0)) | (
            Flag.END if shot.last else Flag(0)
        )
        if not pixels and not flags:
            return True
        head = FrameHead(
            capture=shot.capture, flags=flags, frame_stamp=parcel.stamp, time_s=time.time(), nbytes=len(pixels)
        )
        with self.lock:
            if pixels:
                self.simulator.accounts.offered(shot.series)
        try:
            connection.sendall(head.pack() + pixels)
        except OSError:
            with self.lock:
                if pixels:
                    self.simulator.accounts.lost(shot.series)
            return False
        if pixels:
            with self.lock:
                self.simulator.accounts.sent(shot.series, parcel.delivery)
        return False

    # --- HTTP --------------------------------------------------------------------------------------------------------

    def _serve_http(self, request: HttpRequest) -> HttpReply:
        if not request.path.startswith(PREFIX):
            return refused(404, f"{request.path} does not exist. Accepted: {PREFIX}...")
        with self.lock:
            reply = handle_control(self.simulator, request, time.monotonic())
            if (request.method, request.path, reply.status) == ("POST", PREFIX + "faults", 200):
                self._away_until = time.monotonic() + self.simulator.faults.offline_s
            self._changed.notify_all()
        return reply


def _read(connection: socket.socket, nbytes: int) -> bytes | None:
    """Just so many bytes; None at the end of the connection."""
    data = b""
    while len(data) < nbytes:
        part = connection.recv(nbytes - len(data))
        if not part:
            return None
        data += part
    return data


def main(arguments: list[str] | None = None) -> int:
    """Run one simulated camera until it is told to end."""
    parser = new_parser("simulated-orca", "A simulated Hamamatsu ORCA with a DCAM library of its own.")
    parser.set_defaults(rows=2592, columns=4608)
    parser.add_argument("--camera-port", type=int, default=0, help="for the library; 0 = any free port")
    parser.add_argument("--library", default="", metavar="PATH", help="where to put it; empty = in a new folder")
    parser.add_argument("--model", type=str.lower, choices=sorted(MODELS), default="lightning")
    given = parser.parse_args(arguments)
    try:
        options = OrcaOptions(model=given.model, rows=given.rows, columns=given.columns, seed=given.seed)
        faults = Faults.parse(given.fault)
        refuse_meaningless(faults)
    except ConfigurationError as error:
        parser.error(str(error))
    return serve(
        parser.prog,
        given,
        lambda: OrcaSimulatorServer(
            options,
            host=given.host,
            port=given.camera_port,
            http_port=given.port,
            library=given.library,
            faults=faults,
        ),
        lambda server: {**server.ports(), "model": given.model},
    )


if __name__ == "__main__":
    sys.exit(main())
