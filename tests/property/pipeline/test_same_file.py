"""Whatever the order of arrival, the number of sockets, the way to the disk, the memory: the file has one content."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maxdaq_tango.files import check_file
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Encoding, FileBackend, Verdict
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
    )


def contents(path: str, dataset: str) -> dict[str, Any]:
    with h5py.File(path) as file:
        data, group = file[dataset], file[dataset].parent
        return {
            "pixels": data[...],
            "shape": (data.shape, data.chunks, data.dtype),
            "numbers": group["sequence_number"][...],
            "valid": group["daq/frame_valid"][...],
            "start_time": group["start_time"][...],
            "names": sorted(group) + sorted(group["daq"]),
        }


def take(road: Road, folder: Path) -> dict[str, Any]:
    harness = Harness(folder)
    senders = [harness.sender, *(harness.add_sender() for _ in range(road.sockets - 1))]
    try:
        harness.prepare(
            sources=tuple(sender.endpoint for sender in senders),
            expected_frames=road.count if road.told else None,
            backend=road.backend,
            memory_bytes=road.memory_bytes,
        )
        first = senders[0]
        first.header(exptime=0.5)
        for number, socket in zip(road.order, road.socket_of, strict=True):
            sender = senders[socket]
            sender.number = number + 1  # one count of messages over all sockets
            blob = encode_pixels(pixels(number), road.encoding)
            sender.image(number, blob=blob, encoding=road.encoding, start_time_s=number * 0.5)
        first.number = road.count + 1
        first.end()
        receipt = harness.receipt()
        assert receipt.verdict is Verdict.COMPLETE, receipt.reasons
        assert receipt.frames_written == road.count
        assert check_file(Path(receipt.file)).problems == []
        assert [path.name for path in folder.iterdir()] == ["a.h5"]
        return contents(receipt.file, receipt.dataset)
    finally:
        harness.receiver.close()
        harness.context.destroy(0)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(roads())
def test_every_road_leads_to_the_same_file(road: Road) -> None:
    with tempfile.TemporaryDirectory(prefix="maxdaq-road-") as folder:
        found = take(road, Path(folder))
    count = road.count
    expected = np.array([pixels(number) for number in range(count)])
    assert np.array_equal(found["pixels"], expected)
    assert found["shape"] == ((count, *SHAPE), (1, *SHAPE), np.dtype("uint16"))
    assert found["numbers"].tolist() == list(range(count))
    assert found["valid"].tolist() == [1] * count
    assert found["start_time"].tolist() == [number * 0.5 for number in range(count)]
    assert found["names"] == sorted(
        [*("daq", "data", "exptime", "exposure_time", "real_time", "sequence_number", "start_time", "stop_time")]
    ) + sorted(["chunk_checksum", "frame_valid", "receipt", "receive_time"])
