"""What becomes of the files that a killed receiver has left: names, accounts, owners, and what is left alone."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import h5py
import msgspec
import numpy as np
import pytest

from killed_writers import kill, killed, start
from maxdaq_tango.errors import FileError
from maxdaq_tango.files import (
    SeriesFile,
    check_file,
    find_parts,
    ownership,
    read_receipt,
    recover_file,
    recover_part,
    resolve_destination,
)
from maxdaq_tango.files import recovered as recovered_module
from maxdaq_tango.files.closed_state import keep_state, put_back, state_path
from maxdaq_tango.files.frame_log import log_path, read_log
from maxdaq_tango.files.hdf5_format import closed_superblock, is_marked
from maxdaq_tango.files.ownership import Owner, claim, living_owner, owner_path, release
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat, Receipt, Verdict

SHAPE = (30, 40)


@pytest.fixture(params=["swmr", "direct"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.mark.lesson(13)
def test_a_killed_series_is_published_with_an_exact_account(tmp_path: Path, backend: str) -> None:
    part = killed(tmp_path, backend, numbers="[n for n in range(40) if n not in (3, 4, 20)]")
    found = recover_file(part)
    assert (found.problem, found.frames, found.wrong) == ("", 37, ())
    assert found.missing == ((3, 4), (20, 20), (40, 49))
    final = tmp_path / "a_recovered.h5"
    assert found.file == str(final)
    assert check_file(final).problems == []
    receipt = read_receipt(final)
    assert receipt.verdict is Verdict.FAILED
    assert receipt.reasons == (
        "the receiver was killed",
        "13 frames never came, or were not on the disk when it was",
    )
    assert (receipt.frames_expected, receipt.frames_written, receipt.frames_missing_count) == (50, 37, 13)
    assert (receipt.shape, receipt.dtype, receipt.first_frame_number) == ((40, *SHAPE), "uint16", 0)
    with h5py.File(final, "r") as file:  # an ordinary file, without swmr=True
        data = file["entry/data/data"]
        for row in range(40):
            assert np.all(data[row] == (65535 if row in (3, 4, 20) else row))
    kinds = {".frames" if backend == "direct" else ".state"}
    assert {path.suffix for path in tmp_path.iterdir()} == {".h5", ".json"} | kinds
    assert not part.exists()


def test_nothing_is_ever_replaced(tmp_path: Path, backend: str) -> None:
    for name in ("a.h5", "a_recovered.h5", "a_recovered_1.h5"):
        (tmp_path / name).write_text(name)
    part = tmp_path / ".a.h5.part"
    for name in ("a.h5",):
        (tmp_path / name).unlink()
    assert recover_file(killed(tmp_path, backend)).file == str(tmp_path / "a_recovered_2.h5")
    assert [(tmp_path / name).read_text() for name in ("a_recovered.h5", "a_recovered_1.h5")] == [
        "a_recovered.h5",
        "a_recovered_1.h5",
    ]
    assert not part.exists()


@pytest.mark.lesson(13)
def test_frames_whose_pixels_are_not_what_was_written_are_left_out(tmp_path: Path, backend: str) -> None:
    part = killed(tmp_path, backend)
    if backend == "direct":
        place = int(read_log(part).blocks[0].offsets[7, 0])
    else:
        with h5py.File(part, "r", swmr=True, locking=False) as file:
            place = file["entry/instrument/d/data"].id.get_chunk_info(7).byte_offset
    with part.open("r+b") as raw:
        raw.seek(place + 100)
        raw.write(b"\xff\xee")
    found = recover_file(part)
    assert (found.frames, found.wrong, found.missing) == (39, (7,), ((40, 49),))
    assert check_file(found.file).problems == []
    receipt = read_receipt(found.file)
    assert receipt.frames_lost == (7,)
    assert "1 frames were flagged" in receipt.reasons[2]
    with h5py.File(found.file, "r") as file:
        assert np.all(file["entry/data/data"][7] == 65535)


@pytest.mark.lesson(13)
def test_a_file_that_somebody_is_writing_is_left_alone(tmp_path: Path, backend: str) -> None:
    writer = start(tmp_path, backend)
    part = tmp_path / ".a.h5.part"
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    found = recover_file(part)
    assert found.note == f"left alone: process {writer.pid} on {socket.gethostname()} is writing it"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    kill(writer)
    assert recover_file(part).frames == 40


def test_a_file_without_a_frame_stays_as_it_is(tmp_path: Path, backend: str) -> None:
    part = killed(tmp_path, backend, numbers="[]")
    found = recover_file(part)
    assert (found.file, found.problem, found.frames) == ("", "", 0)
    assert "holds no frame" in found.note
    assert part.exists()


MAKER = """
import os, sys
import h5py
from maxdaq_tango.files import SeriesFile, resolve_destination
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat
folder, backend, when = sys.argv[1], FileBackend(sys.argv[2]), sys.argv[3]
file = SeriesFile(resolve_destination(folder + "/a.h5", [folder]), detector="d", software="t", backend=backend)
if when == "reserved":
    os._exit(9)
