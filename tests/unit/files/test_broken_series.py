"""A killed series in blocks of which something is missing, damaged, taken or in somebody's hands."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import pytest

from killed_blocks import SERIES, kill, killed, look, masters, recovered
from maxdaq_tango.errors import FileError
from maxdaq_tango.files import (
    check_file,
    find_parts,
    read_receipt,
    recover_file,
    recover_found,
    recovery,
    series_publication,
    write_manifest,
)
from maxdaq_tango.files.closed_state import remove_state
from maxdaq_tango.files.frame_log import log_path, read_log
from maxdaq_tango.files.ownership import claim, release
from maxdaq_tango.files.side_files import remove_side_files
from maxdaq_tango.files.troubles import may_pass
from maxdaq_tango.model import Receipt, Verdict


@pytest.fixture(params=["swmr", "direct"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def data_part(master: Path, number: int) -> Path:
    return master.with_name(f".a_data_{number:06d}.h5.part")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def change_a_pixel(path: Path, row: int) -> None:
    """Of a file, or of an unfinished one."""
    if log_path(path).exists():
        place = next(int(b.offsets[i, 0]) for b in read_log(path).blocks for i, r in enumerate(b.rows) if r == row)
    else:
        with h5py.File(path, "r", swmr=path.suffix == ".part", locking=False) as file:
            place = file["entry/instrument/d/data"].id.get_chunk_info_by_coord((row, 0, 0)).byte_offset
    with path.open("r+b") as raw:
        raw.seek(place + 40)
        value = raw.read(1)[0]
        raw.seek(place + 40)
        raw.write(bytes([value ^ 1]))


@pytest.mark.lesson(13)
def test_a_data_file_that_is_missing_costs_its_own_frames(tmp_path: Path, backend: str) -> None:
    master = killed(tmp_path, backend)
    part = data_part(master, 3)
    part.unlink()
    remove_side_files(part)
    told = recovered(master.parent)
    assert told[0].note == "joins 5 data files, 1 of them made anew"
    found = look(Path(told[0].file), told)
    assert found.numbers == [n for n in range(22) if not 10 <= n < 15]
    assert read_receipt(found.master).frames_missing_ranges == ((10, 14),)
    assert list(find_parts(master.parent)) == []


@pytest.mark.lesson(13)
def test_a_data_file_that_is_damaged_costs_its_own_frames_and_stays(tmp_path: Path, backend: str) -> None:
    master = killed(tmp_path, backend)
    part = data_part(master, 2)
    for path in (part, log_path(part)):
        if path.exists():
            path.write_bytes(b"damaged" * 100)
    before = part.read_bytes()
    told = list(recover_found(find_parts(master.parent)))
    (problem,) = [one for one in told if one.problem]
    assert problem.part == str(part)
    found = look(Path(told[0].file), told)
    assert found.numbers == [n for n in range(22) if not 5 <= n < 10]
    receipt = read_receipt(found.master)
    assert receipt.frames_missing_ranges == ((5, 9),)
    assert f"data file {part.name} cannot be used, its frames are not there" in receipt.reasons[2]
    assert part.read_bytes() == before
    (again,) = recover_found(find_parts(master.parent))
    assert (again.part, bool(again.problem)) == (str(part), True)


@pytest.mark.lesson(13)
def test_frames_whose_pixels_are_not_what_was_written_are_left_out(tmp_path: Path, backend: str) -> None:
    master = killed(tmp_path, backend)
    change_a_pixel(data_part(master, 2), 3)
    change_a_pixel(data_part(master, 5), 1)  # the last of all
    told = recovered(master.parent)
    assert told[0].wrong == (8, 21)
    found = look(Path(told[0].file), told)
    assert found.numbers == [n for n in range(21) if n != 8]
    receipt = read_receipt(found.master)
    assert (receipt.frames_lost, receipt.frames_missing_ranges) == ((8, 21), ())


@pytest.mark.lesson(13)
def test_a_recovery_that_has_no_room_for_a_data_file_leaves_the_series_for_another(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is not damaged by that: it must not be joined without its frames."""
    master = killed(tmp_path, backend)
    step = {"swmr": "keep_state", "direct": "complete"}[backend]
    real = getattr(recovery, step)

    def refuse(part: Path, *arguments: Any, **named: Any) -> Any:
        if part == data_part(master, 5):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(part))
        return real(part, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(recovery, step, refuse)
        told = list(recover_found(find_parts(master.parent)))
    assert os.strerror(errno.ENOSPC) in told[0].problem
    assert ("there is no" in told[0].problem) is (backend == "swmr")  # a log
    assert [one.note for one in told[1:]] == ["left for another attempt"] * 5
    told = recovered(master.parent)
    assert look(Path(told[0].file), told).numbers == SERIES["plain"]


def test_what_another_attempt_may_find_whole_is_told_from_damage(tmp_path: Path) -> None:
    def told(cause: OSError) -> FileError:
        try:
            raise FileError("recover a file") from cause
        except FileError as error:
            return error

    for number in (errno.ENOSPC, errno.EACCES, errno.ESTALE, errno.EMFILE):
        assert may_pass(OSError(number, os.strerror(number)))
        assert may_pass(told(OSError(number, os.strerror(number))))
        assert may_pass(told(OSError(f"unable to open the file (errno = {number}, message = '')")))
    for damage in (OSError("no superblock"), OSError(errno.EIO, "broken"), KeyError("data"), FileError("damaged")):
        assert not may_pass(damage)


@pytest.mark.lesson(13)
def test_a_series_without_a_data_file_that_can_be_used_says_so(tmp_path: Path, backend: str) -> None:
    master = killed(tmp_path, backend, frames=7)
    for number in (1, 2):
        for path in (data_part(master, number), log_path(data_part(master, number))):
            if path.exists():
                path.write_bytes(b"damaged" * 100)
    told = list(recover_found(find_parts(master.parent)))
    assert "data file .a_data_000001.h5.part cannot be used, its frames are not there" in told[0].problem
    assert all(one.file == "" for one in told)


@pytest.mark.lesson(13)
def test_a_whole_series_that_cannot_be_read_now_keeps_the_account_of_its_run(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder,) = kill(tmp_path, backend, "gaps", ["after 2 blocks give_name"])

    def refuse(chunks: Any, row: int) -> int:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with monkeypatch.context() as patch:
        patch.setattr(series_publication, "digest", refuse)
        (told, *_) = recover_found(find_parts(folder))
    assert os.strerror(errno.ESTALE) in told.problem
    told, *_ = recovered(folder)
    assert told.note == "was finished: INCOMPLETE"
    assert read_receipt(told.file).reasons == ()


@pytest.mark.lesson(13)
@pytest.mark.parametrize(
    ("number", "checksum_too", "lost"),
    [
        (0, True, [17]),  # neither of them has come to the disk, by a power cut
        (10**15, True, [17]),
        (0, False, []),
    ],
)
def test_a_frame_whose_number_is_lost_is_known_by_its_place(
    tmp_path: Path, number: int, checksum_too: bool, lost: list[int]
) -> None:
    master = killed(tmp_path, "swmr", frames=19)
    part = data_part(master, 4)
    recovery._take_marks_off(part)
    with h5py.File(part, "r+", locking=False) as file:
        group = file["entry/instrument/d"]
        group["sequence_number"][2] = number
        if checksum_too:
            group["daq/chunk_checksum"][2] = 0
    told = recovered(master.parent)
    assert look(Path(told[0].file), told).numbers == [n for n in range(19) if n not in lost]
    receipt = read_receipt(told[0].file)
    assert (list(receipt.frames_lost), receipt.frames_missing_ranges) == (lost, ((19, 21),))


@pytest.mark.lesson(13)
def test_a_number_that_is_lost_before_rows_are_turned_names_no_frame(tmp_path: Path) -> None:
    """Row 2 is frame 22, of the second round: which frame it is cannot be known, and it is not said to be frame 0."""
    master = killed(tmp_path, "swmr", "turned")
    part = data_part(master, 1)
    remove_state(part)
    with h5py.File(part, "r+", locking=False) as file:
        file["entry/instrument/d/sequence_number"][2] = 0
    told = list(recover_found(find_parts(master.parent)))
    assert look(Path(told[0].file), told).numbers == [n for n in range(7, 27) if n != 22]
    assert read_receipt(told[0].file).frames_missing_ranges == ((22, 22),)


def test_names_that_somebody_has_taken_are_left_to_him(tmp_path: Path, backend: str) -> None:
    master = killed(tmp_path, backend)
    taken = [master.with_name(name) for name in ("a_recovered_data_000002.h5", "a_recovered_1_master.h5")]
    for path in taken:
        path.write_text("somebody's")
    told = recovered(master.parent)
    assert Path(told[0].file).name == "a_recovered_2_master.h5"
    found = look(Path(told[0].file), told)
    assert found.data_files[1] == "a_recovered_2_data_000002.h5"
    assert found.numbers == SERIES["plain"]
    assert [path.read_text() for path in taken] == ["somebody's"] * 2


@pytest.mark.lesson(13)
@pytest.mark.parametrize("whose", ["a data file", "the master", "a data file that is not there yet"])
def test_a_series_of_which_somebody_is_writing_a_file_is_left_for_later(
    tmp_path: Path, backend: str, whose: str
) -> None:
    master = killed(tmp_path, backend)
    part = {"a data file": data_part(master, 4), "the master": master}.get(whose, data_part(master, 9))
    assert claim(part)
    before = contents(master.parent)
    told = recovered(master.parent)
    assert len(told) == 6
    assert all("left alone" in one.note for one in told)
    assert all(f"process {os.getpid()}" in one.note for one in told)
    assert contents(master.parent) == before
    release(part)
    told = recovered(master.parent)
    assert look(Path(told[0].file), told).numbers == SERIES["plain"]


def test_an_older_series_of_the_same_name_is_no_part_of_it(tmp_path: Path, backend: str) -> None:
    master = killed(tmp_path / "new", backend, frames=7)
    (tmp_path / "old").mkdir()
    assert kill(tmp_path / "old", backend, "gaps", ["before 1 os abort"]) == {}
    for path in (tmp_path / "old" / "0").iterdir():
        shutil.copy(path, master.parent / path.name)
    shutil.copy(tmp_path / "old" / "0" / "a_data_000005.h5", data_part(master, 5))
    old = contents(tmp_path / "old" / "0")
    told = list(recover_found(find_parts(master.parent)))
    found = look(Path(told[0].file), told)
    assert found.numbers == list(range(7))
    assert {name: (master.parent / name).read_bytes() for name in old} == old
    assert check_file(master.with_name("a_master.h5")).problems == []


@pytest.mark.lesson(13)
def test_of_data_files_that_have_their_names_already_a_damaged_one_is_made_again(tmp_path: Path, backend: str) -> None:
    (folder,) = kill(tmp_path, backend, "plain", ["after 3 blocks give_name"])
    damaged = folder / "a_data_000002.h5"
    change_a_pixel(damaged, 4)
    (folder / "a_data_000001.h5").unlink()
    before = damaged.read_bytes()
    told = recovered(folder)
    assert told[0].note == "joins 5 data files, 2 of them made anew"
    found = look(Path(told[0].file), told)
    assert found.numbers == [n for n in range(5, 22) if n != 9]
    assert found.data_files == [
        *("a_recovered_data_000001.h5", "a_recovered_data_000002.h5", "a_data_000003.h5"),
        *("a_recovered_data_000004.h5", "a_recovered_data_000005.h5"),
    ]
    receipt = read_receipt(found.master)
    assert (receipt.frames_lost, receipt.frames_missing_ranges) == ((9,), ((0, 4),))
    assert damaged.read_bytes() == before


def test_a_series_that_only_has_not_all_of_its_names_keeps_its_account(tmp_path: Path, backend: str) -> None:
    (folder,) = kill(tmp_path, backend, "gaps", ["after 2 blocks give_name"])
    told = recovered(folder)
    assert (told[0].note, Path(told[0].file).name) == ("was finished: INCOMPLETE", "a_recovered_master.h5")
    found = look(Path(told[0].file), told)
    assert found.data_files == [f"a_data_{number + 1:06d}.h5" for number in range(5)]
    assert read_receipt(found.master).reasons == ()


@pytest.mark.lesson(13)
def test_a_master_that_is_damaged_leaves_each_data_file_by_itself(tmp_path: Path, backend: str) -> None:
    master = killed(tmp_path, backend)
    master.write_bytes(b"damaged")
    told = list(recover_found(find_parts(master.parent)))
    assert [one.part for one in told if one.problem] == [str(master)]
    assert sum(one.frames for one in told) == 22
    for path in master.parent.glob("a_data_*_recovered.h5"):
        assert check_file(path).problems == []
    assert list(masters(master.parent)) == []


def test_a_run_that_could_not_finish_its_series_has_said_why(tmp_path: Path, backend: str) -> None:
    master = killed(tmp_path, backend, frames=9)
    write_manifest(master, Receipt(verdict=Verdict.FAILED, reasons=("the disk is full",), run_id="7"))
    told = recovered(master.parent)
    receipt = read_receipt(told[0].file)
    assert receipt.reasons == ("the disk is full", "13 frames never came, or were not on the disk when it was")
    assert (receipt.run_id, receipt.frames_written) == ("7", 9)
    assert look(Path(told[0].file), told).numbers == list(range(9))


def test_whichever_file_is_named_the_whole_series_is_recovered(tmp_path: Path, backend: str) -> None:
    master = killed(tmp_path, backend)
    found = recover_file(data_part(master, 2))
    assert found.file == str(master.with_name("a_recovered_data_000002.h5"))
    assert found.master == str(master.with_name("a_recovered_master.h5"))
    assert found.frames == 5
    assert look(Path(found.master), []).numbers == SERIES["plain"]


@pytest.mark.lesson(13)
def test_two_recoveries_at_the_same_time_make_one_series(tmp_path: Path, backend: str) -> None:
    for attempt in range(3):
        folder = killed(tmp_path / str(attempt), backend).parent
        command = [sys.executable, "-m", "maxdaq_tango.cli.main", "recover", "--json", str(folder)]
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
        answers = [json.loads(one.communicate(timeout=60)[0]) for one in both]
        assert [one.returncode for one in both] == [0, 0]
        (master,) = masters(folder)
        assert look(master, []).numbers == SERIES["plain"]
        assert sum(bool(one["file"]) for answer in answers for one in answer["files"]) == 6
        assert list(folder.glob(".*.part")) == list(folder.glob(".*.owner")) == []
