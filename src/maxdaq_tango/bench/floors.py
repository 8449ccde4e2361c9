"""The floors: what the machine can do when nothing is done but the one thing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import zmq

from maxdaq_tango.bench.direct_file import SLAB, DirectFile, Slabs
from maxdaq_tango.bench.payload import Payload
from maxdaq_tango.bench.talk import Done, Go, Prepare
from maxdaq_tango.kernels.compression import compress_bslz4

COPY_BELOW = 32_768
"""Bytes; smaller messages are received faster into a fresh `bytes` than as a ZeroMQ frame."""
AHEAD_BYTES = 256 << 20
"""Received and waiting inside ZeroMQ at most, so that large frames do not fill the memory."""

NOT_DIRECT = "the file system refuses O_DIRECT: the floors wrote through the page cache"


def pull_socket(context: zmq.Context[zmq.Socket[bytes]], endpoint: str, frame_nbytes: int) -> zmq.Socket[bytes]:
    """A PULL socket that is on its way to the sender."""
    socket = context.socket(zmq.PULL)
    socket.rcvhwm = max(4, min(1000, AHEAD_BYTES // frame_nbytes))
    socket.linger = 0
    socket.connect(endpoint)
    return socket


def bare_frames(socket: zmq.Socket[bytes], frame_nbytes: int) -> Iterator[bytes | memoryview]:
    """The pixels of a series, as they come; nothing is parsed (the end is the message of one part)."""
    if frame_nbytes < COPY_BELOW:
        socket.recv_multipart()
        while len(parts := socket.recv_multipart()) > 1:
            yield parts[1]
    else:
        socket.recv_multipart(copy=False)
        while len(messages := socket.recv_multipart(copy=False)) > 1:
            yield messages[1].buffer


class Pull:
    """Floor 1: a bare PULL loop."""

    def __init__(self, payload: Payload) -> None:
        self._nbytes = max(payload.description.lengths)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def prepare(self, asked: Prepare) -> None:
        """Connect."""
        self._socket = pull_socket(self._context, asked.endpoint, self._nbytes)

    def run(self, go: Go) -> Done:
        """One series."""
        frames = nbytes = 0
        for blob in bare_frames(self._socket, self._nbytes):
            frames += 1
            nbytes += len(blob)
        ended = time.monotonic_ns()
        self._socket.close()
        return Done(frames=frames, nbytes=nbytes, ended_ns=ended)


class PullWrite:
    """Floor 3: receive, copy once into aligned memory, write it directly."""

    def __init__(self, payload: Payload) -> None:
        self._nbytes = max(payload.description.lengths)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._slabs = Slabs()

    def prepare(self, asked: Prepare) -> None:
        """Connect; the file is made with the first frame, as by everybody."""
        self._socket = pull_socket(self._context, asked.endpoint, self._nbytes)
        self._path = Path(asked.path)

    def run(self, go: Go) -> Done:
        """One series, until it is on the disk."""
        file = DirectFile(self._path, self._slabs)
        frames = nbytes = 0
        for blob in bare_frames(self._socket, self._nbytes):
            file.append(blob)
            frames += 1
            nbytes += len(blob)
        file.finish(nbytes)
        ended = time.monotonic_ns()
        self._socket.close()
        return Done(frames=frames, nbytes=nbytes, ended_ns=ended, note="" if file.is_direct else NOT_DIRECT)


class Write:
    """Floor 2: the frames lie in aligned memory before the turn and are written again and again."""

    def __init__(self, payload: Payload) -> None:
        self._lengths = payload.description.lengths
        self._slabs = Slabs()
        data = b"".join(payload.frames)
        for slab in self._slabs.all:
            slab.seek(0)
            slab.write((data * (SLAB // len(data) + 1))[:SLAB])

    def prepare(self, asked: Prepare) -> None:
        """Nothing but the name."""
        self._path = Path(asked.path)

    def run(self, go: Go) -> Done:
        """As many slabs as the time allows."""
        began = time.monotonic_ns()
        deadline = began + int(go.seconds * 1e9)
        file = DirectFile(self._path, self._slabs)
        slabs = 0
        while slabs * SLAB < go.most_bytes and time.monotonic_ns() < deadline:
            file.write_slab()
            slabs += 1
        mean = sum(self._lengths) / len(self._lengths)
        frames = max(1, int(slabs * SLAB / mean))  # a frame cut by the end is not counted
        nbytes = min(slabs * SLAB, int(frames * mean))
        file.finish(nbytes)
        note = "" if file.is_direct else NOT_DIRECT
        return Done(frames=frames, nbytes=nbytes, began_ns=began, ended_ns=time.monotonic_ns(), note=note)


class Compression:
    """Floor of packing: every core does nothing else."""

    def __init__(self, payload: Payload) -> None:
        self._images = [payload.pixels(index) for index in range(len(payload.frames))]
        self._workers = len(os.sched_getaffinity(0))

    def prepare(self, asked: Prepare) -> None:
        """Nothing."""

    def run(self, go: Go) -> Done:
        """As many frames as the time allows."""
        began = time.monotonic_ns()
        deadline = began + int(go.seconds * 1e9)
        with ThreadPoolExecutor(self._workers, thread_name_prefix="floor packer") as pool:
            counts = pool.map(lambda worker: self._pack_until(deadline, worker), range(self._workers))
            frames = sum(counts)
        nbytes = frames * self._images[0].nbytes
        return Done(frames=frames, nbytes=nbytes, began_ns=began, ended_ns=time.monotonic_ns())

    def _pack_until(self, deadline: int, worker: int) -> int:
        count = 0
        while time.monotonic_ns() < deadline:
            compress_bslz4(self._images[(worker + count) % len(self._images)])
            count += 1
        return count
