"""Packed frames that were cut or whose block lengths are wrong, in every wire format: none counts as written."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import h5py
import lz4.block
import numpy as np
import pytest
import xxhash

from maxdaq_tango.files import SeriesFile, check_file
from maxdaq_tango.kernels.compression import HAS_BSZSTD, encode_pixels
from maxdaq_tango.model import Encoding, Frame, FrameFormat, StreamFormat, Verdict, Verification
from maxdaq_tango.pipeline import transforms
from maxdaq_tango.wire import dectris_v1, dectris_v2, stins
from maxdaq_tango.wire.blobs import bslz4_header
from receiving import Harness, packed_by_hdf5, stored

SHAPE = (130, 131)
"""Several blocks, and pixels behind the last one."""

WAYS = [
    (StreamFormat.STINS, Encoding.BSLZ4),
    (StreamFormat.STINS, Encoding.BSZSTD),
    (StreamFormat.STINS, Encoding.LZ4_HDF5),
    (StreamFormat.DECTRIS_V1, Encoding.BSLZ4),
    (StreamFormat.DECTRIS_V2, Encoding.BSLZ4),
    (StreamFormat.DECTRIS_V2, Encoding.BSZSTD),
    (StreamFormat.DECTRIS_V2, Encoding.LZ4_HDF5),
]

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut in half": lambda blob: blob[: len(blob) // 2],
    "one byte short": lambda blob: blob[:-1],
    "second half zeros": lambda blob: blob[: len(blob) // 2] + bytes(len(blob) - len(blob) // 2),
    "one byte over": lambda blob: blob + b"\0",
    "first length too large": lambda blob: (
        blob[:12] + (int.from_bytes(blob[12:16], "big") + 1).to_bytes(4, "big") + blob[16:]
    ),
    "first length zero": lambda blob: blob[:12] + bytes(4) + blob[16:],
    "first length endless": lambda blob: blob[:12] + b"\xff" * 4 + blob[16:],
}


def pixels(number: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(number).poisson(3, SHAPE).astype(np.uint16)


def packed(number: int, encoding: Encoding) -> bytes:
    if encoding is Encoding.BSZSTD:
        return packed_by_hdf5(pixels(number))
    if encoding is Encoding.LZ4_HDF5:
        raw = pixels(number).tobytes()
        blocks = [lz4.block.compress(raw[at : at + 8192], store_size=False) for at in range(0, len(raw), 8192)]
        return b"".join((bslz4_header(len(raw)), *(len(block).to_bytes(4, "big") + block for block in blocks)))
    return encode_pixels(pixels(number), encoding)


def messages(wire: StreamFormat, encoding: Encoding, blobs: list[bytes]) -> list[list[Any]]:
    format = FrameFormat(SHAPE, "uint16", encoding)
    count = len(blobs)
    if wire is StreamFormat.STINS:
        made = [stins.encode_header(0, "", {})]
        for n, blob in enumerate(blobs):
            made.append(stins.encode_image(n + 1, Frame(series="", frame_number=n, format=format, blobs=(blob,))))
        return [*made, stins.encode_end(count + 1)]
    if wire is StreamFormat.DECTRIS_V1:
        config = {"nimages": count, "ntrigger": 1}
        made = [dectris_v1.encode_header(7, detail=dectris_v1.HeaderDetail.BASIC, config=config)]
        for n, blob in enumerate(blobs):
            made.append(dectris_v1.encode_image(7, n, format, blob, start_ns=0, stop_ns=0, real_ns=0))
        return [*made, dectris_v1.encode_end(7)]
    made = [dectris_v2.encode_start(7, "A", {"number_of_images": count})]
    for n, blob in enumerate(blobs):
        times = {"start_time": (n, 1), "stop_time": (n, 1), "real_time": (n, 1)}
        made.append(
            dectris_v2.encode_image(7, "A", n, {"t": (format, blob)}, series_date="2026-01-01T00:00:00Z", **times)
        )
    return [*made, dectris_v2.encode_end(7, "A")]


@pytest.mark.lesson(11)
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(("wire", "encoding"), WAYS)
def test_a_packed_frame_whose_lengths_are_wrong_is_corrupt_and_never_reaches_the_file(
    harness: Harness, wire: StreamFormat, encoding: Encoding, damage: str
) -> None:
    harness.prepare(stream_format=wire)
    blobs = [packed(number, encoding) for number in range(3)]
    blobs[1] = DAMAGE[damage](blobs[1])
    for message in messages(wire, encoding, blobs):
        harness.sender.send(message)
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_written) == (Verdict.INCOMPLETE, 2)
    assert (receipt.frames_corrupt, receipt.frames_corrupt_numbers, receipt.frames_missing) == (1, (1,), ())
    assert f"frame 1: look at a {encoding} blob for {SHAPE} uint16" in receipt.reasons[0]
    assert receipt.encoding == encoding
    data = stored(receipt)
    assert np.array_equal(data[[0, 2]], [pixels(0), pixels(2)])
    assert np.all(data[1] == 65535)
    assert check_file(receipt.file).problems == []


@pytest.mark.lesson(11)
@pytest.mark.parametrize(("wire", "encoding"), WAYS)
def test_a_first_frame_that_was_cut_does_not_decide_what_the_file_is(
    harness: Harness, wire: StreamFormat, encoding: Encoding
) -> None:
    harness.prepare(stream_format=wire)
    blobs = [packed(number, encoding) for number in range(2)]
    blobs[0] = blobs[0][:-7]
    for message in messages(wire, encoding, blobs):
        harness.sender.send(message)
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_corrupt, receipt.frames_written) == (Verdict.INCOMPLETE, 1, 1)
    assert np.array_equal(stored(receipt)[1], pixels(1))


@pytest.mark.lesson(11)
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("encoding", [Encoding.BSLZ4, Encoding.BSZSTD, Encoding.LZ4_HDF5])
def test_a_check_finds_a_chunk_whose_lengths_are_wrong_even_where_its_checksum_is_right(
    harness: Harness, encoding: Encoding, damage: str
) -> None:
    """HDF5's own filter reads past the end of such a chunk and says nothing."""
    harness.prepare()
    for message in messages(StreamFormat.STINS, encoding, [packed(number, encoding) for number in range(3)]):
        harness.sender.send(message)
    receipt = harness.receipt()
    assert check_file(receipt.file).problems == []
    (harness.folder / "a.manifest.json").unlink()  # in which the size of the file is: it would be found by that
    damaged = DAMAGE[damage](packed(1, encoding))
    with h5py.File(receipt.file, "r+") as file:
        file[receipt.dataset].id.write_direct_chunk((1, 0, 0), damaged)
        file["entry/instrument/eiger/daq/chunk_checksum"][1] = xxhash.xxh3_64(damaged).intdigest()
    result = check_file(receipt.file)
    assert not result.ok
    assert len(result.problems) == 1
    assert "row 1 (frame 1): the chunk is damaged: " in result.problems[0]
    assert result.frames_checked == 2


