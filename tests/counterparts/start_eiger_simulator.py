"""Start ALBA's simulated Eiger (eiger-simulator, SIMPLON 1.6.0, stream v1) on free ports; in its own environment.

    start_eiger_simulator.py FOLDER [lz4|bslz4]

Makes the HDF5 data set that the simulator insists on in FOLDER, prints one JSON line `{"http": port, "legacy": port}`
once HTTP answers (the stream socket is bound by `initialize`, as the simulator does it), and ends when its standard
input is closed. The detector is made small (a 512 x 1028 module; published: 9M) by changing the defaults of its
configuration table; its behaviour is as published.

Pixel (row, column) of image k is `(k * 1000 + row + column) % 65521` with k the number of the image in the data set, so
that a receiver can tell frames, rows and columns apart.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import types
from pathlib import Path

import bitshuffle
import h5py
import numpy as np
import uvicorn

if not hasattr(bitshuffle, "h5"):
    # eigersim imports bitshuffle.h5 and uses none of it; the wheels for Python 3.13 are built without.
    sys.modules.setdefault("bitshuffle.h5", types.ModuleType("bitshuffle.h5"))

from eigersim import config, web

ROWS, COLUMNS, IMAGES = 512, 1028, 4


def make_data_set(folder: Path) -> Path:
    """A master file with one block of images under `entry/data`."""
    rows, columns = np.ogrid[:ROWS, :COLUMNS]
    images = np.stack([(k * 1000 + rows + columns) % 65521 for k in range(IMAGES)]).astype("uint16")
    path = folder / "master.h5"
    with h5py.File(path, "w") as file:
        file["entry/data/data_000001"] = images
    return path


class AnnouncingServer(uvicorn.Server):
    """Tells its port once it listens."""

    stream_port = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then announce."""
        await super().startup(sockets)
        http = self.servers[0].sockets[0].getsockname()[1]
        print(json.dumps({"http": http, "legacy": self.stream_port}), flush=True)


def end_with_parent() -> None:
    """Leave when standard input is closed."""
    sys.stdin.read()
    os._exit(0)


def main(folder: Path, compression: str) -> None:
    """Serve until told to stop."""
    threading.Thread(target=end_with_parent, name="parent-watch", daemon=True).start()
    config.GEN_DETECTOR_CONFIG["x_pixels_in_detector"]["value"] = COLUMNS
    config.GEN_DETECTOR_CONFIG["y_pixels_in_detector"]["value"] = ROWS
    # Bound but never listening: keeps the port ours until `initialize` binds it, which SO_REUSEADDR allows.
    with socket.socket() as reservation:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind(("127.0.0.1", 0))
        stream_port = reservation.getsockname()[1]
        detector = web.Detector(zmq_bind=f"tcp://127.0.0.1:{stream_port}", dataset=str(make_data_set(folder)))
        detector.config["compression"]["value"] = compression
        web.app.detector = detector
        server = AnnouncingServer(uvicorn.Config(web.app, host="127.0.0.1", port=0, log_level="warning"))
        server.stream_port = stream_port
        server.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "bslz4")
