"""A killed series in blocks is one series again: joined, accounted for, and as readers want it."""

from __future__ import annotations

from pathlib import Path

import pytest

from killed_blocks import SERIES, kill, killed, look, masters, recovered
from maxdaq_tango.files import read_manifest, read_receipt
from maxdaq_tango.model import Verdict


@pytest.fixture(params=["swmr", "direct"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.mark.lesson(13)
@pytest.mark.parametrize("name", ["a_master.h5", "a.h5"])
@pytest.mark.parametrize("kind", ["plain", "gaps", "growing"])
def test_a_killed_series_is_joined_with_an_exact_account(tmp_path: Path, backend: str, kind: str, name: str) -> None:
    part = killed(tmp_path, backend, kind, name=name)
    told = recovered(part.parent)
    master = part.parent / name.replace("a", "a_recovered", 1)
    assert [one.file for one in told if one.part == str(part)] == [str(master)]
    found = look(master, told)
    assert found.numbers == SERIES[kind]
    assert found.data_files == [f"a_recovered_data_{number + 1:06d}.h5" for number in range(5)]
    receipt = read_receipt(master)
    assert receipt.verdict is Verdict.FAILED
    assert receipt.reasons[0] == "the receiver was killed"
    gone = [n for n in range(22) if n not in SERIES[kind]]
    assert [n for low, high in receipt.frames_missing_ranges for n in range(low, high + 1)] == gone
    assert (receipt.frames_written, receipt.frames_missing_count) == (len(SERIES[kind]), len(gone))
    assert receipt.frames_expected == (None if kind == "growing" else 22)
    assert list(receipt.data_files) == found.data_files
    manifest = read_manifest(master)
    assert manifest is not None
    assert [entry.name for entry in manifest.data_files] == found.data_files
    assert list(part.parent.glob(".*.part")) == list(part.parent.glob(".*.owner")) == []


@pytest.mark.lesson(13)
def test_a_series_that_was_killed_in_the_midst_is_joined_as_far_as_it_came(tmp_path: Path, backend: str) -> None:
    for frames in (1, 4, 5, 6, 12):
        part = killed(tmp_path / str(frames), backend, frames=frames)
        told = recovered(part.parent)
        found = look(next(masters(part.parent)), told, frames)
        assert found.numbers == list(range(frames))
        receipt = read_receipt(found.master)
        assert receipt.frames_missing_ranges == ((frames, 21),)
        assert receipt.shape[0] == frames


@pytest.mark.lesson(13)
def test_before_the_first_frame_there_is_nothing_to_join(tmp_path: Path, backend: str) -> None:
    part = killed(tmp_path, backend, frames=0)
    before = part.read_bytes()
    (told,) = recovered(part.parent)
    assert "holds no frame" in told.note
    assert (told.file, part.read_bytes()) == ("", before)


@pytest.mark.lesson(13)
def test_rows_that_go_round_are_put_in_order_in_data_files_that_are_made_again(tmp_path: Path, backend: str) -> None:
    part = killed(tmp_path, backend, "turned")
    told = recovered(part.parent)
    found = look(part.with_name("a_recovered_master.h5"), told)
    assert found.numbers == SERIES["turned"]
    assert read_receipt(found.master).frames_missing_ranges == ()
    assert "made again in the order of their frames" in told[0].note
    assert list(part.parent.glob(".*.part")) == []


@pytest.mark.lesson(13)
@pytest.mark.parametrize("moves", [1, 5, 14, 20])
def test_blocks_that_were_killed_in_their_turn_never_show_a_wrong_frame(
    tmp_path: Path, backend: str, moves: int
) -> None:
    (folder,) = kill(tmp_path, backend, "turned", [f"before {moves} block_turn _Rows.write"])
    told = recovered(folder)
    found = look(next(masters(folder)), told, moves)
    receipt = read_receipt(found.master)
    gone = [n for n in SERIES["turned"] if n not in found.numbers]
    assert len(gone) == 20 - len(found.numbers) <= moves  # those that had been moved over others
    account = [*receipt.frames_missing_ranges, *(one for ones in receipt.frames_lost_at.values() for one in ones)]
    assert sorted(n for low, high in account for n in range(low, high + 1) if n in SERIES["turned"]) == gone
    if moves == 1:
        assert gone == []


@pytest.mark.lesson(13)
def test_blocks_that_were_killed_after_their_turn_are_joined_as_they_are(tmp_path: Path, backend: str) -> None:
    (folder,) = kill(tmp_path, backend, "turned", ["after 1 blocks go_on_from_here"])
    told = recovered(folder)
    found = look(next(masters(folder)), told)
    assert found.numbers == SERIES["turned"]
    assert told[0].note == "joins 4 data files"
