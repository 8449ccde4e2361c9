"""Whatever the order of arrival, sockets, batches, way to the disk, memory, blocks, processes: there is one content."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maxdaq_tango.files import check_file
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Encoding, FileBackend, Verdict
from maxdaq_tango.pipeline import sources, writers
from receiving import SHAPE, Harness, pixels


@dataclass
class Road:
    """How a series of frames 0 .. count-1 travels."""

    count: int
    order: list[int]
    socket_of: list[int]
    sockets: int
    backend: FileBackend
    encoding: Encoding
    told: bool
    """The number of frames is known beforehand."""
    memory_bytes: int
    batch: int
    """Messages, and frames handed to a process, at a time."""
    frames_per_file: int
    engines: int


OF_THE_RUN = [
    *("chunk_checksum", "counters", "frame_fate", "frame_texts", "frame_valid", "receipt", "receive_time"),
    *("frames_corrupt_numbers", "frames_late_ranges", "frames_lost_ranges", "frames_missing_ranges"),
]
"""All there is in group `daq`."""


@st.composite
def roads(draw: st.DrawFn) -> Road:
    count = draw(st.integers(1, 120))
    sockets = draw(st.integers(1, 3))
    return Road(
        count=count,
        order=draw(st.permutations(range(count))),
        socket_of=draw(st.lists(st.integers(0, sockets - 1), min_size=count, max_size=count)),
        sockets=sockets,
        backend=draw(st.sampled_from(FileBackend)),
        encoding=draw(st.sampled_from([Encoding.NONE, Encoding.BSLZ4, Encoding.LZ4_HDF5])),
        told=draw(st.booleans()),
        memory_bytes=draw(st.sampled_from([16 << 20, 64 << 20, 1 << 30])),
        batch=draw(st.sampled_from([1, 3, 64])),
        frames_per_file=draw(st.one_of(st.just(0), st.integers(max(1, count // 12), 130))),
        engines=draw(st.integers(1, 3)),
    )


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    """One receiver for all roads: its processes serve one run after the other."""
    harness = Harness(tmp_path)
    yield harness
    harness.receiver.close()
    harness.context.destroy(0)


def texts_of(group: h5py.Group, count: int) -> list[Any]:
    texts = json.loads(group["daq/frame_texts"][()])
    return [texts.get(str(row), texts["usual"]) for row in range(count)]


def contents(path: str, dataset: str) -> dict[str, Any]:
    with h5py.File(path) as file:
        data, group = file[dataset], file[dataset].parent
        return {
            "counters": dict(group["daq/counters"].attrs),
            "pixels": data[...],
            "plotted": file["entry/data/data"][...],
            "shape": (data.shape, data.dtype, data.fillvalue),
            "numbers": group["sequence_number"][...],
            "valid": group["daq/frame_valid"][...],
            "start_time": group["start_time"][...],
            "checksum": group["daq/chunk_checksum"][...],
            "received": group["daq/receive_time"][...],
            "extra": group["frame_metadata/angle"][...],
            "texts": texts_of(group, len(data)),
            "names": sorted(group) + sorted(group["daq"]) + sorted(group["frame_metadata"]),
            "plot": sorted(file["entry/data"]),
        }


def blob_of(road: Road, number: int) -> bytes:
    return encode_pixels(pixels(number), road.encoding)


def take(harness: Harness, road: Road, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    senders = [harness.add_sender() for _ in range(road.sockets)]
    monkeypatch.setattr(sources, "BATCH", road.batch)
    monkeypatch.setattr(writers, "BATCH_FRAMES", road.batch)
    try:
        harness.prepare(
            sources=tuple(sender.endpoint for sender in senders),
            destination=str(folder / "a.h5"),
            roots=(str(folder),),
            expected_frames=road.count if road.told else None,
            backend=road.backend,
            memory_bytes=road.memory_bytes,
            frames_per_file=road.frames_per_file,
            engines=road.engines,
        )
        first = senders[0]
        first.header(exptime=0.5)
        for number, socket in zip(road.order, road.socket_of, strict=True):
            sender = senders[socket]
            sender.number = number + 1  # one count of messages over all sockets
            extras = {"angle": number * 0.1, "of": "most" if number % 5 else f"frame {number}"}
            blob = blob_of(road, number)
            sender.image(number, blob=blob, encoding=road.encoding, start_time_s=number * 0.5, extras=extras)
        first.number = road.count + 1
        first.end()
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.COMPLETE, receipt.reasons
        assert receipt.frames_written == road.count
        check = check_file(Path(receipt.file))
        assert (check.problems, check.frames_checked) == ([], road.count)
        names = {"a.h5", "a.manifest.json", *receipt.data_files}
        assert {path.name for path in folder.iterdir()} == names
        if road.frames_per_file:
            assert len(receipt.data_files) == -(-road.count // road.frames_per_file)
        assert bool(receipt.data_files) == (road.frames_per_file > 0 or road.engines > 1)
        return contents(receipt.file, receipt.dataset) | {"data files": receipt.data_files}
    finally:
        for sender in senders:
            sender.socket.close(0)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(road=roads())
def test_every_road_leads_to_the_same_file(harness: Harness, road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="maxdaq-road-") as folder:
        found = take(harness, road, Path(folder), monkeypatch)
    count = road.count
    expected = np.array([pixels(number) for number in range(count)])
    assert np.array_equal(found["pixels"], expected)
    assert np.array_equal(found["plotted"], expected)
    assert found["shape"] == ((count, *SHAPE), np.dtype("uint16"), 65535)
    assert found["numbers"].tolist() == list(range(count))
    assert found["valid"].tolist() == [1] * count
    assert found["start_time"].tolist() == [number * 0.5 for number in range(count)]
    assert found["extra"].tolist() == [number * 0.1 for number in range(count)]
    assert found["texts"] == [{"of": "most" if number % 5 else f"frame {number}"} for number in range(count)]
    assert np.all(found["received"] > 1.6e9)
    if road.encoding is not Encoding.NONE:  # or it was packed on the way
        checksums = [xxhash.xxh3_64_intdigest(blob_of(road, number)) for number in range(count)]
        assert found["checksum"].tolist() == checksums
    assert found["names"] == sorted(
        [
            *("daq", "data", "exptime", "exposure_time", "frame_metadata", "real_time", "sequence_number"),
            *("start_time", "stop_time"),
        ]
    ) + sorted(OF_THE_RUN) + ["angle"]
    assert found["counters"]["frames_written"] == count
    assert found["counters"]["frames_missing_count"] == 0
    links = [f"data_{number + 1:06d}" for number in range(len(found["data files"]))]
    assert found["plot"] == ["data", *links]
