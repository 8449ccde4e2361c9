"""The manifest beside a file: whole or not at all, never over another one, and compared by check."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from maxdaq_tango.errors import FileError
from maxdaq_tango.files import manifest_path, read_manifest, write_manifest
from maxdaq_tango.files.manifest import disagreements
from maxdaq_tango.model import Receipt, Verdict

RECEIPT = Receipt(
    verdict=Verdict.INCOMPLETE,
    reasons=("2 of 5 frames never came",),
    run_id="7",
    frames_expected=5,
    frames_written=3,
    frames_missing_count=2,
    frames_missing_ranges=((1, 2),),
    frames_lost_at={"writer": ((4, 4),)},
    dataset="/entry/instrument/eiger/data",
    shape=(5, 4, 3),
    dtype="uint16",
    encoding="bslz4",
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.h5"
    path.write_bytes(bytes(100))
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_says_what_is_needed_to_check_the_data(file: Path) -> None:
    data = file.with_name("a_data_000001.h5")
    data.write_bytes(bytes(30))
    path = write_manifest(file, RECEIPT, (data.name,))
    assert path == file.with_name("a.manifest.json")
    told: dict[str, Any] = json.loads(path.read_text())
    assert told["manifest"] == 1
    assert told["file"] == {"name": "a.h5", "nbytes": 100}
    assert told["data_files"] == [{"name": "a_data_000001.h5", "nbytes": 30}]
    assert (told["verdict"], told["reasons"]) == ("INCOMPLETE", ["2 of 5 frames never came"])
    assert (told["dataset"], told["shape"], told["dtype"]) == ("/entry/instrument/eiger/data", [5, 4, 3], "uint16")
    assert told["counters"]["frames_written"] == 3
    assert told["counters"]["frames_expected"] == 5
    assert "seconds" not in told["counters"]
    assert told["missing"] == [[1, 2]]
    assert told["lost"] == {"writer": [[4, 4]]}
    assert told["checksums"]["dataset"] == "/entry/instrument/eiger/daq/chunk_checksum"
    assert told["checksums"]["valid"] == "/entry/instrument/eiger/daq/frame_valid"
    assert told["receipt"]["run_id"] == "7"
    assert names(file.parent) == ["a.h5", "a.manifest.json", "a_data_000001.h5"]


def test_one_of_an_unfinished_file_is_hidden_like_it(tmp_path: Path) -> None:
    part = tmp_path / ".a.h5.part"
    part.touch()
    write_manifest(part, RECEIPT)
    assert names(tmp_path) == [".a.h5.part", ".a.h5.part.manifest.json"]


def test_one_of_a_file_that_was_taken_away_is_moved_aside(file: Path) -> None:
    for run in ("1", "2", "3"):
        write_manifest(file, Receipt(verdict=Verdict.COMPLETE, run_id=run))
    kept = [json.loads((file.parent / name).read_text())["receipt"]["run_id"] for name in names(file.parent)[1:]]
    assert names(file.parent) == ["a.h5", "a.manifest.json", "a.old1.manifest.json", "a.old2.manifest.json"]
    assert kept == ["3", "1", "2"]


@pytest.mark.parametrize("content", ['{"file": {"name": "a.nxs", "nbytes": 1}}', "not JSON", "{}", ""])
def test_what_is_of_another_file_is_left_and_told(file: Path, content: str) -> None:
    taken = file.with_name("a.manifest.json")
    taken.write_text(content)
    with pytest.raises(FileError, match="one of another file lies there"):
        write_manifest(file, RECEIPT)
    assert taken.read_text() == content
    assert names(file.parent) == ["a.h5", "a.manifest.json"]


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_disk_that_refuses_it_is_told_and_nothing_is_left(
    file: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(FileError, match=r"No space left on device \(errno 28\)") as told:
        write_manifest(file, RECEIPT)
    assert str(file) in str(told.value)
    assert names(file.parent) == ["a.h5"]


def test_a_receipt_that_cannot_be_encoded_is_written_all_the_same(file: Path) -> None:
    write_manifest(file, RECEIPT.with_reason("/data/\udcff.h5 is in the way"))
    manifest = read_manifest(file)
    assert manifest is not None
    assert manifest.reasons[-1] == "/data/\\udcff.h5 is in the way"


def test_no_manifest_is_no_disagreement_and_a_true_one_neither(file: Path) -> None:
    assert read_manifest(file) is None
    assert disagreements(file, RECEIPT) == []
    write_manifest(file, RECEIPT)
    assert disagreements(file, RECEIPT) == []


def test_whatever_disagrees_is_told(file: Path) -> None:
    path = write_manifest(file, RECEIPT)
    good = json.loads(path.read_text())

    def told(**changes: Any) -> str:
        path.write_text(json.dumps({**good, **changes}))
        return "; ".join(disagreements(file, RECEIPT))

    assert told() == ""
    assert "100 bytes, a.manifest.json says 99" in told(file={"name": "a.h5", "nbytes": 99})
    assert "manifest of another file, b.h5" in told(file={"name": "b.h5", "nbytes": 100})
    assert "missing" in told(missing=[])
    assert "verdict" in told(verdict="COMPLETE")
    assert "they differ in run_id" in told(receipt={**good["receipt"], "run_id": "8"})
    assert "lists b.h5: No such file" in told(data_files=[{"name": "b.h5", "nbytes": 1}])
    path.write_text("{")
    assert "read the manifest" in "; ".join(disagreements(file, RECEIPT))


def test_its_name_goes_by_the_stem_of_the_file() -> None:
    assert manifest_path(Path("/d/a_master.h5")) == Path("/d/a_master.manifest.json")
    assert manifest_path(Path("/d/.a.h5.part")) == Path("/d/.a.h5.part.manifest.json")
