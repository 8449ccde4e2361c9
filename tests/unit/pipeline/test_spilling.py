"""A destination that takes no data: what follows goes to the spill directory, and home when the series is over."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from dealing import crew, wait_for
from maxdaq_tango.files import bring_all_home, check_file, read_manifest, read_receipt
from maxdaq_tango.model import Compression, FileBackend, Receipt, Verdict
from maxdaq_tango.pipeline.spilling import SPILL_AFTER_S
from receiving import Harness, pixels, stored

HOW: dict[str, Any] = {"frames_per_file": 4, "compression": Compression.NONE}


@pytest.fixture
def spill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spill")


def send(harness: Harness, first: int, last: int) -> None:
    for number in range(first, last):
        harness.sender.image(number)


def stall(harness: Harness, first: int) -> int:
    """The process that writes at home stops as if its disk did; it has a frame, and is silent for long enough."""
    harness.wait_written(first)
    home = crew(harness)[0]
    os.kill(home.pid, signal.SIGSTOP)
    send(harness, first, first + 1)
    wait_for(lambda: home.silent_s > SPILL_AFTER_S)
    return home.pid


def spilled_series(harness: Harness, spill: Path, **how: Any) -> Receipt:
    """30 frames in 8 data files: the home is stopped from frame 5 to 20, so files 3, 4 and 5 are spilled."""
    harness.prepare(spill_directory=str(spill), expected_frames=30, **{**HOW, **how})
    harness.sender.header()
    send(harness, 0, 5)
    home = stall(harness, 5)
    send(harness, 6, 20)
    harness.wait_written(5 + 12)
    os.kill(home, signal.SIGCONT)
    harness.wait_written(20)
    send(harness, 20, 30)
    harness.sender.end()
    return harness.receipt()


@pytest.mark.parametrize("backend", [FileBackend.SWMR, FileBackend.DIRECT])
def test_blocks_that_follow_a_stall_are_spilled_and_come_home(
    harness: Harness, spill: Path, backend: FileBackend
) -> None:
    receipt = spilled_series(harness, spill, backend=backend)
    assert receipt.verdict is Verdict.COMPLETE
    assert receipt.frames_written == 30
    assert receipt.decisions["spill"].startswith(f"data files 3-5 in {spill}/a.")
    assert ": the destination has taken nothing for " in receipt.decisions["spill"]
    (reason,) = receipt.reasons
    assert reason.startswith("3 data files were put into the spill directory (data files 3-5 in ")
    assert reason.endswith(f"{harness.folder}/a.h5 appears when they have been moved there, and is "
                           f"{harness.folder}/.a.h5.part until then")  # fmt: skip
    messages = [report.message for report in harness.reports]
    begins = [place for place, message in enumerate(messages) if "Data files go to the spill directory" in message]
    assert len(begins) == 1
    assert "spill" not in messages[begins[0] + 1]
    final = harness.folder / "a.h5"
    assert receipt.file == str(final)
    assert not final.exists()
    assert [Path(path).name for path in receipt.data_files_spilled] == [
        f".a_data_{number:06d}.h5.part" for number in (3, 4, 5)
    ]
    assert all(Path(path).is_relative_to(spill) for path in receipt.data_files_spilled)
    (told,) = bring_all_home(spill)
    assert (told.master, told.moved, told.left, told.problem) == (str(final), 3, 0, "")
    assert np.array_equal(stored(receipt), [pixels(number) for number in range(30)])
    assert check_file(final).problems == []
    assert read_receipt(final) == msgspec.json.decode(msgspec.json.encode(receipt), type=Receipt)
    assert read_manifest(final) is not None
    assert list(spill.iterdir()) == []
    assert sorted(path.name for path in harness.folder.iterdir()) == sorted(
        ["a.h5", "a.manifest.json", *receipt.data_files]
    )
