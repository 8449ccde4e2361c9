"""A short campaign of `tests/kills.py`, and whether it would see what it looks for.

The result of a long one is in docs/reference/kill-campaign.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kill_findings import BLANK, FORMAT, Kill, all_patterns, look_at, pixels
from maxdaq_tango.files import FrameTimes, SeriesFile, resolve_destination
from maxdaq_tango.kernels.compression import compress_bslz4
from maxdaq_tango.model import FileBackend, Receipt, Verdict

KILLS = 4
SCRIPT = Path(__file__).parents[2] / "kills.py"


@pytest.mark.lesson(13)
@pytest.mark.parametrize("backend", ["swmr", "direct"])
def test_kills_at_random_instants_leave_no_wrong_frame_and_lose_no_safe_one(tmp_path: Path, backend: str) -> None:
    command = [sys.executable, str(SCRIPT), "--kills", str(KILLS), "--backend", backend, "--victim", "all"]
    command += ["--frames", "1000", "--seed", "4", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert (told["kills"], told["kills_with_problems"], told["bad"]) == (KILLS, 0, [])
    assert told["frames_compared"] >= 1000
    assert list(tmp_path.iterdir()) == []  # kept only where something is wrong


COUNT = 12
PATTERNS = all_patterns()


Ranges = tuple[tuple[int, int], ...]


def made(folder: Path, *, swapped: int = -1, gone: int = -1, told: Ranges = (), late: Ranges = ()) -> Path:
    """A finished file: frame `swapped` has the pixels of the next one, `gone` is not there, `told` are called missing,
    and `late` too late to be stored.
    """
    file = SeriesFile(
        resolve_destination(str(folder / "a.h5"), [str(folder)]), detector="d", software="t", backend=FileBackend.SWMR
    )
    file.begin(FORMAT, COUNT, BLANK, {}, {})
    for row in range(COUNT):
        shown = row + 1 if row == swapped else row
        if row != gone:
            file.write(row, row, [compress_bslz4(pixels(np.array([shown]), PATTERNS)[0])], FrameTimes())
    valid = np.arange(COUNT) != gone
    file.settle(valid, 0, 0, COUNT)
    return file.finish(
        Receipt(
            verdict=Verdict.INCOMPLETE if told or late else Verdict.COMPLETE,
            frames_expected=COUNT,
            frames_written=int(valid.sum()),
            frames_missing_ranges=told,
            frames_missing_count=len(told),
            frames_late=len(late),
            frames_late_ranges=late,
            first_frame_number=0,
            shape=(COUNT, *FORMAT.shape),
            dtype="uint16",
        )
    )


def finding(folder: Path, *, safe: int = 0, **how: object) -> str:
    made(folder, **how)  # type: ignore[arg-type]
    kill = Kill(0, "swmr", "engine", 0.1, safe=safe)
    look_at(kill, folder, COUNT, PATTERNS)
    return "; ".join(kill.problems)


def test_a_campaign_finds_nothing_in_a_file_that_is_right(tmp_path: Path) -> None:
    (tmp_path / "gap").mkdir()
    assert finding(tmp_path, safe=COUNT) == ""
    assert finding(tmp_path / "gap", gone=3, told=((3, 3),), safe=3) == ""
    (tmp_path / "late").mkdir()
    assert finding(tmp_path / "late", gone=3, late=((3, 3),), safe=3) == ""


def test_a_campaign_sees_the_pixels_of_another_frame(tmp_path: Path) -> None:
    assert finding(tmp_path, swapped=7) == "row 7 has not the pixels of its frame"


def test_a_campaign_sees_that_a_safe_frame_is_lost(tmp_path: Path) -> None:
    assert "1 frames that were safe are lost, the first is 3" in finding(tmp_path, gone=3, told=((3, 3),), safe=5)


def test_a_campaign_sees_a_wrong_account(tmp_path: Path) -> None:
    assert "the receipt calls 1 frames missing, late or lost, 1 are" in finding(tmp_path, gone=3, told=((4, 4),))


def test_a_campaign_sees_that_nothing_is_left_of_what_was_safe(tmp_path: Path) -> None:
    kill = Kill(0, "swmr", "engine", 0.1, safe=5)
    look_at(kill, tmp_path, COUNT, PATTERNS)
    assert kill.problems == ["5 frames were safe, 0 are there"]
    kill = Kill(0, "swmr", "engine", 0.1)
    (tmp_path / ".a.h5.part").write_bytes(b"not HDF5")
    look_at(kill, tmp_path, COUNT, PATTERNS)
    assert kill.problems[0].startswith("not recovered: ")
