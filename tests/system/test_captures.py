"""Real MAX IV streams through `maxdaq replay` and `maxdaq receive`, compared with an independent decode."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import bitshuffle
import cbor2
import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "captures"
WAIT_S = 60


class Case:
    """One capture and how to read it without any code of ours."""

    def __init__(self, name: str, format: str, shape: tuple[int, int], dtype: str) -> None:
        self.path = CAPTURES / f"{name}.cborseq.gz"
        self.format, self.shape, self.dtype = format, shape, dtype

    def messages(self) -> list[list[bytes]]:
        messages = []
        with gzip.open(self.path) as stream:
            while True:
                try:
                    messages.append(cbor2.load(stream))
                except (EOFError, cbor2.CBORDecodeEOF):
                    return messages

    def frames(self) -> list[tuple[int, np.ndarray[Any, Any]]]:
        """(frame number, pixels): bitshuffle or numpy by hand."""
        frames = []
        for parts in self.messages()[1:]:
            number = json.loads(parts[0])["frame"]
            blob = parts[2] if self.format == "dectris-v1" else parts[1]
            if self.dtype == "float32":
                frames.append((number, np.frombuffer(blob, "<f4").reshape(self.shape)))
                continue
            nbytes, block = struct.unpack(">QI", blob[:12])
            assert nbytes == np.prod(self.shape) * 4
            packed = np.frombuffer(blob, np.uint8, offset=12)
            frames.append((number, bitshuffle.decompress_lz4(packed, self.shape, np.dtype("<u4"), block // 4)))
        return frames


CASES = {
    "eiger1": Case("eiger1-1m.dectris-v1", "dectris-v1", (1065, 1030), "uint32"),
    "eiger2": Case("eiger2-4m.stins", "stins", (2162, 2068), "uint32"),
    "pilatus": Case("pilatus-831x1475-float32.stins", "stins", (831, 1475), "float32"),
}
EXPECTED_METADATA: dict[str, dict[str, Any]] = {
    "eiger1": {
        "count_time": 0.9999999, "photon_energy": 8000.0, "detector_number": b"E-02-0153", "sensor_material": b"Si",
        "x_pixel_size": 0.000075, "countrate_correction_count_cutoff": 2943293, "trigger_mode": b"ints",
    },
    "eiger2": {"count_time": 0.9999999, "photon_energy": 8041.0, "threshold_energy": 4020.5, "nimages": 100000},
    "pilatus": {"exptime": 0.05, "energy": 8048, "threshold": 0},
}  # fmt: skip

pytestmark = pytest.mark.skipif(not CAPTURES.is_dir(), reason=f"no recorded streams in {CAPTURES}")


def maxdaq(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "maxdaq_tango.cli.main", *arguments]


def replay_and_receive(
    case: Case, output: Path, *, replay: tuple[str, ...] = ("--end",), receive: tuple[str, ...] = ()
) -> tuple[int, dict[str, Any]]:
    player = subprocess.Popen(
        maxdaq("replay", str(case.path), "--bind", "tcp://127.0.0.1:0", "--linger", "5", *replay),
        stdout=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "1000", "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert player.stdout is not None
        endpoint = player.stdout.readline().decode().split()[-1]
        done = subprocess.run(
            maxdaq(
                "receive", "--source", endpoint, "--format", case.format, "--output", str(output), "--json", *receive
            ),
            capture_output=True,
            timeout=WAIT_S,
        )
        player.communicate(timeout=WAIT_S)
    finally:
        player.kill()
        player.wait()
    assert done.stdout, done.stderr.decode()
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("name", CASES)
def test_a_capture_becomes_a_file_with_the_same_pixels_numbers_and_metadata(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    frames = case.frames()
    status, receipt = replay_and_receive(case, tmp_path / "a.h5", receive=("--frames", str(len(frames))))
    assert status == 0
    assert receipt["verdict"] == "COMPLETE"
    assert receipt["frames_received"] == receipt["frames_written"] == receipt["frames_expected"] == len(frames)
    assert receipt["frames_missing"] == []
    assert receipt["bytes_received"] > 0
    with h5py.File(receipt["file"], "r") as file:
        data = file[receipt["dataset"]]
        assert data.dtype == case.dtype
        assert data.shape == (len(frames), *case.shape)
        group = data.parent
        for row, (number, pixels) in enumerate(frames):
            assert group["sequence_number"][row] == number
            assert np.array_equal(data[row], pixels)
        for key, value in EXPECTED_METADATA[name].items():
            assert group[key][()] == pytest.approx(value) if isinstance(value, float) else group[key][()] == value
    assert subprocess.run(maxdaq("check", str(tmp_path / "a.h5")), capture_output=True).returncode == 0


def test_the_blobs_are_stored_as_they_came(tmp_path: Path) -> None:
    case = CASES["eiger1"]
    replay_and_receive(case, tmp_path / "a.h5", receive=("--frames", "9"))
    with h5py.File(tmp_path / "a.h5", "r") as file:
        data = file["/entry/instrument/detector/data"]
        for row, parts in enumerate(case.messages()[1:]):
            assert data.id.read_direct_chunk((row, 0, 0))[1] == parts[2]


@pytest.mark.lesson(15)
def test_everything_the_v1_header_brings_is_kept(tmp_path: Path) -> None:
    case = CASES["eiger1"]
    header = case.messages()[0]
    replay_and_receive(case, tmp_path / "a.h5", receive=("--frames", "9"))
    mask = np.frombuffer(header[5], "<u4").reshape(1065, 1030)
    with h5py.File(tmp_path / "a.h5", "r") as file:
        group = file["/entry/instrument/detector"]
        masks = [
            d[...] for d in group.values() if isinstance(d, h5py.Dataset) and d.shape == mask.shape and d.dtype == "<u4"
        ]
        assert any(np.array_equal(mask, other) for other in masks)
        for key in json.loads(header[1]):
            assert key in group or f"{key}_from_header" in group, key
        assert np.all(np.diff(group["start_time"][...]) == pytest.approx(1.0000029, abs=1e-4))


def test_the_count_of_the_header_is_believed_unless_told_otherwise(tmp_path: Path) -> None:
    status, receipt = replay_and_receive(CASES["eiger1"], tmp_path / "a.h5", receive=("--grace", "0.1"))
    assert status == 1
    assert receipt["verdict"] == "INCOMPLETE"
    assert receipt["frames_missing_count"] == 99_991
    with h5py.File(tmp_path / "a.h5", "r") as file:
        assert file[receipt["dataset"]].shape[0] == 9
    assert subprocess.run(maxdaq("check", str(tmp_path / "a.h5")), capture_output=True).returncode == 0


def test_a_sender_that_vanishes_without_an_end_is_an_incomplete_series_with_all_its_frames(tmp_path: Path) -> None:
    status, receipt = replay_and_receive(CASES["eiger2"], tmp_path / "a.h5", replay=(), receive=("--timeout", "0.3"))
    assert status == 1
    assert receipt["verdict"] == "INCOMPLETE"
    assert receipt["frames_written"] == 13
    assert any("no end message" in reason or "silent" in reason for reason in receipt["reasons"])


def test_a_replay_can_be_made_longer_and_renumbered(tmp_path: Path) -> None:
    case = CASES["eiger2"]
    status, receipt = replay_and_receive(case, tmp_path / "a.h5", replay=("--end", "--loop-frames", "40"))
    assert (status, receipt["frames_written"], receipt["frames_expected"]) == (0, 40, 40)
    frames = case.frames()
    with h5py.File(tmp_path / "a.h5", "r") as file:
        assert np.array_equal(file[receipt["dataset"]][20], frames[20 % 13][1])
