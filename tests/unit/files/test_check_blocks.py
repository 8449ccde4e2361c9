"""A master and its data files are checked together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401
import pytest

from block_series import BACKENDS, Series, pixels, plain
from maxdaq_tango.files import (
    check_file,
)
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Encoding, FileBackend


@pytest.fixture(params=BACKENDS, autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FileBackend:
    """Every test of this module runs with both."""
    monkeypatch.setattr(Series, "backend", request.param)
    return FileBackend(request.param)


class TestCheck:
    def master(self, folder: Path) -> Path:
        return plain(10, 4).finished(folder / "a.h5")

    def problems(self, master: Path) -> str:
        return "; ".join(check_file(master).problems)

    def test_a_data_file_that_is_gone(self, tmp_path: Path) -> None:
        master = self.master(tmp_path)
        (tmp_path / "a_data_000002.h5").unlink()
        assert "data file a_data_000002.h5 cannot be read" in self.problems(master)

    def test_few_files_are_open_at_a_time(self, tmp_path: Path) -> None:
        """Through a virtual dataset HDF5 would read blanks, without an error, when it can open no more files."""
        master = plain(60, 1).finished(tmp_path / "a.h5")
        script = f"""
import resource
from maxdaq_tango.files import check_file
resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
print(check_file({str(master)!r}))
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "problems=[], rows=60, frames_valid=60, frames_checked=60" in done.stdout

    def test_data_files_that_were_mixed_up(self, tmp_path: Path) -> None:
        master = self.master(tmp_path)
        one, two = tmp_path / "a_data_000001.h5", tmp_path / "a_data_000002.h5"
        one.rename(tmp_path / "c")
        two.rename(one)
        (tmp_path / "c").rename(two)
        assert "daq/chunk_checksum of data file a_data_000001.h5 is not what the master says" in self.problems(master)
        assert "row 0 (frame 0): the checksum of the stored chunk differs" in self.problems(master)

    def test_a_changed_pixel_in_a_data_file(self, tmp_path: Path) -> None:
        master = self.master(tmp_path)
        with h5py.File(tmp_path / "a_data_000002.h5", "r+") as file:
            file["entry/data/data"].id.write_direct_chunk((1, 0, 0), encode_pixels(pixels(9), Encoding.BSLZ4), 0)
        assert self.problems(master) == "row 5 (frame 5): the checksum of the stored chunk differs"

    def test_a_data_file_that_was_shortened(self, tmp_path: Path) -> None:
        master = self.master(tmp_path)
        with h5py.File(tmp_path / "a_data_000002.h5", "r+") as file:
            file["entry/data/data"].resize(3, axis=0)
        assert "the master joins 4 rows" in self.problems(master)

    def test_a_link_that_leads_elsewhere(self, tmp_path: Path) -> None:
        master = self.master(tmp_path)
        with h5py.File(master, "r+") as file:
            del file["entry/data/data_000002"]
            file["entry/data/data_000002"] = h5py.ExternalLink("a_data_000003.h5", "/entry/data/data")
            del file["entry/data/data_000003"]
        assert self.problems(master) == (
            "link /entry/data/data_000002 does not lead to data file a_data_000002.h5; "
            "link /entry/data/data_000003 does not lead to data file a_data_000003.h5"
        )

    def test_a_receipt_that_lists_other_files(self, tmp_path: Path) -> None:
        master = self.master(tmp_path)
        with h5py.File(master, "r+") as file:
            daq = file["entry/instrument/eiger/daq"]
            text = daq["receipt"].asstr()[()].replace("a_data_000003", "b_data_000003")
            del daq["receipt"]
            daq["receipt"] = text
        assert self.problems(master) == "the receipt lists other data files than the master joins"
