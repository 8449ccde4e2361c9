"""Time over threshold, turning and a masked rectangle, in that order: as a chain, and through the receiver."""

from __future__ import annotations

import contextlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from maxdaq_tango.errors import FileError, PipelineError
from maxdaq_tango.kernels.cbf import make_cbf
from maxdaq_tango.kernels.compression import decode_pixels, encode_pixels
from maxdaq_tango.kernels.orientation import orient
from maxdaq_tango.kernels.time_over_threshold import ARRAY, convert_with_numpy
from maxdaq_tango.model import Compression, Encoding, Frame, FrameFormat, Orientation, PixelSteps, Verdict
from maxdaq_tango.pipeline.transforms import Chain, choose_transforms
from maxdaq_tango.wire import stins
from receiving import Harness

SHAPE = (12, 17)
COUNTS = 40


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, np.ndarray]:
    path = tmp_path_factory.mktemp("tables") / "tot.npz"
    tensor = np.random.default_rng(5).random((*SHAPE, COUNTS)) * 100
    np.savez(path, **{ARRAY: tensor})
    return str(path), tensor


def picture(number: int) -> np.ndarray:
    pixels = np.random.default_rng(number).integers(-2, COUNTS + 3, SHAPE).astype(np.int32)
    pixels[3] = -1
    return pixels


def expected(
    pixels: np.ndarray, tensor: np.ndarray | None, orientation: Orientation, mask: tuple[int, ...]
) -> np.ndarray:
    """The same in the plainest words."""
    if tensor is not None:
        flat = tensor.reshape(-1, tensor.shape[-1]).astype(np.float32)
        energies = np.empty(pixels.size, np.float32)
        convert_with_numpy(pixels.reshape(-1), flat, energies)
        pixels = energies.reshape(pixels.shape)
    pixels = np.array(orient(pixels, orientation))
    if mask:
        pixels[mask[0] : mask[1], mask[2] : mask[3]] = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else -1
    return pixels


def applied(
    pixels: np.ndarray, encoding: Encoding, orientation: Orientation, steps: PixelSteps, compression: Compression
):
    format = FrameFormat(pixels.shape, str(pixels.dtype), encoding)
    blob = make_cbf(pixels) if encoding is Encoding.CBF else encode_pixels(pixels, encoding)
    frame = Frame(series="", frame_number=1, format=format, blobs=(blob,))
    chain = Chain(format, choose_transforms(format, orientation, compression, steps=steps))
    stored = chain.apply(frame, memoryview(bytearray(chain.room)))
    assert stored.format == chain.stored
    return chain, decode_pixels(stored.format, stored.blobs)


@settings(deadline=None)  # the first example compiles
@given(
    st.integers(0, 1000),
    st.sampled_from([Encoding.NONE, Encoding.CBF, Encoding.BSLZ4]),
    st.builds(Orientation, st.integers(-3, 3), st.booleans(), st.booleans()),
    st.booleans(),
    st.sampled_from([(), (0, 1, 0, 1), (3, 9, 2, 11), (0, 12, 0, 12)]),
    st.sampled_from([Compression.NONE, Compression.BSLZ4]),
)
def test_the_chain_equals_the_plainest_words(table, seed, encoding, orientation, converts, mask, compression):
    path, tensor = table
    steps = PixelSteps(tot_table=path if converts else "", mask=mask)
    chain, pixels = applied(picture(seed), encoding, orientation, steps, compression)
    assert pixels.dtype == (np.float32 if converts else np.int32)
    np.testing.assert_array_equal(pixels, expected(picture(seed), tensor if converts else None, orientation, mask))
    names = [word for word in ("Convert", "Orient", "Mask", "Pack") if word in chain.stored_as]
    assert names == sorted(names, key=chain.stored_as.index)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32", "float32"])
def test_a_mask_is_a_value_that_no_count_has(dtype):
    pixels = np.ones(SHAPE, dtype)
    _, masked = applied(pixels, Encoding.NONE, Orientation(), PixelSteps(mask=(1, 3, 2, 5)), Compression.BSLZ4)
    np.testing.assert_array_equal(masked, expected(pixels, None, Orientation(), (1, 3, 2, 5)))
    assert (pixels == 1).all()  # what came is not written over


def test_a_table_and_a_rectangle_that_do_not_fit_are_refused_in_words(table):
    steps = PixelSteps(tot_table=table[0])
    for pixels in (np.zeros((12, 18), np.int32), np.zeros(SHAPE, np.uint32)):
        with pytest.raises(PipelineError, match=r"\(12, 17\) int32"):
            applied(pixels, Encoding.NONE, Orientation(), steps, Compression.NONE)
    mask = PixelSteps(mask=(3, 13, 0, 2))
    with pytest.raises(PipelineError, match="rows 3 to 13"):
        applied(picture(0), Encoding.NONE, Orientation(), mask, Compression.NONE)
    applied(picture(0), Encoding.NONE, Orientation(1), mask, Compression.NONE)  # it is turned first


# --- through the receiver ---------------------------------------------------------------------------------------------


def send(harness: Harness, count: int = 5) -> None:
    harness.sender.header()
    for number in range(count):
        format = FrameFormat(SHAPE, "int32", Encoding.CBF)
        frame = Frame(series="", frame_number=number, format=format, blobs=(make_cbf(picture(number)),))
        harness.sender.send(stins.encode_image(harness.sender._next(), frame))
    harness.sender.end()


@pytest.mark.parametrize("engines", [1, 2])
def test_files_of_a_pilatus_become_energies_turned_and_masked(harness: Harness, table, engines):
    path, tensor = table
    orientation, mask = Orientation(-1), (0, 4, 3, 9)
    steps = PixelSteps(tot_table=path, mask=mask)
    harness.prepare(pixel_steps=steps, orientation=orientation, engines=engines)
    send(harness)
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.reasons) == (Verdict.COMPLETE, ())
    with h5py.File(receipt.file) as file:
        data = file["entry/instrument/eiger/data"]
        assert (data.shape, data.dtype) == ((5, 17, 12), np.float32)
        for number in range(5):
            np.testing.assert_array_equal(data[number], expected(picture(number), tensor, orientation, mask))


def test_a_table_for_another_detector_fails_the_run_with_the_reason(harness: Harness, tmp_path: Path):
    np.savez(tmp_path / "other.npz", **{ARRAY: np.zeros((5, 5, 3))})
    harness.prepare(pixel_steps=PixelSteps(tot_table=str(tmp_path / "other.npz")))
    with contextlib.suppress(zmq.Again):  # the receiver hangs up at the first frame
        send(harness)
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.FAILED
    assert any("(5, 5) int32" in reason for reason in receipt.reasons)


def test_a_table_that_is_not_there_fails_prepare(harness: Harness, tmp_path: Path):
    with pytest.raises(FileError, match="No such file"):
        harness.prepare(pixel_steps=PixelSteps(tot_table=str(tmp_path / "nothing.npz")))
