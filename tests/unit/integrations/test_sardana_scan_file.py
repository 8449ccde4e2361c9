"""One link to a stack in place of a reference for each point."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest

from maxdaq_tango.errors import FileError
from maxdaq_tango.integrations.sardana import scan_file
from maxdaq_tango.integrations.sardana.naming import reference
from maxdaq_tango.integrations.sardana.scan_file import blank, link_stack

STACK = np.arange(4 * 2 * 3, dtype=np.uint16).reshape(4, 2, 3)


@pytest.fixture
def data_file(tmp_path):
    path = tmp_path / "scans" / "scan-0001_eiger.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["entry/data/data"] = STACK
    return path


def write(folder, references) -> tuple[str, list[str]]:
    """The kind of link that was made, and the names in the group."""
    with h5py.File(folder / "scans" / "scan-0001.h5", "w") as file:
        group = file.create_group("entry1/measurement")
        group.create_dataset("eiger", data=references, dtype=h5py.string_dtype(), maxshape=(None,))
        return link_stack(group, "eiger", references), sorted(group)


def read(folder) -> np.ndarray:
    with h5py.File(folder / "scans" / "scan-0001.h5") as file:
        return file["entry1/measurement/eiger"][...]


@pytest.mark.parametrize("points", [4, 3])
def test_points_that_are_the_rows_of_one_file_become_an_external_link_that_can_be_moved(tmp_path, data_file, points):
    made, names = write(tmp_path, [reference(str(data_file), row) for row in range(points)])
    assert (made, names) == ("link", ["eiger", "eiger_reference"])
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "scans", tmp_path / "elsewhere" / "scans")
    np.testing.assert_array_equal(read(tmp_path / "elsewhere"), STACK)


def test_points_without_a_frame_are_blank_rows_of_a_virtual_dataset(tmp_path, data_file):
    made, _ = write(tmp_path, ["", reference(str(data_file), 2), "", reference(str(data_file), 0)])
    assert made == "virtual"
    found = read(tmp_path)
    np.testing.assert_array_equal(found[[1, 3]], STACK[[2, 0]])
    assert set(found[[0, 2]].flat) == {65535}


def test_frames_of_several_files_are_joined(tmp_path, data_file):
    other = data_file.with_name("scan-0001_eiger_2.h5")
    with h5py.File(other, "w") as file:
        file["entry/data/data"] = STACK[:1] + 100
    write(tmp_path, [reference(str(data_file), 0), reference(str(other), 0)])
    np.testing.assert_array_equal(read(tmp_path), [STACK[0], STACK[0] + 100])


def test_files_with_frames_of_other_shapes_cannot_be_joined_and_the_references_stay(tmp_path, data_file):
    other = data_file.with_name("other.h5")
    with h5py.File(other, "w") as file:
        file["entry/data/data"] = np.zeros((1, 5, 5), np.uint16)
    references = [reference(str(data_file), 0), reference(str(other), 0)]
    with pytest.raises(FileError, match="frames of other shapes"):
        write(tmp_path, references)
    assert [text.decode() for text in read(tmp_path)] == references


def test_a_link_is_made_before_there_is_a_file_and_a_virtual_dataset_is_not(tmp_path, data_file, monkeypatch):
    monkeypatch.setattr(scan_file, "FILE_S", 0.1)
    content = data_file.read_bytes()
    data_file.unlink()
    made, _ = write(tmp_path, [reference(str(data_file), row) for row in range(4)])
    assert made == "link"
    data_file.write_bytes(content)
    np.testing.assert_array_equal(read(tmp_path), STACK)
    data_file.unlink()
    with pytest.raises(FileError, match="link the frames of a scan"):
        write(tmp_path, [reference(str(data_file), 1)])


def test_references_of_others_are_left_alone(tmp_path, data_file):
    assert write(tmp_path, ["h5file:///a.h5::data", ""]) == ("", ["eiger"])


@pytest.mark.parametrize(("dtype", "value"), [("uint8", 255), ("int32", -1), ("uint64", 2**64 - 1)])
def test_blank_pixels_are_those_of_our_files(dtype, value):
    assert blank(np.dtype(dtype)) == value
    assert np.isnan(blank(np.dtype("float32")))
