"""The file that links those of all detectors, and what may be in the way of a run's files."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from maxdaq_tango.errors import FileError
from maxdaq_tango.files import check_file, refuse_taken, scan_master, write_scan_master
from maxdaq_tango.model import Compression, Receipt, ScanLink, ScanMaster, Verdict
from receiving import Harness, pixels

FRAMES = 5


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Receipt]:
    """One file, and in a folder beside it one that is a master of data files."""
    folder = tmp_path_factory.mktemp("taken")
    receipts = {}
    for name, changes in {"eiger": {}, "pilatus": {"frames_per_file": 2}}.items():
        harness = Harness(folder)
        changes = {"detector": name, "compression": Compression.NONE, **changes}
        harness.prepare(destination=str(folder / name / f"7_{name}.h5"), **changes)
        harness.sender.series(FRAMES)
        receipts[f"b/det/{name}"] = harness.receipt()
        harness.receiver.close()
        harness.context.destroy(0)
    return receipts


@pytest.fixture
def scan(taken: dict[str, Receipt], tmp_path: Path) -> ScanMaster:
    folder = tmp_path / "raw"
    shutil.copytree(Path(next(iter(taken.values())).file).parents[1], folder)
    links = tuple(
        ScanLink(
            name=device.rpartition("/")[2],
            device=device,
            file=str(folder / Path(receipt.file).relative_to(Path(receipt.file).parents[1])),
            dataset=receipt.dataset,
        )
        for device, receipt in taken.items()
    )
    return ScanMaster(
        path=str(folder / "scan-0007.h5"),
        scan_number=7,
        run_id="r1",
        verdict=Verdict.INCOMPLETE,
        started_at="2026-01-01T00:00:00+00:00",
        metadata={"sample": "Ångström Ω", "proposal": {"number": 20250001, "data": [1, 2]}},
        links=links,
        report='{"verdict":"INCOMPLETE"}',
    )


def write(scan: ScanMaster, **changes: Any) -> Path:
    scan = ScanMaster(**{**{name: getattr(scan, name) for name in scan.__struct_fields__}, **changes})
    write_scan_master(scan, (str(Path(scan.path).parents[1]),), "tests")
    return Path(scan.path)


def text(file: h5py.File, path: str) -> str:
    return str(file[path][()].decode())


@pytest.mark.parametrize("moved", [False, True])
def test_every_detector_is_in_it_and_still_is_where_the_folder_is_copied(scan, tmp_path, moved):
    path = write(scan)
    if moved:
        shutil.copytree(path.parent, tmp_path / "elsewhere" / "copy")
        shutil.rmtree(path.parent)
        path = tmp_path / "elsewhere" / "copy" / path.name
    with h5py.File(path) as file:
        assert (file.attrs["default"], file["entry"].attrs["default"]) == (b"entry", b"data")
        assert file["entry/data"].attrs["signal"] == b"data"
        for group in ("entry/data", "entry/eiger", "entry/pilatus", "entry/instrument/pilatus"):
            data = file[group]["data"]
            assert all(np.array_equal(data[row], pixels(row)) for row in range(FRAMES)), group
        assert "receipt" in file["entry/instrument/eiger/daq"]
        assert file["entry/scan_number"][()] == 7
        assert text(file, "entry/verdict") == "INCOMPLETE"
        assert text(file, "entry/metadata/sample") == "Ångström Ω"
        assert file["entry/metadata/proposal/number"][()] == 20250001
        assert json.loads(text(file, "entry/daq/metadata")) == scan.metadata
        assert text(file, "entry/daq/report") == scan.report
        link = file.get("entry/instrument/pilatus", getlink=True)
        assert link.filename == "pilatus/7_pilatus.h5"
    assert json.loads((path.parent / "scan-0007.report.json").read_text()) == {"verdict": "INCOMPLETE"}
    assert not list(path.parent.glob(".*"))


def test_what_is_not_there_is_not_linked_and_told_and_the_rest_is(scan):
    gone = Path(scan.links[0].file)
    gone.unlink()
    spilled = ScanLink(name="lambda", device="b/det/lambda", absent="its data files are still away")
    with pytest.raises(FileError, match=r"b/det/eiger: .*7_eiger.h5 is not there; b/det/lambda: its data files are"):
        write(scan, links=(*scan.links, spilled))
    with h5py.File(scan.path) as file:
        assert list(file["entry/instrument"]) == ["pilatus"]
        assert np.array_equal(file["entry/data/data"][1], pixels(1))
        assert [one.decode() for one in file["entry/daq/not_linked"][...]] == [
            f"b/det/eiger: {gone} is not there",
            "b/det/lambda: its data files are still away",
        ]
    assert Path(scan.path).with_name("scan-0007.report.json").exists()


def test_without_any_file_it_still_holds_the_report(scan):
    links = tuple(ScanLink(name=link.name, device=link.device, absent="no file was written") for link in scan.links)
    with pytest.raises(FileError, match="no file was written"):
        write(scan, links=links)
    with h5py.File(scan.path) as file:
        assert "default" not in file["entry"].attrs
        assert text(file, "entry/daq/report") == scan.report


def test_names_that_are_ours_do_not_clash_with_those_of_detectors(scan):
    first, second = scan.links
    named = [ScanLink(name="data", device="a/b/data", file=first.file, dataset=first.dataset)]
    named += [ScanLink(name="daq", device="a/b/daq", file=second.file, dataset=second.dataset)]
    with h5py.File(write(scan, links=tuple(named))) as file:
        assert sorted(file["entry/instrument"]) == ["daq", "data"]
        assert file["entry/daq_/data"].shape[0] == FRAMES
        assert text(file, "entry/daq/report") == scan.report


@pytest.mark.parametrize("name", ["scan-0007.h5", "scan-0007.report.json"])
def test_what_exists_is_never_touched_or_is_moved_aside_on_request(scan, name):
    old = Path(scan.path).with_name(name)
    old.write_text("precious")
    with pytest.raises(FileError, match="exists"):
        write(scan)
    assert old.read_text() == "precious"
    write(scan, overwrite=True)
    assert [path.read_text() for path in old.parent.glob(f"{old.stem}.old1{old.suffix}")] == ["precious"]
    assert h5py.is_hdf5(scan.path)


def test_one_made_by_somebody_else_meanwhile_is_not_replaced(scan, monkeypatch):
    real = scan_master.give_name

    def late(fresh: Path, final: Path) -> None:
        final.write_text("precious")
        real(fresh, final)

    monkeypatch.setattr(scan_master, "give_name", late)
    with pytest.raises(FileError, match="by somebody else meanwhile"):
        write(scan)
    assert Path(scan.path).read_text() == "precious"
    assert not list(Path(scan.path).parent.glob(".*"))


def test_a_disk_that_takes_no_more_leaves_nothing_under_its_name(scan, monkeypatch):
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(scan_master, "sync_file", full)
    with pytest.raises(FileError, match="No space left"):
        write(scan)
    assert sorted(path.name for path in Path(scan.path).parent.iterdir()) == ["eiger", "pilatus"]


def test_a_report_that_is_no_json_is_refused_before_anything_is_made(scan):
    with pytest.raises(FileError, match="its report is no JSON"):
        write(scan, report='{"verdict":')
    assert not Path(scan.path).exists()
    write(scan, report="")  # there is none
    assert not Path(scan.path).with_name("scan-0007.report.json").exists()


def test_it_lies_under_the_roots_or_nowhere(scan, tmp_path):
    with pytest.raises(FileError, match="outside the allowed roots"):
        write_scan_master(scan, (str(tmp_path / "other"),), "tests")


def test_a_check_of_it_says_where_the_accounts_are(scan):
    result = check_file(write(scan))
    assert not result.ok
    assert "a scan master" in result.problems[0]
    assert "7_eiger.h5" in result.problems[0]


class TestWhatIsInTheWay:
    def test_of_nothing_there_is_nothing(self, tmp_path):
        refuse_taken("", (), overwrite=False)
        refuse_taken(str(tmp_path / "new" / "a.h5"), (str(tmp_path),), overwrite=False, in_blocks=True)
        assert not list(tmp_path.iterdir())  # and nothing was made

    @pytest.mark.parametrize(
        ("name", "how", "told"),
        [
            ("a.h5", {}, "the file exists"),
            (".a.h5.part", {}, "an unfinished file"),
            (".a.h5.part", {"overwrite": True}, "an unfinished file"),
            ("a_data_000001.h5", {"in_blocks": True}, "the data file exists"),
            (".a_data_000002.h5.part", {"in_blocks": True, "overwrite": True}, "an unfinished data file"),
            ("scan.h5", {}, "the file exists"),
            ("scan.report.json", {}, "the report of another scan exists"),
        ],
    )
    def test_it_is_named(self, tmp_path, name, how, told):
        (tmp_path / name).write_text("")
        master = str(tmp_path / "scan.h5")
        with pytest.raises(FileError, match=told) as caught:
            refuse_taken(str(tmp_path / "a.h5"), (str(tmp_path),), **{"overwrite": False, "scan_master": master, **how})
        assert name.removeprefix(".").removesuffix(".part") in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "how"),
        [
            ("a.h5", {"overwrite": True}),
            ("scan.h5", {"overwrite": True}),
            ("a_data_000001.h5", {}),  # of a run that has no data files
            ("a_data_000003.h5", {"in_blocks": True, "block_count": 2}),
        ],
    )
    def test_other_files_are_not(self, tmp_path, name, how):
        (tmp_path / name).write_text("")
        master = str(tmp_path / "scan.h5")
        refuse_taken(str(tmp_path / "a.h5"), (str(tmp_path),), **{"overwrite": False, "scan_master": master, **how})

    def test_a_path_outside_the_roots_is_refused(self, tmp_path):
        with pytest.raises(FileError, match="outside the allowed roots"):
            refuse_taken(str(tmp_path / "a.h5"), (str(tmp_path / "root"),), overwrite=False)
        with pytest.raises(FileError, match="outside the allowed roots"):
            refuse_taken("", (str(tmp_path / "root"),), overwrite=False, scan_master=str(tmp_path / "a.h5"))
