"""However many workers turn and pack, and in whatever order frames come: the file is the same."""

from __future__ import annotations

import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  (registers the filters)
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maxdaq_tango.kernels.compression import HAS_BSZSTD, encode_pixels
from maxdaq_tango.kernels.orientation import orient
from maxdaq_tango.model import (
    Compression,
    Encoding,
    Frame,
    FrameFormat,
    Orientation,
    Receipt,
    RunRequest,
    SeriesEnd,
    SeriesStart,
    StreamFormat,
)
from maxdaq_tango.pipeline.file_sink import FileSink
from maxdaq_tango.pipeline.series_run import SeriesRun
from maxdaq_tango.pipeline.storing import Storing
from maxdaq_tango.testing.strategies import PIXEL_TYPES

PACKINGS = [packing for packing in Compression if HAS_BSZSTD or packing is not Compression.BSZSTD]
ON_THE_WIRE = (Encoding.NONE, Encoding.BSLZ4, Encoding.LZ4_BLOCK)


@dataclass
class Series:
    """Frames in the order in which they arrive; some twice, some never."""

    count: int
    arriving: list[int]
    format: FrameFormat
    orientation: Orientation
    compression: Compression

    def picture(self, number: int) -> np.ndarray[Any, Any]:
        return np.random.default_rng(number).poisson(2, self.format.shape).astype(self.format.dtype)

    def frame(self, number: int) -> Frame:
        blob = encode_pixels(self.picture(number), self.format.encoding)
        return Frame(series="1", frame_number=number, format=self.format, blobs=(blob,))


@st.composite
def series(draw: st.DrawFn) -> Series:
    count = draw(st.integers(1, 12))
    kept = draw(st.sets(st.integers(0, count - 1), min_size=1))
    copies = draw(st.lists(st.sampled_from(sorted(kept)), max_size=4))
    shape = (draw(st.integers(1, 40)), draw(st.integers(1, 40)))
    return Series(
        count,
        draw(st.permutations([*kept, *copies])),
        FrameFormat(shape, draw(st.sampled_from(PIXEL_TYPES)), draw(st.sampled_from(ON_THE_WIRE))),
        Orientation(draw(st.integers(0, 3)), draw(st.booleans()), draw(st.booleans())),
        draw(st.sampled_from(PACKINGS)),
    )


def stored(series: Series, order: list[int], workers: int, limit_bytes: int, folder: Path) -> dict[str, Any]:
    """What is in the file after a run, byte for byte where HDF5 keeps it so."""
    request = RunRequest(
        sources=("tcp://h:1",),
        stream_format=StreamFormat.DECTRIS_V1,
        destination=str(folder / f"{workers}.h5"),
        roots=(str(folder),),
        expected_frames=series.count,
        orientation=series.orientation,
        compression=series.compression,
    )
    run, sink = SeriesRun(request, 0.0), FileSink(request, "tests", 1 << 20)
    storing = Storing(
        sink, run, workers=workers, limit_bytes=limit_bytes, wake=lambda: None, on_wait=lambda waited_s: True
    )
    sink.reserve(request.destination)
    start = SeriesStart(series="1")
    run.on_start(start, 0.0)
    sink.on_start(start)
    for number in order:
        frame = series.frame(number)
        row = run.on_frame(frame, 0.1)
        if row is not None:
            storing.store(row, frame, 0.0)
    run.on_end(SeriesEnd(series="1"), 0.2)
    run.on_tick(10.0)
    storing.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("packer")]
    account, receipt = run.close()
    receipt = sink.finish(account, receipt)
    assert receipt.frames_written == len(set(order))
    assert receipt.frames_duplicate == len(order) - len(set(order))
    return contents(receipt)


def contents(receipt: Receipt) -> dict[str, Any]:
    with h5py.File(receipt.file, "r") as file:
        dataset = file[receipt.dataset]
        group = dataset.parent
        rows = range(dataset.shape[0])
        return {
            "shape": dataset.shape,
            "pixels": dataset[...],
            "chunks": [dataset.id.read_direct_chunk((row, 0, 0))[1] for row in rows],
            "numbers": group["sequence_number"][...].tolist(),
            "checksums": group["daq/chunk_checksum"][...].tolist(),
            "valid": group["daq/frame_valid"][...].tolist(),
        }


@settings(deadline=None, max_examples=30)
@given(series(), st.integers(1, 5), st.integers(0, 100_000), st.randoms(use_true_random=False))
@pytest.mark.lesson(4)
def test_any_number_of_workers_and_any_order_give_the_same_file(
    series: Series, workers: int, limit_bytes: int, random: Any
) -> None:
    other_order = list(series.arriving)
    random.shuffle(other_order)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        many = stored(series, series.arriving, workers, limit_bytes, folder)
        one = stored(series, other_order, 1, 1 << 20, folder / "one")
    pixels = many.pop("pixels")
    np.testing.assert_array_equal(pixels, one.pop("pixels"))
    assert many == one
    for number in set(series.arriving):
        np.testing.assert_array_equal(pixels[number], orient(series.picture(number), series.orientation))
