"""A stop that is asked for while one frame takes long: what waits at the sender has its grace time all the same."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from maxdaq_tango.model import AcquisitionState, Verdict
from maxdaq_tango.pipeline.taking import Taking
from receiving import Harness, pixels, stored

BUSY_S, GRACE_S = 1.5, 1.0


def test_the_grace_time_begins_when_the_receiver_hears_of_the_stop(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, pause = threading.Event(), threading.Event()
    plain = Taking.take

    def take(self: Taking, message: Any, *when: float) -> None:
        plain(self, message, *when)
        if self.run.ledger.seen and not busy.is_set():
            busy.set()
            pause.wait(BUSY_S)

    monkeypatch.setattr(Taking, "take", take)
    harness.prepare(expected_frames=10, grace_s=GRACE_S)
    harness.sender.header()
    harness.sender.image(0)
    assert busy.wait(10)
    harness.receiver.stop("the detector has finished")
    harness.wait_state(AcquisitionState.DRAINING)
    for number in range(1, 10):
        harness.sender.image(number)
    harness.sender.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_written) == (Verdict.COMPLETE, 10)
    np.testing.assert_array_equal(stored(receipt), [pixels(number) for number in range(10)])
