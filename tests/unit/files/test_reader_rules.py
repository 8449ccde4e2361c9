"""What programs with an HDF5 parser of their own ask of a file: neggia, through which XDS reads, and durin.

neggia knows superblocks 0, 2 and 3 without the open-for-write mark, data layouts 3 and 4, and as chunk index a B-tree
or a fixed array; it breaks on a chunk that was never written, and wants masks unchunked. durin wants fixed ASCII.
"""

from __future__ import annotations

import struct
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from maxdaq_tango.files import BlockedSeries, FrameTimes, SeriesFile, recover_file, resolve_destination
from maxdaq_tango.files.backend_choice import choose_backend
from maxdaq_tango.files.layout import stored_rows
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat, Receipt, Verdict

SHAPE = (16, 24)
SIGNATURE = b"\x89HDF\r\n\x1a\n"
LAYOUT, CONTINUATION = 0x08, 0x10
FIXED_ARRAY, B_TREE_2 = 3, 5


def messages(content: bytes, address: int) -> list[tuple[int, bytes]]:
    """(type, body) of every message in a version 2 object header."""
    assert content[address : address + 5] == b"OHDR\x02"
    flags = content[address + 5]
    place = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    size = int.from_bytes(content[place : place + width], "little")
    blocks, found = [(place + width, size)], []
    while blocks:
        place, size = blocks.pop()
        end = place + size
        while place + 4 <= end:
            kind, length = content[place], int.from_bytes(content[place + 1 : place + 3], "little")
            place += 4 + (2 if flags & 4 else 0)
            body = content[place : place + length]
            if kind == CONTINUATION:
                offset, nbytes = struct.unpack("<QQ", body[:16])
                assert content[offset : offset + 4] == b"OCHK"
                blocks.append((offset + 4, nbytes - 8))
            found.append((kind, body))
            place += length
    return found


def finished(
    folder: Path, backend: FileBackend, encoding: Encoding, rows: int | None, block_rows: int = 0, how: str = "finished"
) -> Path:
    destination = resolve_destination(str(folder / "a.h5"), [str(folder)])
    file: SeriesFile | BlockedSeries = SeriesFile(destination, detector="eiger", software="tests", backend=backend)
    if block_rows:
        file.abandon()
        file = BlockedSeries(destination, detector="eiger", software="tests", backend=backend, block_rows=block_rows)
    format = FrameFormat(SHAPE, "uint32", encoding)
    arrays = {"detectorSpecific/pixel_mask": np.zeros(SHAPE, "u4"), "flatfield": np.ones(SHAPE, "f4")}
    file.begin(format, rows, 2**32 - 1, {"x_pixel_size": 75e-6, "count_time": 0.1}, arrays)
    for row in (0, 1, 3, 4):
        pixels = np.full(SHAPE, row, "u4")
        file.write(row, row, [encode_pixels(pixels, encoding)], FrameTimes(start=row * 0.1))
    if how == "recovered":
        file.abandon()
        found = recover_file(destination.part)
        assert found.file, found
        return Path(found.file)
    valid = np.array([True, True, False, True, True])
    file.settle(valid, 0, 0, rows)
    receipt = Receipt(verdict=Verdict.INCOMPLETE, frames_written=4, shape=(5, *SHAPE), dtype="uint32")
    return file.finish(receipt)


@pytest.fixture(
    params=[
        (FileBackend.SWMR, Encoding.BSLZ4, 5),
        (FileBackend.SWMR, Encoding.NONE, 2000),
        (FileBackend.DIRECT, Encoding.BSLZ4, 5),
        (FileBackend.DIRECT, Encoding.NONE, 2000),
        (FileBackend.DIRECT, Encoding.LZ4_HDF5, None),
        (FileBackend.AUTO, Encoding.BSLZ4, None),
    ],
    ids=lambda p: f"{p[0].value}-{p[1].value}-{p[2]}",
)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return finished(tmp_path, *request.param)


