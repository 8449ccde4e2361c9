"""A file of a real receiver and a simulated sender, looked at as the soak does."""

from __future__ import annotations

from pathlib import Path
from random import Random

import h5py
import httpx
import pytest

from maxdaq_tango.detectors.simulation import Faults
from maxdaq_tango.detectors.simulation.pattern import FramePattern
from maxdaq_tango.detectors.simulation.stins_sender import StinsOptions
from maxdaq_tango.detectors.simulation.stins_server import StinsServer
from maxdaq_tango.soak.evidence import FileEvidence, Pixels, look_at
from maxdaq_tango.soak.recipe import SHAPE
from receiving import Harness

SEED, COUNT, DROPPED, TURNED = 7, 8, 3, 5
TRUTH = {number: number for number in range(COUNT) if number not in (DROPPED, TURNED)}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frame 3 is missing; in frame 5 a bit was turned on the way."""
    harness = Harness(tmp_path_factory.mktemp("runs"))
    faults = Faults(drop_frames=(DROPPED,), corrupt_frames=(TURNED,))
    options = StinsOptions(rows=SHAPE[0], columns=SHAPE[1], seed=SEED)
    try:
        with StinsServer(options, faults=faults) as server:
            harness.prepare(sources=(f"tcp://127.0.0.1:{server.stream_port}",), expected_frames=COUNT)
            httpx.post(f"{server.url}/simulator/api/series", json={"frames": COUNT}).raise_for_status()
            harness.receipt()
    finally:
        harness.receiver.close()
        harness.context.destroy(0)
    return harness.folder / "a.h5"


def pixels_of(seed: int) -> Pixels:
    return lambda shape, dtype: FramePattern(seed, (shape[0], shape[1]), dtype).frame


def seen(file: Path, truth: dict[int, int] = TRUTH, untrue: frozenset[int] = frozenset({TURNED})) -> FileEvidence:
    return look_at(file, pixels_of(SEED), truth, untrue, Random(1))


def test_what_was_sent_is_there(file: Path) -> None:
    found = seen(file)
    assert found.problems == ()
    assert found.numbers == frozenset(TRUTH) | {TURNED}
    assert found.receipt is not None
    assert found.receipt.frames_missing_ranges == ((DROPPED, DROPPED),)


def test_the_pixels_of_another_exposure_are_found(file: Path) -> None:
    (problem,) = seen(file, {**TRUTH, 4: 6}).problems
    assert "frame 4" in problem
    assert "are not those of exposure 6" in problem


def test_the_pixels_of_another_detector_are_found(file: Path) -> None:
    assert len(look_at(file, pixels_of(SEED + 1), TRUTH, frozenset({TURNED}), Random(1)).problems) == len(TRUTH)


def test_a_turned_bit_that_nobody_told_of_is_found(file: Path) -> None:
    problems = seen(file, {**TRUTH, TURNED: TURNED}, frozenset()).problems
    assert problems
    assert all(f"frame {TURNED}" in problem for problem in problems)


def test_a_file_whose_account_was_tampered_with_is_found(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "b.h5"
    copy.write_bytes(file.read_bytes())
    with h5py.File(copy, "r+") as opened:
        opened["entry/instrument/eiger/daq/frame_valid"][0] = False
    found = seen(copy)
    assert found.problems
    assert 0 not in found.numbers


def test_what_is_no_file_is_a_problem_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "c.h5").write_bytes(b"nothing")
    found = seen(tmp_path / "c.h5")
    assert found.numbers == frozenset()
    assert "cannot be opened" in found.problems[0]
