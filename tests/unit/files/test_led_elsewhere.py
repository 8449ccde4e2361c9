"""What a user has put into his folder leads nobody with more rights than he has to a file that lies elsewhere."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest

import killed_writers
from block_series import SERIES, Series, plain
from killed_blocks import killed, look, recovered
from maxdaq_tango.errors import FileError
from maxdaq_tango.files import block_turn, blocks, check_file, completion, find_parts, recover_file, recover_found
from maxdaq_tango.files.closed_state import keep_state, put_back, state_path
from maxdaq_tango.files.frame_log import Log
from maxdaq_tango.files.killed_series import stand_in_of
from maxdaq_tango.files.master import refer_to
from maxdaq_tango.files.ownership import Owner, claim, living_owner, owner_path
from maxdaq_tango.files.receipt import receipt_of
from maxdaq_tango.files.side_files import remove_side_files
from maxdaq_tango.model import FileBackend

PRECIOUS = b"of another beamline" * 1000


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere" / "precious.h5"
    path.parent.mkdir()
    path.write_bytes(PRECIOUS)
    return path


@pytest.fixture
def user(tmp_path: Path) -> Path:
    folder = tmp_path / "user"
    folder.mkdir()
    return folder


@pytest.mark.lesson(40)
@pytest.mark.parametrize("block_rows", [0, 4])
def test_a_link_where_the_state_of_a_closed_file_is_written_is_not_followed(
    user: Path, precious: Path, monkeypatch: pytest.MonkeyPatch, block_rows: int
) -> None:
    monkeypatch.setattr(Series, "backend", FileBackend.SWMR)
    for name in (".a.h5.part", ".a_data_000001.h5.part"):
        (user / f"{name}.state.new").symlink_to(precious)
    plain(6, block_rows).finished(user / "a.h5")
    assert precious.read_bytes() == PRECIOUS


@pytest.mark.lesson(40)
def test_a_link_where_the_record_of_an_owner_is_written_is_not_followed(user: Path, precious: Path) -> None:
    part = user / ".a.h5.part"
    assert claim(part)
    ours = msgspec.json.decode(owner_path(part).read_bytes(), type=Owner)
    owner_path(part).write_bytes(msgspec.json.encode(msgspec.structs.replace(ours, started=ours.started + 1)))
    owner_path(part).with_name(f"{owner_path(part).name}.new").symlink_to(precious)
    assert claim(part)
    assert living_owner(part) is not None
    assert precious.read_bytes() == PRECIOUS
    assert [path.name for path in user.iterdir()] == [owner_path(part).name]


@pytest.mark.lesson(40)
def test_a_link_where_a_blank_data_file_is_made_is_not_followed(tmp_path: Path, precious: Path) -> None:
    master = killed(tmp_path, "direct")
    part = master.with_name(".a_data_000003.h5.part")
    part.unlink()
    remove_side_files(part)
    stand_in_of(part).symlink_to(precious)
    told = recovered(master.parent)
    assert look(Path(told[0].file), told).numbers == [n for n in range(22) if not 10 <= n < 15]
    assert precious.read_bytes() == PRECIOUS


@pytest.mark.lesson(40)
def test_a_link_in_the_place_of_a_data_file_is_not_followed_when_rows_are_turned(
    user: Path, precious: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows move in place, in files that were closed and are opened again by their names."""
    series = SERIES["from 3"]
    file = series.written(user / "a.h5")
    part = user / ".a_data_000001.h5.part"
    turn = block_turn.turn_rows

    def swapped(rows: Any, *arguments: Any) -> None:
        part.rename(precious)
        part.symlink_to(precious)
        rows._files.close()
        turn(rows, *arguments)

    monkeypatch.setattr(block_turn, "turn_rows", swapped)
    with pytest.raises(FileError, match="is a link"):
        series.finish(file)
    file.abandon()