@pytest.mark.parametrize("backend", [FileBackend.SWMR, FileBackend.DIRECT])
def test_a_series_of_one_frame_has_an_index_that_readers_know(tmp_path: Path, backend: FileBackend) -> None:
    destination = resolve_destination(str(tmp_path / "a.h5"), [str(tmp_path)])
    file = SeriesFile(destination, detector="eiger", software="tests", backend=backend)
    file.begin(FrameFormat(SHAPE, "uint32", Encoding.NONE), 1, 2**32 - 1, {}, {})
    file.write(0, 0, [bytes(4 * SHAPE[0] * SHAPE[1])], FrameTimes())
    file.settle(np.array([True]), 0, 0, 1)
    path = file.finish(Receipt(verdict=Verdict.COMPLETE, frames_written=1, shape=(1, *SHAPE), dtype="uint32"))
    test_layout_and_chunk_index_are_those_that_readers_know(path)
    test_each_chunk_is_one_frame_and_all_are_there(path)


BLOCKED = [
    (FileBackend.SWMR, Encoding.BSLZ4, 5, 2),
    (FileBackend.DIRECT, Encoding.BSLZ4, 5, 2),
    (FileBackend.DIRECT, Encoding.NONE, None, 3),
    (FileBackend.SWMR, Encoding.LZ4_HDF5, 2000, 2),
    (FileBackend.AUTO, Encoding.BSLZ4, None, 1),
]


@pytest.fixture(params=["finished", "recovered"])
def how(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=BLOCKED, ids=lambda p: f"{p[0].value}-{p[1].value}-{p[2]}-in-{p[3]}s")
def master(request: pytest.FixtureRequest, tmp_path: Path, how: str) -> Path:
    return finished(tmp_path, *request.param, how)


def data_files(master: Path) -> list[Path]:
    return sorted(master.parent.glob("a*_data_*.h5"))


def test_data_files_follow_the_rules_of_single_files(master: Path) -> None:
    paths = data_files(master)
    assert paths
    for path in paths:
        test_the_superblock_is_one_that_readers_know_and_says_that_nobody_writes(path)
        test_layout_and_chunk_index_are_those_that_readers_know(path)
        test_each_chunk_is_one_frame_and_all_are_there(path)


def test_all_data_files_but_the_last_have_the_same_number_of_frames_in_order(master: Path) -> None:
    lengths, low = [], 1
    for path in data_files(master):
        with h5py.File(path) as file:
            data = file["entry/data/data"]
            assert (data.attrs["image_nr_low"], data.attrs["image_nr_high"]) == (low, low + len(data) - 1)
            assert file["entry/instrument/eiger/sequence_number"][0] == low - 1
            assert file["entry/instrument/eiger/data"] == data
            assert file["entry/data"].get("data", getlink=True).__class__ is h5py.HardLink
            lengths.append(len(data))
            low += len(data)
    assert sum(lengths) == 5
    assert len({*lengths[:-1], max(lengths)}) == 1
    assert lengths[-1] <= lengths[0]


def test_a_master_can_be_read_by_links_and_as_one_dataset(master: Path) -> None:
    content = master.read_bytes()
    assert content[8] in (0, 2, 3)
    assert content[11] == 0
    test_masks_are_contiguous_and_texts_for_c_readers_are_fixed_ascii(master)
    with h5py.File(master) as file:
        plot = file["entry"][file["entry"].attrs["default"].decode()]
        joined = plot[plot.attrs["signal"].decode()]
        assert joined.is_virtual
        assert joined == file["entry/instrument/eiger/data"]
        assert joined.shape == (5, *SHAPE)
        assert joined.fillvalue == 2**32 - 1
        links = sorted(name for name in plot if name != "data")
        assert links == [f"data_{number + 1:06d}" for number in range(len(data_files(master)))]
        frames = np.concatenate([plot[name][...] for name in links])
        assert np.array_equal(frames, joined[...])
        assert [int(frame[0, 0]) for frame in frames] == [0, 1, 2**32 - 1, 3, 4]
        for name, path in zip(links, data_files(master), strict=True):
            link = plot.get(name, getlink=True)
            assert (link.filename, link.path) == (path.name, "/entry/data/data")
        assert {source.file_name for source in joined.virtual_sources()} == {p.name for p in data_files(master)}
        (layout,) = [body for kind, body in messages(content, h5py.h5o.get_info(joined.id).addr) if kind == LAYOUT]
        assert (layout[0], layout[1]) == (4, 3)  # a virtual dataset as HDF5 1.10 writes it


