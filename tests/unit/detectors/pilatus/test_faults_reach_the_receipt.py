"""Every fault of the simulated camserver, through the streamer and the real receiver: what the receipt and file say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import httpx
import msgspec
import numpy as np
import pytest

from maxdaq_tango.detectors.pilatus.driver import PilatusDriver
from maxdaq_tango.detectors.pilatus.simulator import SimulatorOptions
from maxdaq_tango.detectors.pilatus.simulator_server import PilatusSimulatorServer
from maxdaq_tango.detectors.pilatus.streamer import PilatusStreamer
from maxdaq_tango.detectors.simulation.account import SeriesAccount
from maxdaq_tango.detectors.simulation.expected_outcome import ExpectedOutcome, disagreements, expect_outcome
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.pattern import FramePattern
from maxdaq_tango.errors import DetectorError
from maxdaq_tango.model import AcquisitionSettings, Encoding, Receipt, Verdict
from maxdaq_tango.testing.driver_contract import wait_for
from receiving import Harness

ROWS, COLUMNS, SEED, FRAMES = 40, 56, 3, 12


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    (tmp_path / "data").mkdir()
    harness = Harness(tmp_path / "data")
    yield harness
    harness.receiver.close()
    harness.context.destroy(0)


@pytest.fixture
def camserver(tmp_path: Path) -> Iterator[PilatusSimulatorServer]:
    options = SimulatorOptions(rows=ROWS, columns=COLUMNS, seed=SEED)
    with PilatusSimulatorServer(options, folder=str(tmp_path / "images")) as camserver:
        yield camserver


def account_of(camserver: PilatusSimulatorServer) -> SeriesAccount:
    answer = httpx.get(f"{camserver.url}/simulator/api/account", trust_env=False)
    return msgspec.json.decode(answer.content, type=SeriesAccount)


def take(camserver: PilatusSimulatorServer, harness: Harness, faults: Faults, file_format: str) -> tuple[Receipt, Any]:
    """One series with all that goes wrong in it."""
    httpx.post(f"{camserver.url}/simulator/api/faults", json=msgspec.to_builtins(faults), trust_env=False)
    with PilatusStreamer(camserver.folder) as streamer:
        driver = PilatusDriver(camserver.host, camserver.port, streamer_port=streamer.port, file_format=file_format)
        driver.connect()
        try:
            # A file whose name is taken by a later one must have been read by then.
            exposure_s = 0.002 if faults.restart_at is None else 0.1
            description = driver.configure(AcquisitionSettings(exposure_time_s=exposure_s, frames_per_trigger=FRAMES))
            harness.prepare(sources=description.sources, expected_frames=description.frame_count)
            driver.arm()
            thread = threading.Thread(target=_quietly, args=(driver.trigger,), name="trigger")
            thread.start()
            if faults.never_start or faults.stop_after is not None or faults.missing_end:
                wanted = 0 if faults.never_start else faults.stop_after or FRAMES
                wait_for("the images", lambda: streamer.status().frames_sent >= wanted)
                wait_for("the start", lambda: camserver.simulator.series == 1)
                driver.stop()
            thread.join()
            receipt = harness.receipt()
            return receipt, account_of(camserver)
        finally:
            driver.close()


def _quietly(act: Any) -> None:
    try:
        act()
    except DetectorError:
        return


def outcome_of(faults: Faults, account: SeriesAccount) -> ExpectedOutcome:
    """As of any stream; but files of another series have no header, and a bit that is turned in a CBF file is found."""
    faults = msgspec.structs.replace(faults, interleave_at=None)
    outcome = expect_outcome(faults, account, FRAMES, encoding=Encoding.CBF)
    if not outcome.wrong:
        return outcome
    corrupt = outcome.corrupt | outcome.wrong
    return msgspec.structs.replace(outcome, corrupt=corrupt, wrong=frozenset(), verdict=Verdict.INCOMPLETE)


@pytest.mark.parametrize(
    "faults",
    [
        {},
        {"drop_frames": (0, 5, 11)},
        {"drop_fraction": 0.3},
        {"duplicate_frames": (0, 7)},
        {"duplicate_fraction": 1.0},
        {"reorder_frames": (3,)},
        {"reorder_window": 5, "seed": 4},
        {"delay_frames": (4,), "delay_s": 0.1},
        {"truncate_frames": (2, 11)},
        {"truncate_fraction": 1.0},
        {"corrupt_frames": (6,)},
        {"wrong_size_frames": (1,)},
        {"wrong_series_frames": (3, 4)},
        {"dtype_at": 9},
        {"shape_at": 8},
        {"number_at": 5},
        {"number_at": 5, "number_sent": 20},
        {"restart_at": 8},
        {"interleave_at": 6},
        {"duplicate_end": True},
        {"missing_end": True},
        {"stop_after": 7},
        {"never_start": True},
    ],
    ids=lambda faults: ",".join(faults) or "none",
)
def test_the_receipt_says_what_happened_and_the_file_holds_what_was_written(camserver, harness, faults):
    faults = Faults(**faults)
    receipt, account = take(camserver, harness, faults, "cbf")
    outcome = outcome_of(faults, account)
    assert disagreements(receipt, outcome) == []
    if not receipt.file:
        assert not outcome.kept
        return
    pattern = FramePattern(SEED, (ROWS, COLUMNS), "int32")
    with h5py.File(receipt.file) as file:
        for number, exposure in outcome.stored.items():
            np.testing.assert_array_equal(file[receipt.dataset][number], pattern.frame(exposure), str(number))


@pytest.mark.parametrize("faults", [{}, {"truncate_frames": (2,)}, {"wrong_size_frames": (4,)}, {"drop_frames": (3,)}])
def test_tiff_files_are_judged_in_the_same_way(camserver, harness, faults):
    faults = Faults(**faults)
    receipt, account = take(camserver, harness, faults, "tif")
    assert disagreements(receipt, expect_outcome(faults, account, FRAMES, encoding=Encoding.NONE)) == []


def test_images_that_come_after_camserver_said_it_was_done_are_not_lost_in_silence(camserver, harness):
    receipt, account = take(camserver, harness, Faults(end_at=6), "cbf")
    assert account.frames_made <= FRAMES
    total = receipt.frames_written + sum(last - first + 1 for first, last in receipt.frames_missing_ranges)
    assert total == FRAMES
    assert receipt.verdict is (Verdict.COMPLETE if receipt.frames_written == FRAMES else Verdict.INCOMPLETE)
