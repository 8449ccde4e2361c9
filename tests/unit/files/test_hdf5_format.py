"""The bytes of an HDF5 file that we write ourselves are those that HDF5 would write, and it goes on from them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxdaq_tango.errors import FileError
from maxdaq_tango.files import hdf5_format
from maxdaq_tango.files.hdf5_format import (
    ENTRIES,
    UNDEFINED,
    checksum,
    chunk_index,
    end_superblock,
    find_layout,
    point_to_index,
)

V108 = ("v108", "v108")


@pytest.mark.parametrize(("text", "value"), [(b"", 0xDEADBEEF), (b"Four score and seven years ago", 0x17770551)])
def test_the_checksum_is_lookup3_with_the_values_of_its_author(text: bytes, value: int) -> None:
    assert checksum(text) == value


def laid_out(path: Path, *, rows: int | None = 10, frame: tuple[int, ...] = (4, 3), attributes: int = 0) -> int:
    """A file with one dataset of which no chunk is written; returns the address of its object header."""
    with h5py.File(path, "w", libver=V108) as file:
        data = file.create_dataset(
            "entry/data", (rows or 1, *frame), "u2", maxshape=(rows, *frame), chunks=(1, *frame), fillvalue=7
        )
        for number in range(attributes):  # push messages into a continuation of the object header
            data.attrs[f"attribute_{number}"] = "x" * 100
        return int(h5py.h5o.get_info(data.id).addr)


@pytest.mark.parametrize("attributes", [0, 3, 7])
@pytest.mark.parametrize("frame", [(4, 3), (2, 4, 3), (1,)])
def test_what_was_not_changed_is_byte_for_byte_what_hdf5_wrote(
    tmp_path: Path, frame: tuple[int, ...], attributes: int
) -> None:
    address = laid_out(tmp_path / "a.h5", frame=frame, attributes=attributes)
    file = (tmp_path / "a.h5").read_bytes()
    place = find_layout(file, address)
    assert place.dimensions == (1, *frame, 2)
    assert point_to_index(file, place, UNDEFINED) == file[place.block : place.block + place.block_nbytes]
    head = end_superblock(file, len(file))
    assert head == file[: len(head)]


def put_in(path: Path, address: int, rows: list[int], frame: tuple[int, ...]) -> None:
    """Frames of value `row` for these rows, all of it written without HDF5."""
    layout = path.read_bytes()
    place = find_layout(layout, address)
    blobs = [np.full(frame, row, "<u2").tobytes() for row in rows]
    addresses = len(layout) + np.cumsum([0, *map(len, blobs)])[:-1]
    end = len(layout) + sum(map(len, blobs))
    corners = np.zeros((len(rows), 1 + len(frame)), np.uint64)
    corners[:, 0] = rows
    lengths = np.array([len(blob) for blob in blobs], np.uint32)
    root, index = chunk_index(corners, addresses.astype(np.uint64), lengths, place.dimensions, end)
    with path.open("r+b") as file:
        file.seek(len(layout))
        file.write(b"".join(blobs) + index)
        file.seek(place.block)
        file.write(point_to_index(layout, place, root))
        file.seek(0)
        file.write(end_superblock(layout, end + len(index)))


@pytest.mark.parametrize("count", [1, 2, ENTRIES, ENTRIES + 1, ENTRIES**2, ENTRIES**2 + 1])
def test_a_full_index_of_any_depth_is_read(tmp_path: Path, count: int) -> None:
    path = tmp_path / "a.h5"
    put_in(path, laid_out(path, rows=count, frame=(2,)), list(range(count)), (2,))
    with h5py.File(path, "r") as file:
        data = file["entry/data"]
        assert data.id.get_num_chunks() == count
        assert np.array_equal(data[:, 1], np.arange(count) % 65536)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), count=st.integers(1, 700))
def test_hdf5_reads_the_holes_and_goes_on_from_an_index_with_holes(
    tmp_path_factory: pytest.TempPathFactory, data: Any, count: int
) -> None:
    rows = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    path = tmp_path_factory.mktemp("index") / "a.h5"
    put_in(path, laid_out(path, rows=None, frame=(2, 3)), rows, (2, 3))
    expected = np.full((count, 2, 3), 7, "u2")
    expected[rows] = np.array(rows)[:, None, None]
    with h5py.File(path, "r+", libver=V108) as file:
        dataset = file["entry/data"]
        dataset.resize(count, axis=0)
        assert np.array_equal(dataset[...], expected)
        missing = sorted(set(range(count)) - set(rows))
        for row in data.draw(st.permutations(missing)):
            dataset.id.write_direct_chunk((row, 0, 0), np.full((2, 3), row, "<u2").tobytes(), 0)
        file["entry/more"] = np.arange(1000)
    with h5py.File(path, "r") as file:
        assert np.array_equal(file["entry/data"][:, 0, 0], np.arange(count))
        assert file["entry/data"].id.get_num_chunks() == count
        assert np.array_equal(file["entry/more"], np.arange(1000))
        assert path.stat().st_size < 2_000_000


def test_hdf5_removes_chunks_from_our_index(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    put_in(path, laid_out(path, rows=None, frame=(2,)), list(range(500)), (2,))
    with h5py.File(path, "r+", libver=V108) as file:
        file["entry/data"].resize(500, axis=0)
        file["entry/data"].resize(77, axis=0)
    with h5py.File(path, "r") as file:
        assert file["entry/data"].id.get_num_chunks() == 77
        assert np.array_equal(file["entry/data"][:, 0], np.arange(77))


def test_the_index_of_frames_of_several_chunks_is_in_c_order(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=V108) as file:
        data = file.create_dataset("data", (3, 4, 6), "u1", chunks=(1, 2, 3))
        address = int(h5py.h5o.get_info(data.id).addr)
    layout = path.read_bytes()
    corners = np.array(list(itertools.product(range(3), (0, 2), (0, 3))), np.uint64)
    addresses = len(layout) + 6 * np.arange(12, dtype=np.uint64)
    place = find_layout(layout, address)
    root, index = chunk_index(corners, addresses, np.full(12, 6, "u4"), place.dimensions, len(layout) + 72)
    whole = bytearray(layout + np.repeat(np.arange(12, dtype="u1"), 6).tobytes() + index)
    block = point_to_index(layout, place, root)
    whole[place.block : place.block + len(block)] = block
    whole[:48] = end_superblock(layout, len(whole))
    path.write_bytes(whole)
    with h5py.File(path, "r") as file:
        assert file["data"][:, ::2, ::3].reshape(12).tolist() == list(range(12))


def test_the_same_tree_as_hdf5_makes_for_one_node(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=V108) as file:
        data = file.create_dataset("data", (5, 2), "u2", chunks=(1, 2))
        for row in range(5):
            data.id.write_direct_chunk((row, 0), bytes(4), 0)
        chunks = [data.id.get_chunk_info(row) for row in range(5)]
    written = path.read_bytes()
    at = written.index(b"TREE\x01")
    corners = np.array([chunk.chunk_offset for chunk in chunks], np.uint64)
    addresses = np.array([chunk.byte_offset for chunk in chunks], np.uint64)
    root, index = chunk_index(corners, addresses, np.full(5, 4, "u4"), (1, 2, 2), at)
    assert root == at
    used = 24 + 5 * 40 + 32  # HDF5 leaves what lies behind the last key as it was
    assert index[:used] == written[at : at + used]


@pytest.mark.parametrize("libver", [("earliest", "v108"), ("v110", "v110")])
def test_another_format_is_refused_and_not_guessed_at(tmp_path: Path, libver: tuple[str, str]) -> None:
    with h5py.File(tmp_path / "a.h5", "w", libver=libver) as file:
        data = file.create_dataset("data", (5, 2), "u2", chunks=(1, 2), maxshape=(None, 2))
        address = int(h5py.h5o.get_info(data.id).addr)
    file = (tmp_path / "a.h5").read_bytes()
    with pytest.raises(FileError, match="format v108"):
        find_layout(file, address)
    with pytest.raises(FileError, match="format v108"):
        end_superblock(file, 100)


def test_a_dataset_that_is_not_chunked_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", libver=V108) as file:
        file["data"] = np.zeros(5)
        address = int(h5py.h5o.get_info(file["data"].id).addr)
    with pytest.raises(FileError, match="class 1"):
        find_layout((tmp_path / "a.h5").read_bytes(), address)


def test_the_source_document_is_named() -> None:
    assert "File Format Specification" in (hdf5_format.__doc__ or "")