def test_the_superblock_is_one_that_readers_know_and_says_that_nobody_writes(path: Path) -> None:
    content = path.read_bytes()
    assert content.startswith(SIGNATURE)
    assert content[8] in (0, 2, 3)
    if content[8] == 3:
        assert content[11] == 0
    end = int.from_bytes(content[28:36], "little")  # versions 2 and 3
    assert end == len(content)


def test_layout_and_chunk_index_are_those_that_readers_know(path: Path) -> None:
    with h5py.File(path) as file:
        address = h5py.h5o.get_info(file["/entry/instrument/eiger/data"].id).addr
    (layout,) = [body for kind, body in messages(path.read_bytes(), address) if kind == LAYOUT]
    version, chunked = layout[0], layout[1]
    assert chunked == 2
    if version == 4:
        dimensions, width = layout[3], layout[4]
        assert layout[5 + dimensions * width] in (FIXED_ARRAY, B_TREE_2)
    else:
        assert version == 3  # a version 1 B-tree


def test_each_chunk_is_one_frame_and_all_are_there(path: Path) -> None:
    with h5py.File(path) as file:
        data = file["/entry/instrument/eiger/data"]
        assert data.chunks == (1, *SHAPE)
        assert stored_rows(data) == set(range(len(data)))
        filters = [data.id.get_create_plist().get_filter(n) for n in range(data.id.get_create_plist().get_nfilters())]
        assert [number for number, *_ in filters] in ([], [hdf5plugin.BSHUF_ID], [hdf5plugin.LZ4_ID])
        assert all(values[-1] == 2 for number, _, values, _ in filters if number == hdf5plugin.BSHUF_ID)


def test_masks_are_contiguous_and_texts_for_c_readers_are_fixed_ascii(path: Path) -> None:
    with h5py.File(path) as file:
        group = file["/entry/instrument/eiger"]
        assert group["detectorSpecific/pixel_mask"].chunks is None
        assert group["flatfield"].chunks is None
        assert group["x_pixel_size"].dtype == np.float64
        for place in (file, file["entry"], file["entry/instrument"], group, group["x_pixel_size"], group["count_time"]):
            for name, value in place.attrs.items():
                if place.attrs.get_id(name).dtype.kind in "SO":
                    text_type = place.attrs.get_id(name).get_type()
                    assert not text_type.is_variable_str(), name
                    assert text_type.get_cset() == h5py.h5t.CSET_ASCII, name
                    assert isinstance(value, bytes)


@pytest.mark.parametrize(
    ("wanted", "chunk", "frame", "period", "grows", "chosen"),
    [
        ("auto", 8_000, 8_000, None, False, "swmr"),
        ("auto", 8_000, 8_000, 1e-5, False, "direct"),
        ("auto", 30_000, 30_000, None, False, "direct"),
        ("auto", 30_000, 30_000, 0.1, False, "swmr"),
        ("auto", 30_000, 30_000, 1e-4, False, "direct"),
        ("auto", 4_000_000, 4_000_000, 1.0, False, "swmr"),
        ("auto", 4_000_000, 4_000_000, 0.01, False, "direct"),
        ("auto", 8_000, 8_000, 1.0, True, "direct"),
        ("swmr", 20_000_000, 20_000_000, 1e-3, True, "swmr"),
        ("direct", 100, 100, 10.0, False, "direct"),
    ],
)
def test_the_backend_follows_from_size_and_rate_and_can_be_forced(
    wanted: str, chunk: int, frame: int, period: float | None, grows: bool, chosen: str
) -> None:
    choice = choose_backend(FileBackend(wanted), chunk, frame, period, grows=grows)
    assert choice.backend.value == chosen
    assert choice.reason
