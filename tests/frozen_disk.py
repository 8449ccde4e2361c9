"""An engine on a disk that is frozen in mid-run, as a program: `python frozen_disk.py DISK HEALTHY`.

DISK is a mounted file system of its own, which is frozen with fsfreeze and thawed before the end, and HEALTHY another
one. Prints one JSON object of what the owner of the engine was told, and how long it waited.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from engine_owner import WAIT_S, Owner
from maxdaq_tango.files import check_file, recover_file
from maxdaq_tango.model import AcquisitionState, FileBackend
from maxdaq_tango.pipeline.unkillable import reap


def main() -> None:
    disk, healthy = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    told: dict[str, object] = {}
    owner = Owner(disk)
    owner.engine._kill_s = 1.0
    owner.engine.prepare(owner.request(expected_frames=1000, backend=FileBackend.DIRECT))
    owner.send(count=100, end=False)
    owner.wait_written(100)
    threading.Event().wait(1.5)  # a checkpoint
    first = owner.engine.pid
    subprocess.run(["fsfreeze", "-f", str(disk)], check=True)
    try:
        owner.send(100, 100, header=False, end=False)
        state = Path(f"/proc/{first}/task")
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline and not told.get("frozen"):
            states = [path.read_text().rpartition(")")[2].split()[0] for path in state.glob("*/stat")]
            told["frozen"] = "D" in states
        began = time.monotonic()
        owner.engine.kill()
        owner.wait(lambda: owner.told[-1].state is AcquisitionState.FAULT)
        told["fault_s"], told["fault"] = time.monotonic() - began, owner.told[-1].message
        owner.socket.close()
        owner.bind()
        owner.folder = healthy
        owner.engine.prepare(owner.request("b.h5"))
        owner.send()
        told["idle"] = owner.engine.wait_idle(WAIT_S)
        told["another"] = owner.engine.pid != first
        told["next"] = str(owner.engine.last_receipt and owner.engine.last_receipt.verdict)
        told["unkillable"] = reap() == [first]
    finally:
        subprocess.run(["fsfreeze", "-u", str(disk)], check=True)
    deadline = time.monotonic() + WAIT_S
    while reap() and time.monotonic() < deadline:
        time.sleep(0.01)
    told["left"] = reap()
    owner.close()
    found = recover_file(disk / ".a.h5.part")
    told["recovered"] = [found.problem, found.frames >= 100, check_file(found.file).problems]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
