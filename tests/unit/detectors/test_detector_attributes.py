"""Attributes of every detector device, without a device."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import tango

from maxdaq_tango.detectors.attributes import DetectorAttributes
from maxdaq_tango.transaction.metadata import MOST_BYTES, MOST_VALUES
from maxdaq_tango.transaction.set_points import SetPoints


@pytest.mark.parametrize(
    "text",
    [
        "[1]",
        '{"a": ' * 100 + "1" + "}" * 100,
        '{"a": ' * 9999,
        json.dumps({"a": "x" * MOST_BYTES}),
        json.dumps({str(number): 1 for number in range(MOST_VALUES + 1)}),
    ],
)
def test_a_detector_device_takes_the_metadata_that_a_controller_takes_and_no_more(text):
    device = SimpleNamespace(set_points=SetPoints(), get_name=lambda: "a/detector/a")
    DetectorAttributes.Metadata.fset(device, '{"sample": "A1"}')
    with pytest.raises(tango.DevFailed, match="set Metadata"):
        DetectorAttributes.Metadata.fset(device, text)
    assert device.set_points.metadata == {"sample": "A1"}