opened = h5py.File
def killed(*args, **more):
    made = opened(*args, **more)
    if when.endswith("closed"):
        made.close()
    os._exit(9)
if when.startswith("made again"):
    h5py.File = killed
else:
    file._link = lambda file: os._exit(9)
file.begin(FrameFormat((30, 40), "uint16", Encoding.NONE), 50, 65535, {"count_time": 1.0}, {})
os._exit(0)
"""


@pytest.mark.lesson(13)
@pytest.mark.parametrize("when", ["reserved", "made again", "made again and closed", "laid out"])
def test_a_file_that_was_killed_before_its_first_frame_holds_none(tmp_path: Path, backend: str, when: str) -> None:
    done = subprocess.run([sys.executable, "-c", MAKER, str(tmp_path), backend, when], timeout=60, check=False)
    assert done.returncode == (0 if backend == "swmr" and when.startswith("made again") else 9)  # swmr makes it once
    part = tmp_path / ".a.h5.part"
    before = part.read_bytes()
    found = recover_file(part)
    assert (found.file, found.problem, found.frames) == ("", "", 0)
    assert "holds no frame" in found.note
    if done.returncode == 9:
        assert part.read_bytes() == before


def test_rows_that_go_round_are_turned(tmp_path: Path, backend: str) -> None:
    """The sender counts from 1, its last frame is in row 0, and the kill came before the end."""
    found = recover_file(killed(tmp_path, backend, rows=20, numbers="[n for n in range(1, 21) if n != 5]"))
    assert (found.frames, found.missing) == (19, ((5, 5),))
    assert check_file(found.file).problems == []
    with h5py.File(found.file, "r") as file:
        assert list(file["entry/data/data"][:, 0, 0]) == [n if n != 5 else 65535 for n in range(1, 21)]


def test_a_folder_is_searched_and_only_for_files_of_ours(tmp_path: Path, backend: str) -> None:
    part = killed(tmp_path / "deep", backend)
    for name in (".x.part", "b.h5.part", ".c.h5.part.frames"):
        (tmp_path / name).write_text("somebody's")
    assert list(find_parts(tmp_path)) == [part]
    done = subprocess.run(
        [sys.executable, "-m", "maxdaq_tango.cli.main", "recover", "--json", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (0, True)
    assert told["files"][0]["frames"] == 40
    assert told["files"][0]["missing"] == [[40, 49]]
    assert "40-49" in done.stderr
    assert list(find_parts(tmp_path)) == []


@pytest.mark.parametrize("name", ["a.h5", ".a.h5.part", ".nothing.part"])
def test_what_is_no_unfinished_file_is_refused(tmp_path: Path, name: str) -> None:
    assert "recover" in recover_file(tmp_path / name).problem
    (tmp_path / name).write_bytes(b"not hdf5")
    assert str(tmp_path / name) in recover_file(tmp_path / name).problem
    assert (tmp_path / name).read_bytes() == b"not hdf5"


@pytest.mark.lesson(13)
def test_the_marks_of_a_killed_swmr_writer_can_be_put_back(tmp_path: Path) -> None:
    part = killed(tmp_path, "swmr")
    before = part.read_bytes()
    assert is_marked(before)
    assert recover_part(part).frames == 40
    with h5py.File(part, "r") as file:
        assert file["entry/instrument/d/daq/frame_valid"][...].sum() == 40
    assert not is_marked(part.read_bytes())
    assert recover_part(part).frames == 40
    assert put_back(part)
    assert part.read_bytes() == before


def test_a_state_that_is_damaged_or_of_another_file_is_refused(tmp_path: Path) -> None:
    part, other = killed(tmp_path / "a", "swmr"), killed(tmp_path / "b", "swmr")
    keep_state(other, "/entry/instrument/d/data", swmr=True)
    state = state_path(other).read_bytes()
    before = part.read_bytes()
    for data, told in ((state, "belongs to another file"), (state[:-1], "damaged"), (b"", "damaged")):
        state_path(part).write_bytes(data)
        with pytest.raises(FileError, match=told):
            recover_part(part)
        assert part.read_bytes() == before
    state_path(part).unlink()
    keep_state(part, "/entry/instrument/d/data", swmr=True)
    with part.open("r+b") as raw:
        raw.truncate(len(before) - 1)
    with pytest.raises(FileError, match="shorter than"):
        put_back(part)


def test_a_superblock_that_is_not_as_expected_is_refused(tmp_path: Path) -> None:
    block = bytearray(killed(tmp_path, "swmr").read_bytes()[:48])
    assert closed_superblock(bytes(block), 999)[28:36] == (999).to_bytes(8, "little")
    block[20] ^= 1
    with pytest.raises(FileError, match="checksum"):
        closed_superblock(bytes(block), 999)
    block[8] = 2
    with pytest.raises(FileError, match="version 2"):
        closed_superblock(bytes(block), 999)


@pytest.mark.parametrize("backend", ["swmr", "direct"])
def test_nothing_lies_beside_a_file_that_was_finished_or_taken_back(tmp_path: Path, backend: str) -> None:
    destination = resolve_destination(str(tmp_path / "a.h5"), [str(tmp_path)])
    file = SeriesFile(destination, detector="d", software="t", backend=FileBackend(backend))
    assert living_owner(destination.part) is not None
    file.begin(FrameFormat(SHAPE, "uint16", Encoding.NONE), 5, 65535, {}, {})
    file.abandon()
    assert not owner_path(destination.part).exists()
    for path in (log_path(destination.part), state_path(destination.part)):
        assert not path.exists()


def test_an_owner_is_known_by_its_start_and_its_host(tmp_path: Path) -> None:
    part = tmp_path / ".a.h5.part"
    assert living_owner(part) is None
    assert claim(part)
    assert not claim(part)
    ours = msgspec.json.decode(owner_path(part).read_bytes(), type=Owner)
    for changed, lives in (
        ({"started": ours.started + 1}, False),  # the id was given again
        ({"boot": "another"}, False),
        ({"pid": 4_194_305}, False),
        ({"host": "elsewhere"}, True),
        ({}, True),
    ):
        owner_path(part).write_bytes(msgspec.json.encode(msgspec.structs.replace(ours, **changed)))
        assert (living_owner(part) is not None) is lives
    owner_path(part).write_bytes(b"")
    assert living_owner(part) is not None  # somebody may be just writing it
    os.utime(owner_path(part), (1, 1))
    assert living_owner(part) is None
    assert claim(part)
    release(part)
    release(part)


def record_of_another(part: Path) -> bytes:
    """Of a process that lives, and has just begun to write."""
    parent = Owner(**msgspec.structs.asdict(ownership._self()) | {"pid": os.getppid()})
    parent = msgspec.structs.replace(parent, started=ownership._started(os.getppid()))
    record: bytes = msgspec.json.encode(parent)
    owner_path(part).write_bytes(record)
    return record


def test_nobody_releases_what_another_process_writes(tmp_path: Path) -> None:
    part = tmp_path / ".a.h5.part"
    record = record_of_another(part)
    release(part)
    assert owner_path(part).read_bytes() == record
    assert living_owner(part) is not None
    for strange in (b"", b"[]", b"\xff"):
        owner_path(part).write_bytes(strange)
        release(part)
        assert owner_path(part).read_bytes() == strange


@pytest.mark.lesson(13)
def test_a_run_that_takes_a_name_as_soon_as_it_is_free_keeps_its_record(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last step of a recovery, and the moment when it says that it has the file no more."""
    part = killed(tmp_path, backend)
    real = recovered_module.with_manifest

    def taken(final: Path, receipt: Receipt) -> str:
        owner_path(part).unlink()
        record_of_another(part)
        return real(final, receipt)

    monkeypatch.setattr(recovered_module, "with_manifest", taken)
    assert recover_file(part).frames == 40
    assert living_owner(part) is not None


