"""A receiver under test: a real sender on a free port, and everything that the receiver told."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import lz4.block
import numpy as np
import pytest
import zmq

from maxdaq_tango.files import SeriesFile
from maxdaq_tango.kernels.compression import compress_bslz4
from maxdaq_tango.model import (
    AcquisitionState,
    Counters,
    Encoding,
    Frame,
    FrameFormat,
    Receipt,
    RunRequest,
    StreamFormat,
)
from maxdaq_tango.pipeline import Receiver, RunReport
from maxdaq_tango.wire import dectris_v1, stins

SHAPE = (40, 30)


WAIT_S = 10.0


def pixels(number: int, dtype: str = "uint16") -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] = (np.arange(np.prod(SHAPE)).reshape(SHAPE) * 3 + number * 101).astype(dtype)
    return values


class Sender:
    """A PUSH socket on a free port, and STINS messages with numbers of its own."""

    def __init__(self, context: zmq.Context[Any]) -> None:
        self.socket = context.socket(zmq.PUSH)
        self.socket.linger = 0
        self.socket.sndtimeo = int(WAIT_S * 1000)
        self.socket.bind("tcp://127.0.0.1:*")
        self.endpoint: str = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.number = 0
        self.nbytes = 0

    def send(self, parts: list[Any]) -> None:
        self.socket.send_multipart(parts)
        self.nbytes += sum(map(len, parts))

    def header(self, filename: str = "", **metadata: Any) -> None:
        self.send(stins.encode_header(self._next(), filename, metadata))

    def image(self, number: int, *, blob: bytes | None = None, encoding: Encoding = Encoding.NONE, **how: Any) -> None:
        frame = Frame(
            series="",
            frame_number=number,
            format=FrameFormat(SHAPE, "uint16", encoding),
            blobs=(blob if blob is not None else pixels(number).tobytes(),),
            **how,
        )
        self.send(stins.encode_image(self._next(), frame))

    def end(self) -> None:
        self.send(stins.encode_end(self._next()))

    def skip(self, count: int = 1) -> None:
        """Messages that were sent and got lost on the way."""
        self.number += count

    def series(self, count: int) -> None:
        self.header(exptime=0.5)
        for number in range(count):
            self.image(number)
        self.end()

    def _next(self) -> int:
        self.number += 1
        return self.number - 1


class Harness:
    """A receiver, its sender, and everything that was told."""

    def __init__(self, folder: Path) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.senders: list[Sender] = []
        self.sender = self.add_sender()
        self.folder = folder
        self.reports: list[RunReport] = []
        self.counters: list[Counters] = []
        self.over = threading.Event()
        self.states = threading.Condition()
        self.receiver = Receiver(self._hear, self.counters.append, software="tests")

    def add_sender(self) -> Sender:
        self.senders.append(
            Sender(self.context)
        )  # kept, so that the context closes it and not the collector of garbage
        return self.senders[-1]

    def _hear(self, report: RunReport) -> None:
        with self.states:
            self.reports.append(report)
            self.states.notify_all()
        if report.receipt is not None:
            self.over.set()

    def request(self, **changes: Any) -> RunRequest:
        settings: dict[str, Any] = {
            "sources": (self.sender.endpoint,),
            "stream_format": StreamFormat.STINS,
            "destination": str(self.folder / "a.h5"),
            "roots": (str(self.folder),),
            "detector": "eiger",
            "connect_timeout_s": WAIT_S,
            "grace_s": 0.2,
        }
        return RunRequest(**{**settings, **changes})

    def prepare(self, **changes: Any) -> None:
        self.over.clear()
        self.receiver.prepare(self.request(**changes))

    def wait_written(self, count: int) -> None:
        pause = threading.Event()
        for _ in range(500):
            if self.counters and self.counters[-1].frames_written >= count:
                return
            pause.wait(0.01)
        raise AssertionError(f"{count} frames were not written: {self.counters[-1:]}")

    def wait_state(self, state: AcquisitionState) -> None:
        with self.states:
            assert self.states.wait_for(lambda: self.receiver.state is state, WAIT_S), self.receiver.state

    def wait_receipts(self, count: int) -> list[Receipt]:
        """Of the first series of a run of several."""

        def receipts() -> list[Receipt]:
            return [report.receipt for report in self.reports if report.receipt is not None]

        with self.states:
            assert self.states.wait_for(lambda: len(receipts()) >= count, WAIT_S), self.reports[-1]
            return receipts()

    def receipt(self) -> Receipt:
        assert self.over.wait(WAIT_S), self.reports[-1]
        receipt = self.reports[-1].receipt
        assert receipt is not None
        return receipt


def stored(receipt: Receipt) -> np.ndarray[Any, Any]:
    with h5py.File(receipt.file, "r") as file:
        data: np.ndarray[Any, Any] = file[receipt.dataset][...]
        return data


def send_v1(sender: Sender, numbers: list[int], *, encoding: Encoding = Encoding.BSLZ4, end: bool = True) -> None:
    config = {"nimages": len(set(numbers)), "ntrigger": 1, "count_time": 0.1, "frame_time": 0.11}
    sender.send(dectris_v1.encode_header(7, detail=dectris_v1.HeaderDetail.BASIC, config=config, appendix=None))
    for number in numbers:
        data = pixels(number)
        blob = (
            compress_bslz4(data) if encoding is Encoding.BSLZ4 else lz4.block.compress(data.tobytes(), store_size=False)
        )
        format = FrameFormat(SHAPE, "uint16", encoding)
        sender.send(
            dectris_v1.encode_image(7, number, format, blob, start_ns=number * 10**9, stop_ns=10**9, real_ns=10**8)
        )
    if end:
        sender.send(dectris_v1.encode_end(7))


def packed_by_hdf5(data: np.ndarray[Any, Any]) -> bytes:
    """Bitshuffle-Zstandard as HDF5's filter makes it; not every build of the bitshuffle package can."""
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        options = {"compression": hdf5plugin.BSHUF_ID, "compression_opts": (0, 3)}
        dataset = file.create_dataset("data", data=data[None], chunks=(1, *data.shape), **options)
        chunk: bytes = dataset.id.read_direct_chunk((0, 0, 0))[1]
        return chunk


def send_v1_raw(sender: Sender, numbers: list[int]) -> None:
    config = {"nimages": 4, "ntrigger": 1}
    sender.send(dectris_v1.encode_header(7, detail=dectris_v1.HeaderDetail.BASIC, config=config))
    format = FrameFormat(SHAPE, "uint16", Encoding.NONE)
    for number in numbers:
        blob = pixels(number).tobytes()
        sender.send(dectris_v1.encode_image(7, number, format, blob, start_ns=0, stop_ns=0, real_ns=0))


def wait_for_bytes(harness: Harness, nbytes: int) -> None:
    pause = threading.Event()
    for _ in range(500):
        if harness.counters and harness.counters[-1].bytes_received >= nbytes:
            return
        pause.wait(0.01)
    raise AssertionError("the messages did not arrive")


def slow_writes(monkeypatch: pytest.MonkeyPatch, pause_s: float, rows: range) -> None:
    write, pause = SeriesFile.write, threading.Event()

    def slow(self: SeriesFile, row: int, *rest: Any) -> int:
        if row in rows:
            pause.wait(pause_s)
        return write(self, row, *rest)

    monkeypatch.setattr(SeriesFile, "write", slow)
