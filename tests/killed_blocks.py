"""Series in blocks that are killed where a test says, recovered, and compared with what was written.

Points are `WHEN NTH MODULE NAME` (killed before or after the n-th call), or `frames N` (killed when so many are safe).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401
import numpy as np

from maxdaq_tango.files import Recovered, check_file, find_parts, recover_found

SHAPE = (24, 30)
BLOCK = 5
BLANK = 65535
SERIES: dict[str, list[int]] = {
    "plain": list(range(22)),
    "gaps": [n for n in range(22) if n not in (3, 4, 5, 9) and not 10 <= n < 15],
    "growing": [n for n in range(22) if n != 7],
    "turned": list(range(7, 27)),
}
"""Frame numbers; of the turned one the sender begins with 7, and row 0 is that of frame 20."""
LENGTHS = {"plain": 22, "gaps": 22, "growing": None, "turned": 20}

WRITER = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})"
    + """
import importlib, json, os, sys
from pathlib import Path
import numpy as np
from maxdaq_tango.files import BlockedSeries, FrameTimes, find_parts, recover_found, resolve_destination
from maxdaq_tango.kernels.compression import compress_bslz4
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat, Receipt, Verdict
from killed_blocks import BLANK, BLOCK, LENGTHS, SERIES, SHAPE, pixels

root, backend, kind, name, points = *sys.argv[1:5], json.loads(sys.argv[5])

def hook(point):
    when, left, where, name = point.split(" ")
    left = int(left)
    owner = importlib.import_module("os" if where == "os" else "maxdaq_tango.files." + where)
    *path, name = name.split(".")
    for step in path:
        owner = getattr(owner, step)
    inner = getattr(owner, name)
    def killed(*args, **more):
        nonlocal left
        left -= 1
        if when == "before" and not left:
            os._exit(9)
        result = inner(*args, **more)
        if not left:
            os._exit(9)
        return result
    setattr(owner, name, killed)

def write(folder, point):
    rows, numbers = LENGTHS[kind], SERIES[kind]
    series = BlockedSeries(resolve_destination(f"{folder}/{name}", [folder]), detector="d", software="t",
                           block_rows=BLOCK, backend=FileBackend(backend), slab_memory_bytes=1 << 20,
                           expected_rows=rows)
    if point == "begin":
        os._exit(9)
    series.begin(FrameFormat(SHAPE, "uint16", Encoding.BSLZ4), rows, BLANK, {"count_time": 1.5, "nested": {"a": 1}},
                 {"flatfield": np.full((200, 200), 2, "f4")}, extras={"x": 1.5, "word": "w"})
    frames = int(point[7:]) if point.startswith("frames ") else len(numbers)
    for number in (numbers[::2] + numbers[1::2] if frames == len(numbers) else numbers[:frames]):
        row = number % rows if rows else number
        series.write(row, number, [compress_bslz4(pixels(number))], FrameTimes(start=number * 0.5),
                     {"x": number * 0.25, "word": "w"})
    for file in series._store._open if series._store else []:
        file.checkpoint()
    if point.startswith("frames "):
        os._exit(9)
    hook(point)
    first, count = min(numbers), max(numbers) - min(numbers) + 1
    valid = np.isin(np.arange(first, first + count), numbers)
    series.settle(valid, first, first % rows if rows else 0, rows)
    gone = tuple((int(n), int(n)) for n in np.flatnonzero(~valid) + first)
    series.finish(Receipt(
        verdict=Verdict.INCOMPLETE if gone else Verdict.COMPLETE, frames_written=len(numbers),
        frames_missing_ranges=gone, frames_missing_count=len(gone), first_frame_number=first, dtype="uint16",
        shape=(count, *SHAPE), data_files=series.data_files, file=str(series.planned_path()),
        dataset="/entry/instrument/d/data"))
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

def recover(folder, point):
    hook(point)
    list(recover_found(find_parts(Path(folder))))
    os._exit(0)

for number, point in enumerate(points):
    folder = f"{root}/{number}"
    os.makedirs(folder, exist_ok=True)
    point, _, again = point.partition("|")
    code = run(lambda: write(folder, point))
    if again:
        code = run(lambda: recover(folder, again))
    print(code, flush=True)
