"""Killed at every step of the end of a series: what was flushed is there afterwards, and nothing wrong is."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest

from maxdaq_tango.files import check_file, read_receipt, recover_file
from maxdaq_tango.model import Verdict

COUNT = 24
GONE = (7, 8, 13)
"""Frames that never come in a series with gaps."""
FIRST = 9
"""Number of the first frame in a series that is turned."""

WRITER = """
import importlib, json, os, sys
from pathlib import Path
import numpy as np
from maxdaq_tango.files import FrameTimes, SeriesFile, recover_file, resolve_destination
from maxdaq_tango.kernels.compression import compress_bslz4
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat, Receipt, Verdict
import maxdaq_tango.files.closed_state, maxdaq_tango.files.completion

root, backend, series, points = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
COUNT, FIRST, GONE = json.loads(sys.argv[5])

def pixels(number):
    return np.random.default_rng(number).poisson(1 + number % 7, (40, 50)).astype("u2")

def hook(point):
    when, where, name = point.split(" ")
    owner = importlib.import_module("os" if where == "os" else "maxdaq_tango.files." + where)
    *path, name = name.split(".")
    for step in path:
        owner = getattr(owner, step)
    inner = getattr(owner, name)
    def killed(*args, **more):
        if when == "before":
            os._exit(9)
        inner(*args, **more)
        os._exit(9)
    setattr(owner, name, killed)

def write(folder, point):
    rows = None if series in ("growing", "growing_turned") else COUNT
    turned = series.endswith("turned")
    numbers = [n for n in range(FIRST if turned else 0, COUNT + (FIRST if turned else 0))]
    if series == "gaps":
        numbers = [n for n in numbers if n not in GONE]
    file = SeriesFile(resolve_destination(folder + "/a.h5", [folder]), detector="d", software="t",
                      backend=FileBackend(backend), slab_memory_bytes=1 << 20)
    file.begin(FrameFormat((40, 50), "uint16", Encoding.BSLZ4), rows, 65535, {"count_time": 1.0},
               {"flatfield": np.ones((200, 200), "f4")}, extras={"x": 1.5})
    order = numbers[::2] + numbers[1::2]
    for number in order:
        row = number % COUNT if rows else number
        file.write(row, number, [compress_bslz4(pixels(number))], FrameTimes(start=number * 0.5), {"x": number * 0.25})
    file.checkpoint()
    hook(point)
    valid = np.array([n + numbers[0] in numbers for n in range(COUNT)])
    first = numbers[0]
    file.settle(valid, first, (first % COUNT if rows else first) if turned else 0, rows)
    file.finish(Receipt(verdict=Verdict.COMPLETE if all(valid) else Verdict.INCOMPLETE, frames_written=len(numbers),
        frames_missing_ranges=tuple((int(n), int(n)) for n in np.flatnonzero(~valid)),
        frames_missing_count=int((~valid).sum()), first_frame_number=first, shape=(COUNT, 40, 50), dtype="uint16"))
    os._exit(0)

def run(work):
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            import traceback
            traceback.print_exc()
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

for number, point in enumerate(points):
    folder = f"{root}/{number}"
    os.mkdir(folder)
    point, _, again = point.partition("|")
    code = run(lambda: write(folder, point))
    if again:
        code = run(lambda: (hook(again), recover_file(Path(folder, ".a.h5.part")), os._exit(0)))
    print(code, flush=True)
