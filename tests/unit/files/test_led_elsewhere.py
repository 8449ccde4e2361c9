"""What a user has put into his folder leads nobody with more rights than he has to a file that lies elsewhere."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from block_series import SERIES, Series, plain
from killed_blocks import killed, look, recovered
from maxdaq_tango.errors import FileError
from maxdaq_tango.files import block_turn
from maxdaq_tango.files.closed_state import keep_state, put_back, state_path
from maxdaq_tango.files.killed_series import stand_in_of
from maxdaq_tango.files.ownership import Owner, claim, living_owner, owner_path
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