def test_an_intact_copy_behind_a_frame_that_was_cut_is_stored(harness: Harness) -> None:
    harness.prepare(stream_format=StreamFormat.DECTRIS_V1)
    blob = packed(0, Encoding.BSLZ4)
    header, cut, end = messages(StreamFormat.DECTRIS_V1, Encoding.BSLZ4, [blob[:-1]])
    for message in (header, cut, messages(StreamFormat.DECTRIS_V1, Encoding.BSLZ4, [blob])[1], end):
        harness.sender.send(message)
    receipt = harness.receipt()
    assert (receipt.frames_written, receipt.frames_corrupt, receipt.frames_corrupt_numbers) == (1, 1, ())
    assert np.array_equal(stored(receipt), [pixels(0)])


def test_a_cut_frame_of_another_series_is_out_of_series_and_no_damage_of_this_one(harness: Harness) -> None:
    harness.prepare(stream_format=StreamFormat.DECTRIS_V1)
    blob, format = packed(0, Encoding.BSLZ4), FrameFormat(SHAPE, "uint16", Encoding.BSLZ4)
    header, image, end = messages(StreamFormat.DECTRIS_V1, Encoding.BSLZ4, [blob])
    stale = dectris_v1.encode_image(6, 0, format, blob[:-1], start_ns=0, stop_ns=0, real_ns=0)
    for message in (header, stale, image, end):
        harness.sender.send(message)
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_corrupt, receipt.frames_out_of_series) == (Verdict.COMPLETE, 0, 1)


VERIFIED = [
    (StreamFormat.STINS, Encoding.BSLZ4),
    (StreamFormat.STINS, Encoding.LZ4_HDF5),
    (StreamFormat.STINS, Encoding.LZ4_BLOCK),
    (StreamFormat.DECTRIS_V1, Encoding.LZ4_BLOCK),
    pytest.param(
        StreamFormat.DECTRIS_V2,
        Encoding.BSZSTD,
        marks=pytest.mark.skipif(not HAS_BSZSTD, reason="this build of bitshuffle has no Zstandard"),
    ),
]


