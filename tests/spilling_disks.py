"""A receiver with a spill directory and a destination that is full, or frozen in mid-run, as a program.

    python spilling_disks.py full|frozen HOME SPILL BACKEND ENGINES

HOME and SPILL are mounted file systems of their own: a HOME that is full is made larger before the files are moved,
one that is frozen is thawed before the series ends. Prints one JSON object of what came of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import zmq

from dealing import wait_for
from full_disk import FORMAT, FRAMES, pixels
from maxdaq_tango.files import bring_all_home, check_file, find_parts, recover_found
from maxdaq_tango.model import Compression, FileBackend, Frame
from maxdaq_tango.wire import stins
from receiving import Harness

FREEZE_AT, THAW_AT = 60, 300


def image(harness: Harness, number: int) -> None:
    frame = Frame(series="", frame_number=number, format=FORMAT, blobs=(pixels(number).tobytes(),))
    harness.sender.send(stins.encode_image(harness.sender._next(), frame))


def main() -> None:
    how, home, spill = sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3]).resolve()
    harness = Harness(home)
    harness.sender.socket.sndtimeo = 3_000
    told: dict[str, object] = {}
    frozen = False
    try:
        harness.prepare(
            compression=Compression.NONE,
            expected_frames=FRAMES,
            memory_bytes=64 << 20,
            frames_per_file=10,
            backend=FileBackend(sys.argv[4]),
            engines=int(sys.argv[5]),
            spill_directory=str(spill),
        )
        harness.sender.header()
        for number in range(FREEZE_AT):
            image(harness, number)
        harness.wait_written(FREEZE_AT)
        if how == "frozen":
            subprocess.run(["fsfreeze", "-f", str(home)], check=True)
            frozen = True
        failed = threading.Event()
        sending = threading.Thread(target=send, args=(harness, failed))
        sending.start()
        if how == "frozen":
            wait_for(lambda: harness.counters[-1].frames_received >= THAW_AT, 60)
            begun = harness.counters[-1]
            told["written while frozen"] = begun.frames_written - FREEZE_AT
            told["spilling"] = [r.message for r in harness.reports if "spill directory" in r.message]
            subprocess.run(["fsfreeze", "-u", str(home)], check=True)
            frozen = False
        assert harness.over.wait(60), harness.reports[-1]
        receipt = harness.receipt()
        failed.set()
        sending.join()
    finally:
        if frozen:
            subprocess.run(["fsfreeze", "-u", str(home)], check=True)
    told |= {"verdict": receipt.verdict, "reasons": receipt.reasons, "written": receipt.frames_written}
    told |= {"lost": receipt.frames_lost_count, "spilled": len(receipt.data_files_spilled)}
    told |= {"missing": receipt.frames_missing_count, "published before": (home / "a.h5").exists()}
    # A writer process lets go of its files a moment after the receipt.
    wait_for(lambda: not [*home.glob(".*.owner"), *spill.glob("*/.*.owner")])
    if how == "full":
        told["no room yet"] = [one.problem for one in bring_all_home(spill)]
        subprocess.run(["mount", "-o", "remount,size=200m", str(home)], check=True)
    told["moved"] = [[one.master, one.problem, one.note] for one in bring_all_home(spill)]
    if (home / "a.h5").exists():
        told["check"] = check_file(home / "a.h5").problems
        with h5py.File(home / "a.h5") as file:
            data = file["entry/data/data"]
            told["right"] = sum(np.array_equal(data[row], pixels(row)) for row in range(min(FRAMES, len(data))))
    else:
        every = [one for folder in (home, spill) for one in recover_found(find_parts(folder))]
        found = [one for one in every if "_data_" in Path(one.part).name]
        told["recovered"] = sum(one.frames for one in found)
        told["check"] = [one.problem for one in found if one.problem]
    told["left"] = [str(path.relative_to(spill)) for path in spill.rglob("*") if path.name != "lost+found"]
    harness.receiver.close()
    harness.context.destroy(0)
    print(json.dumps(told))


def send(harness: Harness, failed: threading.Event) -> None:
    for number in range(FREEZE_AT, FRAMES):
        try:
            image(harness, number)
        except zmq.Again:  # whoever fails closes its sockets
            assert failed.wait(60)
        if failed.is_set():
            return
    harness.sender.end()


if __name__ == "__main__":
    main()
