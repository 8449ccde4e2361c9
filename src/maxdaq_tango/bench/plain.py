"""The plain way to receive into a file, which is what most receivers begin as.

One thread; a JSON parse, two path look-ups, two growing datasets and an element written for every frame; a default
HDF5 file. The chunk itself is written directly, without HDF5's filters. The file is closed and not synchronised.
"""

from __future__ import annotations

import json
import time
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the filter)
import numpy as np
import zmq

from maxdaq_tango.bench.floors import pull_socket
from maxdaq_tango.bench.payload import Payload
from maxdaq_tango.bench.talk import Done, Go, Prepare

GROUP = "/entry/instrument/detector"
DATA, NUMBERS = f"{GROUP}/data", f"{GROUP}/sequence_number"
BITSHUFFLE = 32008


class Plain:
    """The baseline."""

    def __init__(self, payload: Payload) -> None:
        self._nbytes = max(payload.description.lengths)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def prepare(self, asked: Prepare) -> None:
        """Connect."""
        self._socket = pull_socket(self._context, asked.endpoint, self._nbytes)
        self._path = asked.path

    def run(self, go: Go) -> Done:
        """One series, until the file is closed."""
        frames = nbytes = 0
        file: h5py.File | None = None
        while True:
            parts = self._socket.recv_multipart(copy=False)
            header = json.loads(parts[0].bytes)
            if header["htype"] == "header":
                file = h5py.File(self._path, "w")
                file.create_group(GROUP).create_dataset("sequence_number", (0,), maxshape=(None,), dtype="u4")
            elif header["htype"] == "series_end":
                break
            elif file is not None:
                blob = parts[1].buffer
                _store(file, header, blob)
                frames += 1
                nbytes += len(blob)
        if file is not None:
            file.close()
        ended = time.monotonic_ns()
        self._socket.close()
        return Done(frames=frames, nbytes=nbytes, ended_ns=ended)


def _store(file: h5py.File, header: dict[str, Any], blob: memoryview) -> None:
    dataset = file.get(DATA)
    if dataset is None:
        packed = header["compression"] == "bslz4"
        dataset = file.create_dataset(
            DATA,
            shape=(0, *header["shape"]),
            maxshape=(None, *header["shape"]),
            chunks=(1, *header["shape"]),
            dtype=np.dtype(header["type"]),
            compression=BITSHUFFLE if packed else None,
            compression_opts=(0, 2) if packed else None,
        )
    numbers = file.get(NUMBERS)
    count = numbers.shape[0]
    numbers.resize(count + 1, axis=0)
    numbers[count] = header["frame"]
    row = dataset.shape[0]
    dataset.resize(row + 1, axis=0)
    dataset.id.write_direct_chunk((row, 0, 0), blob, 0)
