"""The PUB sockets of the simulated receiver program: one a port, as slsReceiver binds them."""

from __future__ import annotations

from typing import Any

import zmq

from maxdaq_tango.detectors.jungfrau.simulator_stream import Outgoing

HIGH_WATER = 1000
"""Messages for each subscriber, ZeroMQ's default and slsReceiver's; what does not fit PUB drops without a word."""
TRIES = 100


class Ports:
    """Bound sockets in the order of the ports. Those of one module are numbered one after the other: clients are told
    the first alone. One thread sends."""

    def __init__(self, host: str, first_port: int, modules: int, interfaces: int) -> None:
        """`first_port` 0 takes free ones."""
        self._host, self._modules, self._interfaces = host, modules, interfaces
        self._closed = False
        self._open([first_port + module * interfaces if first_port else 0 for module in range(modules)])
        self.first_ports = self._firsts

    def send(self, outgoing: Outgoing) -> None:
        """Waits for nobody."""
        for port, parts in outgoing.parts.items():
            self._sockets[port].send_multipart(parts)

    def leave(self) -> None:
        """Break every connection."""
        self._context.destroy(linger=200)

    def come_back(self) -> None:
        """After `leave`: on the same ports."""
        self._open(self.first_ports)

    def close(self) -> None:
        """May be called twice."""
        if not self._closed:
            self._closed = True
            self._context.destroy(linger=0)

    def _open(self, firsts: list[int]) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._sockets: list[zmq.Socket[Any]] = []
        self._firsts: list[int] = []
        try:
            for first in firsts:
                self._bind_module(first)
        except BaseException:
            self._context.destroy(linger=0)
            raise

    def _bind_module(self, wanted: int) -> None:
        for attempt in range(TRIES):
            made: list[zmq.Socket[Any]] = []
            first = wanted
            try:
                for interface in range(self._interfaces):
                    socket = self._context.socket(zmq.PUB)
                    made.append(socket)
                    socket.sndhwm, socket.linger = HIGH_WATER, 200
                    socket.bind(f"tcp://{self._host}:{first + interface if first else '*'}")
                    first = first or int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rsplit(":", 1)[1])
            except zmq.ZMQError:
                for socket in made:
                    socket.close(0)
                # Where no port was asked for, the first was free and its neighbour is not: another first may do.
                if wanted or len(made) < 2 or attempt == TRIES - 1:
                    raise
                continue
            self._sockets += made
            self._firsts.append(first)
            return
