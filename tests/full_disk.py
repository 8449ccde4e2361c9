"""A receiver on a disk that is too small, as a program.

    python full_disk.py FOLDER HEALTHY BACKEND FRAMES_PER_FILE ENGINES LIMIT

It takes a series that does not fit into FOLDER (LIMIT > 0: no file may be larger than so many bytes), then another in
HEALTHY, and prints one JSON object of what came of both. A process of its own, because its disk or its limit is.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import zmq

sys.path.insert(0, str(Path(__file__).parent))

from maxdaq_tango.errors import FileError
from maxdaq_tango.files import check_file, find_parts, read_manifest, recover_found
from maxdaq_tango.model import Compression, Encoding, FileBackend, Frame, FrameFormat, Receipt, Verdict
from maxdaq_tango.wire import stins
from receiving import Harness

FORMAT = FrameFormat((256, 256), "uint16", Encoding.NONE)
FRAMES = 400
"""Of 128 KiB: that is more than any of these disks has room for."""
MOUNT = {
    "tmpfs": "mount -t tmpfs -o size=24m none small",
    "ext4": "truncate -s 40M image && mkfs.ext4 -q -F -m 0 image && mount -o loop image small",
    "read-only": "mount -t tmpfs -o ro none small",
}
MEMORY = 16 << 20


@functools.cache
def can_mount(how: str) -> bool:
    """In a mount namespace of its own, which ends with its process."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or (how == "ext4" and shutil.which("mkfs.ext4") is None):
        return False
    script = f"cd $(mktemp -d) && mkdir small && {MOUNT[how]} && umount small; code=$?; rm -rf $PWD; exit $code"
    return subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, check=False).returncode == 0


def pixels(number: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(number).integers(0, 65535, FORMAT.shape).astype("<u2")


def send(harness: Harness, count: int) -> None:
    sender = harness.sender
    sender.socket.sndtimeo = 500
    sender.header()
    for number in range(count):
        frame = Frame(series="", frame_number=number, format=FORMAT, blobs=(pixels(number).tobytes(),))
        try:
            sender.send(stins.encode_image(sender._next(), frame))
        except zmq.Again:
            return  # whoever fails closes its sockets
    sender.end()


def take(harness: Harness, count: int, **how: Any) -> Receipt:
    harness.prepare(compression=Compression.NONE, expected_frames=count, memory_bytes=MEMORY, **how)
    sending = threading.Thread(target=send, args=(harness, count))
    sending.start()
    receipt = harness.receipt()
    sending.join()
    return receipt


def readable(files: list[Path]) -> tuple[list[int], list[int]]:
    """Numbers of frames that are there, and of those that are not what was sent."""
    right, wrong = [], []
    for path in files:
        with h5py.File(path, "r") as file:
            group = file["entry/instrument/eiger"]
            for row in np.flatnonzero(group["daq/frame_valid"][...]):
                number = int(group["sequence_number"][row])
                same = np.array_equal(group["data"][row], pixels(number))
                (right if same else wrong).append(number)
    return right, wrong


def main() -> None:
    folder, healthy = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    backend, (frames_per_file, engines, limit) = FileBackend(sys.argv[3]), map(int, sys.argv[4:])
    harness = Harness(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        receipt = take(harness, FRAMES, backend=backend, frames_per_file=frames_per_file, engines=engines)
    except FileError as error:
        receipt = Receipt(verdict=Verdict.FAILED, reasons=(str(error),))  # refused: there was no run
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    deadline = time.monotonic() + 5
    while list(folder.glob(".*.owner")) and time.monotonic() < deadline:
        time.sleep(0.02)  # a writer process lets go of its files a moment after the receipt
    left = sorted(path.name for path in folder.iterdir() if path.name != "lost+found")
    manifest = read_manifest(Path(receipt.file)) if receipt.file else None
    found = list(recover_found(find_parts(folder)))
    files = [Path(one.file) for one in found if one.file and not one.master] or [Path(receipt.file)] * bool(
        receipt.file
    )
    right, wrong = readable(files)
    harness.folder = healthy
    harness.sender = harness.add_sender()
    after = take(harness, 20, backend=backend)
    harness.receiver.close()
    harness.context.destroy(0)
    told = {
        "verdict": receipt.verdict,
        "reasons": receipt.reasons,
        "file": receipt.file,
        "written": receipt.frames_written,
        "lost": receipt.frames_lost_count,
        "missing": receipt.frames_missing_count,
        "memory": grown,
        "manifest": manifest is not None,
        "left": left,
        "problems": [one.problem for one in found if one.problem],
        "right": right,
        "wrong": wrong,
        "after": [after.verdict, *after.reasons, *check_file(after.file).problems],
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
