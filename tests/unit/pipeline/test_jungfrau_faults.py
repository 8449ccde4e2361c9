"""Every fault of the simulated Jungfrau, in another process, through the driver and a receiver: receipt and file.

Whatever is stored under a number has the pixels of that exposure, or the fault is one that nobody can see.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from maxdaq_tango.detectors.jungfrau.driver import JungfrauDriver
from maxdaq_tango.detectors.jungfrau.simulator_pixels import JungfrauPixels
from maxdaq_tango.files.check import check_file
from maxdaq_tango.model import AcquisitionSettings, Receipt, Verdict
from receiving import Harness, stored
from simulated_jungfrau import SimulatedJungfrau

PORTS, SHAPE, FRAMES = 2, (16, 48), 10
PIXELS = JungfrauPixels(1, (PORTS * SHAPE[0], SHAPE[1]))
ALL = frozenset(range(FRAMES))


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatedJungfrau]:
    simulator = SimulatedJungfrau("--interfaces", str(PORTS))
    yield simulator
    simulator.end()


@pytest.fixture
def driver(simulator: SimulatedJungfrau) -> Iterator[JungfrauDriver]:
    simulator.post("faults")
    driver = JungfrauDriver(simulator.host, library="maxdaq_tango.detectors.jungfrau.simulated_slsdet")
    driver.connect()
    driver.set_parameter("powerchip", True)
    yield driver
    simulator.post("faults")
    driver.abort()
    driver.close()


def take(harness: Harness, driver: JungfrauDriver, simulator: SimulatedJungfrau, faults: dict[str, Any]) -> Receipt:
    described = driver.configure(AcquisitionSettings(exposure_time_s=0.004, frames_per_trigger=FRAMES))
    simulator.post("faults", **faults)
    harness.prepare(
        sources=described.sources,
        stream_format=described.stream_format,
        detector="jungfrau",
        expected_frames=described.frame_count,
        frame_period_s=described.frame_period_s,
        module_wait_s=0.3,
        stall_timeout_s=3.0,
    )
    driver.arm()
    driver.trigger()
    return harness.receipt()


def true_rows(receipt: Receipt) -> frozenset[int]:
    """Rows that hold what the detector has exposed."""
    if not receipt.frames_written:
        return frozenset()
    data = stored(receipt)
    wanted = (PIXELS.frame(row).reshape(PORTS, *SHAPE) for row in range(len(data)))
    return frozenset(row for row, (frame, want) in enumerate(zip(data, wanted, strict=True)) if (frame == want).all())


@pytest.mark.parametrize(
    ("faults", "verdict", "kept"),
    [
        ({}, Verdict.COMPLETE, ALL),
        ({"drop_frames": [0, 3, 9]}, Verdict.INCOMPLETE, ALL - {0, 3, 9}),
        ({"drop_fraction": 0.4, "seed": 3}, Verdict.INCOMPLETE, None),
        ({"duplicate_fraction": 1.0}, Verdict.COMPLETE, ALL),
        ({"reorder_frames": [2, 6]}, Verdict.COMPLETE, ALL),
        ({"reorder_window": 5}, Verdict.COMPLETE, ALL),
        ({"delay_frames": [4], "delay_s": 0.5}, Verdict.COMPLETE, ALL),
        ({"truncate_frames": [2]}, Verdict.INCOMPLETE, ALL - {2}),
        ({"wrong_size_frames": [5]}, Verdict.INCOMPLETE, ALL - {5}),
        ({"bomb_at": 4}, Verdict.INCOMPLETE, ALL - {4}),
        ({"dtype_at": 7}, Verdict.INCOMPLETE, ALL - {7, 8, 9}),
        ({"shape_at": 7}, Verdict.INCOMPLETE, ALL - {7, 8, 9}),
        ({"number_at": 4}, Verdict.INCOMPLETE, ALL - {4}),
        ({"restart_at": 6}, Verdict.INCOMPLETE, ALL - {6, 7, 8, 9}),
        ({"stop_after": 4}, Verdict.INCOMPLETE, frozenset({0, 1, 2, 3})),
        ({"missing_end": True}, Verdict.COMPLETE, ALL),
        ({"duplicate_end": True}, Verdict.COMPLETE, ALL),
        # The messages of one connection keep their order: what follows an end or another acquisition is no part of it.
        ({"end_at": 5}, Verdict.INCOMPLETE, frozenset(range(5))),
        ({"wrong_series_frames": [5]}, Verdict.INCOMPLETE, frozenset(range(5))),
        ({"interleave_at": 5}, Verdict.INCOMPLETE, None),
        ({"packet_loss_frames": [1], "packet_loss_port": 0}, Verdict.INCOMPLETE, ALL - {1}),
        ({"silent_port": 0}, Verdict.INCOMPLETE, frozenset()),
    ],
    ids=lambda value: next(iter(value), "none") if isinstance(value, dict) else None,
)
def test_what_becomes_of_a_series_with_this_fault(
    harness: Harness,
    driver: JungfrauDriver,
    simulator: SimulatedJungfrau,
    faults: dict[str, Any],
    verdict: Verdict,
    kept: frozenset[int] | None,
) -> None:
    receipt = take(harness, driver, simulator, faults)
    account = simulator.get("account")
    left = {number for first, last in account["intact"] for number in range(first, last + 1)}
    rows = true_rows(receipt)
    assert receipt.verdict is verdict, receipt.reasons
    assert bool(receipt.reasons) == (verdict is not Verdict.COMPLETE)
    assert rows <= left
    if kept is not None:
        assert rows == kept
    elif "drop_fraction" in faults:
        assert rows == left
    assert check_file(harness.folder / "a.h5").problems == []


@pytest.mark.parametrize("fault", ["corrupt_frames", "block_length_frames"])
def test_a_bit_that_is_turned_over_is_seen_by_nobody(
    harness: Harness, driver: JungfrauDriver, simulator: SimulatedJungfrau, fault: str
) -> None:
    receipt = take(harness, driver, simulator, {fault: [3]})
    assert (receipt.verdict, true_rows(receipt)) == (Verdict.COMPLETE, ALL - {3})
    different = np.bitwise_xor(stored(receipt)[3], PIXELS.frame(3).reshape(PORTS, *SHAPE))
    assert np.count_nonzero(different) == PORTS  # one bit in the message of each port


def test_a_sender_that_was_away_costs_what_it_published_meanwhile_and_no_more(
    harness: Harness, driver: JungfrauDriver, simulator: SimulatedJungfrau
) -> None:
    receipt = take(harness, driver, simulator, {"vanish_at": 5, "vanish_s": 0.2})
    rows = true_rows(receipt)
    assert rows >= set(range(5))
    assert receipt.frames_written == len(rows)
    assert receipt.verdict is (Verdict.COMPLETE if rows == ALL else Verdict.INCOMPLETE)


def test_frames_that_never_begin_end_with_whoever_stops_them(
    harness: Harness, driver: JungfrauDriver, simulator: SimulatedJungfrau
) -> None:
    simulator.post("faults", never_start=True)
    described = driver.configure(AcquisitionSettings(exposure_time_s=0.004, frames_per_trigger=FRAMES))
    harness.prepare(sources=described.sources, stream_format=described.stream_format, expected_frames=FRAMES)
    driver.arm()
    driver.stop()
    harness.receiver.stop()
    assert harness.receipt().frames_written == 0
    assert simulator.get("account")["ends"] == 1