@pytest.mark.lesson(11)
@pytest.mark.parametrize(("wire", "encoding"), VERIFIED)
def test_full_verification_finds_damage_inside_a_block_and_changes_nothing_else(
    harness: Harness, wire: StreamFormat, encoding: Encoding
) -> None:
    harness.prepare(stream_format=wire, verify=Verification.FULL)
    blobs = [packed(number, encoding) for number in range(5)]
    blobs[3] = blobs[3][:100] + bytes(len(blobs[3]) - 100) if encoding is Encoding.LZ4_BLOCK else torn(blobs[3])
    for message in messages(wire, encoding, blobs):
        harness.sender.send(message)
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_written) == (Verdict.INCOMPLETE, 4)
    assert (receipt.frames_corrupt_numbers, receipt.frames_lost) == ((3,), ())
    assert receipt.reasons[0].startswith("frame 3: unpack")
    assert receipt.decisions["verify"] == "every frame is unpacked before it is stored"
    with h5py.File(receipt.file, "r") as file:
        data = file[receipt.dataset]
        if encoding is not Encoding.LZ4_BLOCK:  # byte for byte as it came
            assert data.id.read_direct_chunk((0, 0, 0))[1] == blobs[0]
    assert all(np.array_equal(stored(receipt)[n], pixels(n)) for n in (0, 1, 2, 4))
    assert check_file(receipt.file).problems == []


def torn(blob: bytes) -> bytes:
    """All lengths stand; what is inside the first block is no LZ4 and no Zstandard."""
    length = int.from_bytes(blob[12:16], "big")
    return blob[:16] + b"\xff" * length + blob[16 + length :]


def test_without_it_such_a_frame_is_stored_and_a_check_of_the_file_finds_it(harness: Harness) -> None:
    harness.prepare()
    for message in messages(StreamFormat.STINS, Encoding.BSLZ4, [torn(packed(0, Encoding.BSLZ4))]):
        harness.sender.send(message)
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.COMPLETE
    assert "verify" not in receipt.decisions
    assert "the pixels cannot be unpacked" in check_file(receipt.file).problems[0]


def test_frames_that_nobody_here_can_unpack_are_stored_with_their_framing_checked(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transforms, "HAS_BSZSTD", False)
    harness.prepare(verify=Verification.FULL)
    for message in messages(StreamFormat.STINS, Encoding.BSZSTD, [packed(n, Encoding.BSZSTD) for n in range(2)]):
        harness.sender.send(message)
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_written) == (Verdict.COMPLETE, 2)
    assert receipt.decisions["verify"] == "block lengths only: no decoder for bszstd here"


def test_a_damaged_frame_that_contradicts_the_numbering_is_never_taken_later_without_its_pixels(
    harness: Harness,
) -> None:
    harness.prepare(expected_frames=4)
    harness.sender.header()
    harness.sender.image(0)
    number = harness.sender.number
    for step, wrong in ((7, b"cut"), (13, None)):  # the second contradiction ends the rule, and the first is looked at
        harness.sender.number = number + step
        harness.sender.image(1 if wrong else 2, blob=wrong)
    harness.sender.number = number + 1
    harness.sender.image(3)
    harness.sender.end()
    harness.wait_written(3)
    harness.receiver.stop()
    receipt = harness.receipt()
    assert receipt.verdict is not Verdict.COMPLETE
    assert (receipt.frames_written, receipt.frames_corrupt) == (3, 1)
    assert receipt.frames_missing_ranges == ((1, 1),)


def test_a_damaged_frame_that_comes_when_the_series_is_over_is_late_and_no_stranger(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, sent = SeriesFile.write, threading.Event()

    def held(self: SeriesFile, row: int, *rest: Any) -> int:
        assert sent.wait(20)  # or the receiver might be gone before the frame leaves
        return write(self, row, *rest)

    monkeypatch.setattr(SeriesFile, "write", held)
    harness.prepare(expected_frames=3)
    harness.sender.header()
    harness.sender.image(0)
    harness.sender.header()  # ends the series
    harness.sender.number = 2
    harness.sender.image(1, blob=b"cut")
    sent.set()
    receipt = harness.receipt()
    assert receipt.frames_written == 1
    assert receipt.frames_corrupt == 0
