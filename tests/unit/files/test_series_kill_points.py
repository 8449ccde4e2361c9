"""Killed at every step of the end of a series in blocks, or of its recovery: every frame is there, and no wrong one."""

from __future__ import annotations

from pathlib import Path

import pytest

from killed_blocks import SERIES, kill, look, masters, recovered
from maxdaq_tango.files import find_parts, read_receipt
from maxdaq_tango.model import Verdict

pytestmark = pytest.mark.timeout(600)  # some hundred processes on a busy machine

END = [
    *(f"block_set BlockFile.{name}" for name in ("park", "close_rows")),
    *(f"blocks {name}" for name in ("sync_directory", "remove_side_files", "release")),
    *(f"master {name}" for name in ("keep_state", "take_columns", "refer_to", "store_account", "sync_file")),
    *(f"closed_state {name}" for name in ("os.replace",)),
    *(f"block_file {name}" for name in ("blank_rows", "sync_file")),
]
"""Steps that are looked at once, before and after."""
FILES = 6
"""With the master."""
CASES = [
    ("gaps", ("after",)),
    pytest.param("gaps", ("before",), marks=pytest.mark.slow),
    pytest.param("growing", ("before", "after"), marks=pytest.mark.slow),
]
RECOVERY = [
    *(f"recovered_series {name}" for name in ("publish_series", "take_back_master", "find_members", "_shape")),
    *(f"recovered_series {name}" for name in ("take_columns", "refer_to", "store_account", "sync_file", "give_shape")),
    *(f"series_members {name}" for name in ("keep_state", "recover_part", "put_back")),
    *(f"series_publication {name}" for name in ("move_beside", "sync_directory", "sync_file", "with_manifest")),
    *(f"recovered_rows {name}" for name in ("blank_rows",)),
    *(f"ownership {name}" for name in ("_take_over", "release")),
]
MADE = ["recovered_series make_stand_in", "stand_in blank_rows", "stand_in sync_file"]
"""Of a series without some data files, or in another order."""


@pytest.fixture(params=["swmr", "direct"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.mark.lesson(13)
@pytest.mark.parametrize(("kind", "whens"), CASES)
def test_a_kill_at_any_step_of_the_end_loses_no_frame(
    tmp_path: Path, backend: str, kind: str, whens: tuple[str, ...]
) -> None:
    points = [f"{when} 1 {step}" for step in END for when in whens]
    points += [f"{when} {number} blocks give_name" for number in range(1, FILES) for when in whens]
    points += [f"after {number} os link" for number in range(1, FILES + 1)]
    left = kill(tmp_path, backend, kind, points)
    assert len(left) >= len(points) - 4  # the others are steps that this series has not
    for folder, point in left.items():
        look_at(folder, kind, point)


@pytest.mark.lesson(13)
@pytest.mark.parametrize(
    ("kind", "whens"), [*CASES, pytest.param("turned", ("before", "after"), marks=pytest.mark.slow)]
)
def test_a_recovery_that_is_killed_at_any_step_is_repeated(
    tmp_path: Path, backend: str, kind: str, whens: tuple[str, ...]
) -> None:
    steps = [*RECOVERY, *(MADE if kind != "growing" else [])]
    points = [f"{when} 1 {step}" for step in steps for when in whens]
    points += [f"after {number} series_publication give_name" for number in range(1, FILES)]
    points += [f"after {number} os link" for number in range(1, FILES + 1)]
    points += [f"after 3 {step}" for step in ("recovered_series _shape", "series_members recover_part")]
    frames = len(SERIES[kind])
    left = kill(tmp_path, backend, kind, [f"frames {frames}|{point}" for point in points])
    assert len(left) >= len(points) - (12 if kind == "turned" else 4)
    for folder, point in left.items():
        look_at(folder, kind, point)


@pytest.mark.lesson(13)
def test_a_recovery_of_a_series_that_was_killed_in_publishing_is_repeated(tmp_path: Path, backend: str) -> None:
    points = [f"{when} {number} series_publication give_name" for number in (1, 2, 4) for when in ("before", "after")]
    left = kill(tmp_path, backend, "gaps", [f"after 2 blocks give_name|{point}" for point in points])
    assert len(left) == len(points)
    for folder, point in left.items():
        look_at(folder, "gaps", point)


def look_at(folder: Path, kind: str, point: str) -> None:
    """Recover what is left, and again: nothing more may come of it."""
    told = recovered(folder)
    assert list(find_parts(folder)) == [], point
    whole = list(masters(folder))
    assert len(whole) == 1, (point, whole)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert recovered(folder) == []
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert not told or not list(folder.glob(".*_data_*.owner*")), point
    assert not list(folder.glob("*.stand_in")), point
    found = look(whole[0], [], point)
    assert found.numbers == SERIES[kind], point
    receipt = read_receipt(found.master)
    assert receipt.verdict in (Verdict.FAILED, Verdict.INCOMPLETE, Verdict.COMPLETE), point
    gone = [n for n in range(found.numbers[0], found.numbers[-1]) if n not in found.numbers]
    assert [n for low, high in receipt.frames_missing_ranges for n in range(low, high + 1)] == gone, point