CLAIMED_WITHOUT_ROOM = """
import resource, sys
from pathlib import Path
from maxdaq_tango.files.ownership import claim

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    claim(Path(sys.argv[1]))
except OSError as error:
    print(error.errno)
"""


@pytest.mark.lesson(7)
@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize(("room", "told"), [(0, errno.EFBIG), (10, errno.ENOSPC)])
def test_a_disk_without_room_for_its_record_makes_nobody_an_owner(
    tmp_path: Path, room: int, told: int, dead: bool
) -> None:
    part = tmp_path / ".a.h5.part"
    if dead:
        assert claim(part)
        ours = owner_path(part).read_bytes().replace(b'"started":', b'"started":1')
        owner_path(part).write_bytes(ours)
    command = [sys.executable, "-c", CLAIMED_WITHOUT_ROOM, str(part), str(room)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [str(told)]
    assert [path.name for path in tmp_path.iterdir()] == [owner_path(part).name] * dead
    assert living_owner(part) is None
    assert claim(part)


def test_a_process_that_is_dead_but_not_waited_for_owns_nothing(tmp_path: Path) -> None:
    writer = start(tmp_path, "swmr")
    os.kill(writer.pid, signal.SIGKILL)
    os.waitid(os.P_PID, writer.pid, os.WEXITED | os.WNOWAIT)
    assert living_owner(tmp_path / ".a.h5.part") is None
    with writer:
        pass
