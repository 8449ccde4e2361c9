"""What is read from a receiver, and which frames a scan may name because of it."""

from __future__ import annotations

import pytest

from maxdaq_tango.integrations.sardana.link import DaqLink, Settings
from maxdaq_tango.integrations.sardana.naming import Files

EIGER = "a/detector/eiger"


class Played(DaqLink):
    """A detector device whose receiver counts as the test says."""

    def __init__(self, **counts: int) -> None:
        super().__init__(EIGER)
        received = counts.get("nFramesReceived", 10)
        whole = {"nFramesReceived": received, "nFramesSafe": received, "NewestFrame": 9}
        self.values = {"AcquisitionState": "ACQUIRING", "ReadyForSwTrigger": False, "ReceiverName": "a/receiver/eiger"}
        self.values |= {"nFramesMissing": 0, "nFramesLost": 0, "nFramesCorrupt": 0, **whole, **counts}

    def _read(self, device: str, *attributes: str) -> list:
        return [self.values[name] for name in attributes]

    def _call(self, device: str, method: str, asked: str, *arguments: object) -> None:
        """Set-points are written to nobody."""


@pytest.mark.parametrize(
    ("counts", "safe"),
    [
        ({}, 10),
        ({"nFramesSafe": 4}, 4),
        ({"nFramesMissing": 1, "nFramesReceived": 9}, 0),
        ({"nFramesLost": 1}, 0),
        ({"nFramesCorrupt": 1, "nFramesReceived": 9}, 0),
        ({"nFramesCorrupt": 1}, 10),  # it came again in good health
        ({"nFramesReceived": 0, "NewestFrame": None}, 0),
    ],
)
def test_frames_are_counted_as_safe_only_where_no_hole_is_among_them(counts, safe) -> None:
    link = Played(**counts)
    link.configure(Settings("EXTERNAL_MULTI", 0.1, 0.0, 10, 1, (EIGER,), Files("/data", "x.h5", 1)))
    assert link.look(safe=True).safe == (safe,)
