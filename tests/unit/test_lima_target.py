"""What a LimaFacade knows of the device behind it, without Tango."""

from __future__ import annotations

import json
from typing import Any

from maxdaq_tango.lima.target import TargetDevice
from maxdaq_tango.model import AcquisitionState


class Link:
    """A detector device whose run has just ended."""

    def attributes(self) -> frozenset[str]:
        return frozenset({"DetectorFramesWritten"})

    def read(self, *names: str) -> list[Any]:
        if names == ("LastReport",):
            return [json.dumps({"run_id": "1", "verdict": "FAILED", "armed": True, "reasons": ["x"], "receipts": {}})]
        return ["IDLE", 1, 1, False, [1]]


def test_a_run_is_seen_to_be_over_when_its_account_is_there_and_not_before():
    seen: list[AcquisitionState] = []
    target = TargetDevice("a/b/c", lambda report: seen.append(target.look.state))
    target._looks = Link()  # type: ignore[assignment]
    target.is_ours, target.look = True, target.look.__class__(state=AcquisitionState.DRAINING)
    target._closing = True  # one look
    target._run()
    assert seen == [AcquisitionState.DRAINING]
    assert target.look.state is AcquisitionState.IDLE
    assert target.account is not None
