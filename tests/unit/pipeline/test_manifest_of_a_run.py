"""Every run that leaves a file leaves its account beside it and in it, whatever it came to."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xxhash

from maxdaq_tango.errors import FileError
from maxdaq_tango.files import SeriesFile, check_file, read_manifest, read_receipt, recover_file
from maxdaq_tango.model import AcquisitionState, FileBackend, Verdict
from maxdaq_tango.pipeline import file_sink
from receiving import Harness


@pytest.mark.parametrize("frames_per_file", [0, 2])
def test_the_data_can_be_checked_by_manifest_h5py_and_xxhash_alone(harness: Harness, frames_per_file: int) -> None:
    harness.prepare(expected_frames=5, frames_per_file=frames_per_file)
    harness.sender.header()
    for number in (0, 1, 4):
        harness.sender.image(number)
    harness.sender.end()
    receipt = harness.receipt()
    manifest = read_manifest(harness.folder / "a.h5")
    assert manifest is not None
    assert manifest.receipt == read_receipt(receipt.file)
    assert (manifest.verdict, manifest.missing) == (Verdict.INCOMPLETE, ((2, 3),))
    assert [entry.name for entry in manifest.data_files] == list(receipt.data_files)
    for entry in (manifest.file, *manifest.data_files):
        assert (harness.folder / entry.name).stat().st_size == entry.nbytes
    with h5py.File(harness.folder / manifest.file.name, "r") as file:
        valid, checksums = file[manifest.checksums.valid][...], file[manifest.checksums.dataset][...]
        assert list(valid) == [1, 1, 0, 0, 1]
        if not frames_per_file:
            for row in np.flatnonzero(valid):
                chunk = file[manifest.dataset].id.read_direct_chunk((int(row), 0, 0))[1]
                assert xxhash.xxh3_64_intdigest(chunk) == checksums[row]
    assert check_file(harness.folder / "a.h5").problems == []


def test_counts_and_numbers_are_in_the_file_for_those_who_read_no_json(harness: Harness) -> None:
    harness.prepare(expected_frames=6)
    harness.sender.header()
    for number in (0, 1, 4):
        harness.sender.image(number)
    harness.sender.image(5, blob=b"short")
    harness.sender.end()
    receipt = harness.receipt()
    with h5py.File(receipt.file, "r") as file:
        daq = file["entry/instrument/eiger/daq"]
        counters = dict(daq["counters"].attrs)
        assert counters["verdict"] == b"INCOMPLETE"
        assert (counters["frames_expected"], counters["frames_written"], counters["frames_missing_count"]) == (6, 3, 2)
        assert daq["frames_missing_ranges"][...].tolist() == [[2, 3]]
        assert daq["frames_corrupt_numbers"][...].tolist() == [5]
        assert daq["frames_lost_ranges"].shape == (0, 2)
        assert daq["frames_late_ranges"].shape == (0, 2)


def test_a_manifest_that_cannot_be_written_is_told_and_the_data_stay_complete(harness: Harness) -> None:
    (harness.folder / "a.manifest.json").write_text('{"file": {"name": "a.nxs", "nbytes": 1}}')
    harness.prepare(expected_frames=2)
    harness.sender.series(2)
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.COMPLETE
    assert [reason.startswith("write the manifest of") for reason in receipt.reasons] == [True]
    assert harness.receiver.state is AcquisitionState.IDLE


@pytest.mark.parametrize("frames_per_file", [0, 2])
def test_an_overwritten_file_takes_its_manifest_with_it(harness: Harness, frames_per_file: int) -> None:
    for run in ("1", "2"):
        harness.prepare(expected_frames=4, overwrite=True, run_id=run, frames_per_file=frames_per_file)
        harness.sender.series(4)
        assert harness.receipt().reasons == ()
    old = "a.old1/a.h5" if frames_per_file else "a.old1.h5"
    for run, name in (("1", old), ("2", "a.h5")):
        manifest = read_manifest(harness.folder / name)
        assert manifest is not None
        assert manifest.receipt.run_id == run
    assert check_file(harness.folder / "a.h5").problems == []


@pytest.mark.parametrize("backend", [FileBackend.SWMR, FileBackend.DIRECT])
def test_what_a_failed_run_leaves_has_one_and_its_reasons_survive_the_recovery(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, backend: FileBackend
) -> None:
    def fails(file: SeriesFile, *_: Any) -> None:
        raise FileError("close the file", of=str(file.destination.part), answer=os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(SeriesFile, "settle", fails)
        harness.prepare(expected_frames=3, run_id="scan 7", backend=backend)
        harness.sender.series(3)
        receipt = harness.receipt()
    part = harness.folder / ".a.h5.part"
    assert (receipt.verdict, receipt.file) == (Verdict.FAILED, str(part))
    left = read_manifest(part)
    assert left is not None
    assert (left.receipt.verdict, left.receipt.reasons) == (receipt.verdict, receipt.reasons)
    assert left.file.nbytes == part.stat().st_size
    found = recover_file(part)
    assert (found.problem, found.note, found.frames) == ("", "", 3)
    recovered = read_manifest(Path(found.file))
    assert recovered is not None
    assert (recovered.receipt.run_id, recovered.receipt.verdict) == ("scan 7", Verdict.FAILED)
    assert "Input/output error" in recovered.reasons[0]
    assert check_file(found.file).problems == []
    harness.prepare()  # the name is free again
    harness.receiver.abort("enough")


@pytest.mark.lesson(26)
def test_a_bug_in_writing_it_costs_no_file(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_sink, "write_manifest", lambda *_: {}["nothing"])
    harness.prepare(expected_frames=2)
    harness.sender.series(2)
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.file) == (Verdict.COMPLETE, str(harness.folder / "a.h5"))
    assert "internal error, please report it: KeyError" in receipt.reasons[0]
    assert check_file(receipt.file).problems == []


def test_check_tells_where_the_manifest_is_of_another_run(harness: Harness) -> None:
    harness.prepare(expected_frames=2, run_id="1")
    harness.sender.series(2)
    receipt = harness.receipt()
    manifest = harness.folder / "a.manifest.json"
    manifest.write_text(manifest.read_text().replace('"run_id": "1"', '"run_id": "2"'))
    problems = check_file(receipt.file).problems
    assert problems == ["a.manifest.json has another receipt than the file; they differ in run_id, settings"]