"""
)


def pixels(number: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    """Of a frame; no two are alike."""
    return np.random.default_rng(number).poisson(1 + number % 7, SHAPE).astype("u2")


def kill(root: Path, backend: str, kind: str, points: list[str], name: str = "a_master.h5") -> dict[Path, str]:
    """Folder of each series that came to its point, and the point."""
    command = [sys.executable, "-c", WRITER, str(root), backend, kind, name, json.dumps(points)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stderr
    codes = list(map(int, done.stdout.split()))
    assert len(codes) == len(points), done.stderr
    assert set(codes) <= {0, 9}, (codes, done.stderr)
    return {root / str(number): point for number, point in enumerate(points) if codes[number] == 9}


def killed(
    folder: Path, backend: str, kind: str = "plain", frames: int | None = None, name: str = "a_master.h5"
) -> Path:
    """The unfinished master of a series all of whose frames are safe."""
    point = f"frames {len(SERIES[kind]) if frames is None else frames}"
    (folder / "0").mkdir(parents=True)
    assert kill(folder, backend, kind, [point], name)
    return folder / "0" / f".{name}.part"


@dataclass
class Found:
    """A series as readers find it."""

    master: Path
    told: list[Recovered]
    numbers: list[int]
    """Frames that it has."""
    data_files: list[str]


def recovered(folder: Path) -> list[Recovered]:
    """All that is left in a folder; nothing may go wrong."""
    told = list(recover_found(find_parts(folder)))
    assert [one.problem for one in told if one.problem] == []
    return told


def look(master: Path, told: list[Recovered], context: object = "") -> Found:
    """Through h5py and hdf5plugin alone: every pixel by the virtual dataset, and by the links as neggia goes."""
    checked = check_file(master)
    assert checked.problems == [], (context, checked.problems)
    numbers: list[int] = []
    with h5py.File(master, "r", locking=False) as file:
        group = file["entry/instrument/d"]
        data = file["entry/data/data"]
        valid, told_numbers = group["daq/frame_valid"][...].astype(bool), group["sequence_number"][...]
        assert len(data) == len(valid) == len(told_numbers), context
        links = sorted(name for name in file["entry/data"] if name.startswith("data_"))
        names = [file["entry/data"].get(name, getlink=True).filename for name in links]
        assert links == [f"data_{number + 1:06d}" for number in range(len(links))], context
        assert all("/" not in name for name in names), context
        sizes = [len(file[f"entry/data/{name}"]) for name in links]
        assert [*sizes[:-1], sum(sizes)] == [sizes[0]] * (len(sizes) - 1) + [len(data)], (context, sizes)
        assert sizes[-1] <= sizes[0], (context, sizes)
        for row, number in enumerate(told_numbers.tolist()):
            by_link = file[f"entry/data/data_{row // sizes[0] + 1:06d}"]
            assert by_link.chunks == (1, *SHAPE), context
            inside = row % sizes[0]
            assert by_link.id.get_chunk_info_by_coord((inside, 0, 0)).byte_offset is not None, (context, row)
            low = by_link.attrs["image_nr_low"]
            assert (low, by_link.attrs["image_nr_high"]) == (row - inside + 1, row - inside + len(by_link)), context
            wanted = pixels(number) if valid[row] else np.full(SHAPE, BLANK, "u2")
            assert np.array_equal(data[row], wanted), (context, row, number)
            assert np.array_equal(by_link[inside], wanted), (context, row, number)
            if valid[row]:
                numbers.append(number)
                assert group["start_time"][row] == number * 0.5, context
                assert group["frame_metadata/x"][row] == number * 0.25, context
            else:
                assert np.isnan(group["start_time"][row]), context
        assert group["count_time"][()] == 1.5, context
        assert group["nested/a"][()] == 1, context
        assert np.all(group["flatfield"][...] == 2), context
        assert told_numbers.tolist() == list(range(int(told_numbers[0]), int(told_numbers[0]) + len(data))), context
    return Found(master, told, numbers, names)


def masters(folder: Path) -> Iterator[Path]:
    """Finished ones."""
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path, "r") as file:
            if file["entry/data"].get("data_000001", getlink=True) is not None:
                yield path