@pytest.mark.lesson(40)
def test_a_link_in_the_place_of_a_file_whose_state_is_put_back_is_not_followed(tmp_path: Path, user: Path) -> None:
    series = plain(6, 0)
    part = user / ".a.h5.part"
    file = series.written(user / "a.h5", backend=FileBackend.SWMR)
    file.settle(np.ones(6, np.bool_), 0, 0, 6)
    file.abandon()
    keep_state(part, file.dataset)
    assert state_path(part).exists()
    part.rename(tmp_path / "theirs")
    part.symlink_to(tmp_path / "theirs")
    with (tmp_path / "theirs").open("ab") as out:
        out.write(b"more")
    before = (tmp_path / "theirs").read_bytes()
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        put_back(part)
    assert (tmp_path / "theirs").read_bytes() == before


@pytest.mark.lesson(40)
def test_a_link_that_is_put_in_the_way_while_a_file_is_completed_is_not_followed(
    tmp_path: Path, user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = plain(6, 0).written(user / "a.h5", backend=FileBackend.DIRECT)
    part, theirs = user / ".a.h5.part", tmp_path / "theirs"
    add_index = completion._add_index
    before: list[bytes] = []

    def swapped(*arguments: Any) -> None:
        add_index(*arguments)
        part.rename(theirs)
        part.symlink_to(theirs)
        before.append(theirs.read_bytes())

    monkeypatch.setattr(completion, "_add_index", swapped)
    with pytest.raises(FileError, match="is a link"):
        file.settle(np.ones(6, np.bool_), 0, 0, 6)
    file.abandon()
    assert [theirs.read_bytes()] == before


# ---- unfinished files that lead to others ----

DATA = "entry/instrument/eiger/data"
GROUP, _, _ = DATA.rpartition("/")


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished file of somebody else."""
    monkeypatch.setattr(Series, "backend", FileBackend.SWMR)
    (tmp_path / "elsewhere").mkdir()
    return plain(6, 0).finished(tmp_path / "elsewhere" / "theirs.h5")


def unfinished(user: Path) -> Path:
    """One that was killed before its receipt was in it, and lacks the last frames."""
    part = user / ".a.h5.part"
    file = plain(6, 0).written(user / "a.h5", backend=FileBackend.SWMR)
    file.settle(np.ones(6, np.bool_), 0, 0, 6)
    file.abandon()
    remove_side_files(part)
    with h5py.File(part, "r+") as opened:
        opened[f"{GROUP}/daq/frame_valid"][3:] = 0
    return part


def by_external_link(group: h5py.Group, theirs: Path) -> None:
    del group["data"]
    group["data"] = h5py.ExternalLink(str(theirs), DATA)


def by_the_group(group: h5py.Group, theirs: Path) -> None:
    file = group.file
    del file["entry/instrument"]
    file["entry/instrument"] = h5py.ExternalLink(str(theirs), "entry/instrument")


def by_a_link_to_a_link(group: h5py.Group, theirs: Path) -> None:
    file = group.file
    file["entry/data/data_000001"] = h5py.ExternalLink(str(theirs), DATA)
    del group["data"]
    group["data"] = h5py.SoftLink("/entry/data/data_000001")


def by_a_column(group: h5py.Group, theirs: Path) -> None:
    del group["sequence_number"]
    group["sequence_number"] = h5py.ExternalLink(str(theirs), f"{GROUP}/sequence_number")


def by_a_virtual_column(group: h5py.Group, theirs: Path) -> None:
    layout = h5py.VirtualLayout((6,), "u8")
    layout[:] = h5py.VirtualSource(str(theirs), f"{GROUP}/sequence_number", (6,), "u8")
    del group["sequence_number"]
    group.create_virtual_dataset("sequence_number", layout)


def by_raw_data(group: h5py.Group, theirs: Path) -> None:
    del group["sequence_number"]
    group.create_dataset("sequence_number", (6,), "u8", external=[(str(theirs), 0, 48)])


@pytest.mark.lesson(40)
@pytest.mark.parametrize(
    "leads",
    [by_external_link, by_the_group, by_a_link_to_a_link, by_a_column, by_a_virtual_column, by_raw_data],
)
def test_an_unfinished_file_that_leads_to_another_is_refused_and_the_other_stays(
    user: Path, theirs: Path, leads: Callable[[h5py.Group, Path], None]
) -> None:
    part = unfinished(user)
    with h5py.File(part, "r+") as file:
        leads(file[GROUP], theirs)
    before = theirs.read_bytes()
    (told,) = recover_found(find_parts(user))
    assert theirs.read_bytes() == before
    assert "Accepted: a file all of which is in it" in told.problem


WAITING = """
import sys
from pathlib import Path
from maxdaq_tango.files import find_parts, recover_found
print([one.problem or one.note or one.file for one in recover_found(find_parts(Path(sys.argv[1])))])
"""


@pytest.mark.lesson(40)
def test_a_named_pipe_makes_no_recovery_wait(user: Path) -> None:
    """Opening one for reading waits until somebody writes: nobody does."""
    os.mkfifo(user / "pipe")
    part = unfinished(user)
    with h5py.File(part, "r+") as file:
        file["entry/instrument/more"] = h5py.ExternalLink(str(user / "pipe"), "/")
    (user / ".b.h5.part").write_bytes(part.read_bytes())
    for ending in ("owner", "frames", "state", "manifest.json"):
        os.mkfifo(user / f".b.h5.part.{ending}")
    os.utime(user / ".b.h5.part.owner", (1, 1))
    command = [sys.executable, "-c", WAITING, str(user)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "more is a link to another file" in done.stdout


@pytest.mark.lesson(40)
def test_an_unfinished_file_that_leads_to_none_is_recovered(user: Path) -> None:
    assert recover_file(unfinished(user)).frames == 3


@pytest.mark.lesson(40)
def test_a_log_leads_nobody_out_of_its_file(user: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which dataset holds the pixels, and which hold columns."""
    part = killed_writers.killed(user, "direct")
    header, found, end = completion.read_log(part)
    link = "/entry/data/data_000001"
    columns = tuple((link if path == "sequence_number" else path, dtype) for path, dtype in header.columns)
    crafted = Log(msgspec.structs.replace(header, columns=columns), found, end)
    add_index = completion._add_index

    def with_a_link(*arguments: Any) -> None:
        """The layout that is put back from a log may hold one."""
        add_index(*arguments)
        with h5py.File(part, "r+") as opened:
            opened[link] = h5py.ExternalLink(str(theirs), f"{GROUP}/sequence_number")

    monkeypatch.setattr(completion, "read_log", lambda part: crafted)
    monkeypatch.setattr(completion, "_add_index", with_a_link)
    before = theirs.read_bytes()
    assert "data_000001 is a link to another file" in recover_file(part).problem
    assert theirs.read_bytes() == before


@pytest.mark.lesson(40)
@pytest.mark.parametrize("name", [".b.h5.part", ".a_data_000003.h5.part"])
def test_an_unfinished_file_that_is_a_link_is_left_alone(tmp_path: Path, user: Path, name: str) -> None:
    master = killed(tmp_path, "swmr")
    link, theirs = master.with_name(name), tmp_path / "theirs"
    (link if link.exists() else unfinished(user)).rename(theirs)
    link.symlink_to(theirs)
    before = theirs.read_bytes()
    told = recovered(master.parent)
    assert [one.note for one in told if one.part == str(link)] == [
        "left alone: it is a link to a file that lies elsewhere"
    ]
    numbers = look(Path(told[0].file), told).numbers
    assert numbers == [n for n in range(22) if "data" not in name or not 10 <= n < 15]
    assert theirs.read_bytes() == before
    assert link.is_symlink()


@pytest.mark.lesson(40)
def test_a_master_gives_no_name_in_another_folder(user: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    series = plain(6)
    file = series.written(user / "a.h5")

    def killed_here(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(blocks, "give_name", killed_here)
    with pytest.raises(KeyboardInterrupt):
        series.finish(file)
    for path in user.glob(".*.owner"):
        path.unlink()
    names = ("../elsewhere/a_1.h5", "../elsewhere/a_2.h5")
    (tmp_path / "elsewhere").mkdir()
    with h5py.File(user / ".a.h5.part", "r+") as opened:
        group = opened[GROUP]
        shape, dtype, fill = group["data"].shape, group["data"].dtype, group["data"].fillvalue
        receipt = msgspec.structs.replace(receipt_of(opened), data_files=names)
        del group["data"], group["daq/receipt"], opened["entry/data"]
        group["daq/receipt"] = msgspec.json.encode(receipt).decode()
        refer_to(group, names, shape, dtype, fill, 4)
    list(recover_found(find_parts(user)))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert check_file(user / "a_recovered.h5").problems == []