"""

STEPS = [
    "writer blank_rows",
    "writer FrameColumns.settle",
    "writer store_account",
    "writer drop_unturned",
    "writer give_name",
    "writer sync_directory",
    "writer release",
    "writer h5py.File",
    "os fdatasync",
    "os link",
    "os unlink",
]
STEPS_OF = {
    "swmr": [
        "backends SwmrBackend.leave",
        "backends SwmrBackend.checkpoint",
        "backends keep_state",
        "closed_state os.replace",
        "backends remove_state",
        "writer h5py.File.close",
        "backends turn_aside",
        "backends FrameColumns.turn",
    ],
    "direct": [
        "backends DirectBackend.leave",
        "backends complete",
        "backends FrameLog.append_end",
        "backends DirectBackend._log_until",
        "completion _put_back",
        "completion _add_index",
        "completion h5py.File",
        "backends remove_log",
    ],
}


@functools.cache
def pixels(number: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    return np.random.default_rng(number).poisson(1 + number % 7, (40, 50)).astype("u2")


@pytest.mark.lesson(13)
@pytest.mark.parametrize(
    "series",
    ["gaps", "turned", *(pytest.param(one, marks=pytest.mark.slow) for one in ("fixed", "growing", "growing_turned"))],
)
@pytest.mark.parametrize("backend", ["swmr", "direct"])
def test_a_kill_at_any_step_of_the_end_loses_no_frame(tmp_path: Path, backend: str, series: str) -> None:
    points = [f"{when} {step}" for step in STEPS + STEPS_OF[backend] for when in ("before", "after")]
    killed = kill(tmp_path, backend, series, points)
    assert killed >= 28  # the others are steps that this series has not


@pytest.mark.lesson(13)
@pytest.mark.parametrize(
    ("first", "series"),
    [
        ("receipt", "gaps"),
        *(pytest.param("leave", series, marks=pytest.mark.slow) for series in ("gaps", "turned", "growing_turned")),
        *(pytest.param("receipt", series, marks=pytest.mark.slow) for series in ("turned", "growing_turned")),
    ],
)
@pytest.mark.parametrize("backend", ["swmr", "direct"])
def test_a_recovery_that_is_killed_at_any_step_is_repeated(
    tmp_path: Path, first: str, backend: str, series: str
) -> None:
    killer = {"leave": f"before backends {backend.title()}Backend.leave", "receipt": "before writer store_account"}
    points = [f"{killer[first]}|{when} {step}" for step in RECOVERY for when in ("before", "after")]
    assert kill(tmp_path, backend, series, points) >= 18


def kill(folder: Path, backend: str, series: str, points: list[str]) -> int:
    """Write a series for each point, killed there, and look at what is left; returns how many came to their point."""
    command = [sys.executable, "-c", WRITER, str(folder), backend, series]
    command += [json.dumps(points), json.dumps([COUNT, FIRST, GONE])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    codes = dict(zip(points, map(int, done.stdout.split()), strict=True))
    assert set(codes.values()) <= {0, 9}, (codes, done.stderr)
    for number, (point, code) in enumerate(codes.items()):
        look_at(folder / str(number), series, point, finished=code == 0)
    return sum(code == 9 for code in codes.values())


RECOVERY = [
    "recovered recover_part",
    "recovered settle",
    "recovered give_name",
    "recovered sync_directory",
    "recovered_rows turn_aside",
    "recovered_rows blank_rows",
    "recovered_rows store_account",
    "recovered_rows drop_unturned",
    "recovered_rows h5py.File",
    "recovery complete",
    "recovery keep_state",
    "recovery put_back",
    "recovery _take_marks_off",
    "recovery _leave_out_wrong",
    "ownership release",
    "os unlink",
    "os link",
    "os fdatasync",
    "os ftruncate",
]


def look_at(folder: Path, series: str, point: str, *, finished: bool) -> None:
    turned = series.endswith("turned")
    first = FIRST if turned else 0
    numbers = [n for n in range(first, first + COUNT) if series != "gaps" or n not in GONE]
    final, part = folder / "a.h5", folder / ".a.h5.part"
    if part.exists():
        found = recover_file(part)
        assert found.problem == "", (point, found)
        assert not part.exists()
        assert recover_file(part).problem  # there is no such file any more
        final = Path(found.file)
        assert found.frames in (len(numbers), 0), (point, found)  # 0: it was published already
    final = final if final.exists() else folder / "a_recovered.h5"
    checked = check_file(final)
    assert checked.problems == [], (point, checked.problems)
    receipt = read_receipt(final)
    assert receipt.frames_written == len(numbers), point
    assert receipt.first_frame_number == first, point
    assert receipt.verdict in (Verdict.FAILED, Verdict.INCOMPLETE if series == "gaps" else Verdict.COMPLETE)
    with h5py.File(final, "r") as file:
        group = file["entry/instrument/d"]
        assert len(group["data"]) == COUNT
        assert group["daq/frame_valid"][...].sum() == len(numbers)
        assert "unturned" not in group["daq"] or not finished
        for number in numbers:
            row = number - first
            assert np.array_equal(group["data"][row], pixels(number)), (point, number)
            assert group["start_time"][row] == number * 0.5
            assert group["frame_metadata/x"][row] == number * 0.25
        assert np.all(group["flatfield"][...] == 1)
