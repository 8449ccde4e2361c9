"""Faults of a simulated Lambda, through the streamer and the real receiver: what the receipt and the file say."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import msgspec
import numpy as np
import pytest

from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.xspectrum_lambda.simulator import expected_pixels
from maxdaq_tango.detectors.xspectrum_lambda.words import BitDepth
from maxdaq_tango.model import Receipt, StreamFormat, Verdict
from maxdaq_tango.testing.driver_contract import wait_for
from receiving import Harness

FRAMES, MODULES = 12, 3
ALL = frozenset(range(FRAMES))


class Outcome(msgspec.Struct, frozen=True):
    """What is to come of a series."""

    missing: frozenset[int] | set[int] = frozenset()
    exposures: dict[int, int] = {}
    """Frames that carry the pixels of another exposure: the library gave it their number."""
    flipped: frozenset[int] | set[int] = frozenset()
    """Frames with a wrong bit that nobody can know of."""
    faulty: int = 0
    strays: int = 0


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    (tmp_path / "data").mkdir()
    harness = Harness(tmp_path / "data")
    yield harness
    harness.receiver.close()
    harness.context.destroy(0)


def take(stand: Any, harness: Harness, faults: Faults) -> Receipt:
    """One series of which all modules meet the faults."""
    configured = stand.configured(frames_per_trigger=FRAMES, exposure_time_s=0.002)
    stand.server.simulator.faults = faults
    harness.prepare(
        sources=tuple(f"tcp://127.0.0.1:{port}" for port in configured.ports),
        stream_format=StreamFormat.LAMBDA_MODULES,
        expected_frames=FRAMES,
        detector="lambda",
    )
    stand.client.arm()
    triggering = threading.Thread(target=lambda: stand.client.trigger(1.0), name="triggers")
    triggering.start()
    if faults.never_start:
        wait_for("the start", lambda: stand.server.simulator.series == 1)
        stand.client.stop()
    triggering.join()
    return harness.receipt()


def ranges(numbers: set[int] | frozenset[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


@pytest.mark.parametrize(
    ("faults", "outcome"),
    [
        ({}, Outcome()),
        ({"drop_frames": (0, 5, 11)}, Outcome(missing={0, 5, 11})),
        ({"duplicate_frames": (0, 7)}, Outcome(strays=2)),
        ({"duplicate_fraction": 1.0}, Outcome(strays=FRAMES)),
        ({"reorder_frames": (3,)}, Outcome()),
        ({"reorder_window": 5, "seed": 4}, Outcome()),
        ({"delay_frames": (4,), "delay_s": 0.1}, Outcome()),
        ({"delay_fraction": 1.0, "delay_s": 0.1}, Outcome()),
        ({"truncate_frames": (2, 11)}, Outcome(missing={2, 11}, faulty=2)),
        ({"truncate_fraction": 1.0}, Outcome(missing=ALL, faulty=FRAMES)),
        ({"corrupt_frames": (6,)}, Outcome(flipped={6})),
        ({"corrupt_fraction": 1.0}, Outcome(flipped=ALL)),
        ({"wrong_size_frames": (1,)}, Outcome(missing={1}, faulty=1)),
        ({"wrong_size_fraction": 1.0}, Outcome(missing=ALL, faulty=FRAMES)),
        ({"dtype_at": 9}, Outcome(missing={9, 10, 11}, faulty=3)),
        ({"shape_at": 8}, Outcome(missing={8, 9, 10, 11}, faulty=4)),
        ({"number_at": 5, "number_sent": 77}, Outcome(missing={5}, strays=1)),
        ({"number_at": 5, "number_sent": 8}, Outcome(missing={5}, exposures={8: 5}, strays=1)),
        ({"restart_at": 8}, Outcome(missing={8, 9, 10, 11}, strays=4)),
        ({"stop_after": 7}, Outcome(missing={7, 8, 9, 10, 11})),
        ({"never_start": True}, Outcome(missing=ALL)),
        ({"drop_fraction": 1.0}, Outcome(missing=ALL)),
        ({"arm_delay_s": 0.3}, Outcome()),
    ],
    ids=lambda value: ",".join(value) or "none" if isinstance(value, dict) else "",
)
def test_the_receipt_says_what_happened_and_the_file_holds_what_was_written(
    make_stand: Callable[..., Any], harness: Harness, faults: dict[str, Any], outcome: Outcome
) -> None:
    stand = make_stand().ready()
    receipt = take(stand, harness, Faults(**faults))
    missing = outcome.missing
    assert receipt.verdict is (Verdict.INCOMPLETE if missing else Verdict.COMPLETE)
    assert [list(item) for item in receipt.frames_missing_ranges] == ranges(missing)
    assert (receipt.frames_expected, receipt.frames_written) == (FRAMES, FRAMES - len(missing))
    for module in stand.status().modules:
        assert (module.faulty, module.strays, module.given_up) == (outcome.faulty, outcome.strays, 0)
        assert module.taken == FRAMES - len(missing)
    if not receipt.file:
        assert missing == ALL
        return
    with h5py.File(receipt.file) as file:
        pixels = file[receipt.dataset][...]
    for number in ALL - missing:
        exposure = outcome.exposures.get(number, number)
        expected = np.stack([expected_pixels(stand.options, m, exposure, BitDepth.DEPTH_12) for m in range(MODULES)])
        wrong = pixels[number] ^ expected
        assert (np.count_nonzero(wrong), wrong.sum()) == ((MODULES, MODULES) if number in outcome.flipped else (0, 0))
