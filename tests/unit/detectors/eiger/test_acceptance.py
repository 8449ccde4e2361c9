"""Rounding and names of SIMPLON parameters; types and limits are tested through the client."""

from __future__ import annotations

import numpy as np
import pytest

from maxdaq_tango.detectors.contract import Range
from maxdaq_tango.detectors.eiger import acceptance
from maxdaq_tango.detectors.eiger.protocol import Parameter


@pytest.mark.parametrize("value", [3e-6, 1e-3, 0.1, 1.0, 1800.0, 12398.42])
def test_a_value_that_went_through_float32_is_the_same(value: float) -> None:
    assert acceptance.agree(value, float(np.float32(value)))


@pytest.mark.parametrize(
    ("asked", "got", "same"),
    [
        (1.0, 0.9999999, True),  # count_time of a recorded EIGER1
        (1.0, 1.0000029, True),  # its frame_time
        (1.0, 1.00001, False),
        (3e-6, 3.1e-6, True),
        (3e-6, 4e-6, False),
        (10, 10, True),
        (2_000_000_000, 2_000_000_001, False),  # counts are exact
        ("ints", "ints", True),
        ("ints", "exts", False),
        (True, True, True),
        (True, 1.0, True),
        (1.0, None, False),
        (1.0, "1.0", False),
    ],
)
def test_rounding_is_accepted_and_change_is_not(asked: object, got: object, same: bool) -> None:
    assert acceptance.agree(asked, got, resolution=acceptance.TIME_RESOLUTION_S) == same


@pytest.mark.parametrize(
    ("envelope", "limits", "text"),
    [
        ({"min": 1.0, "max": 2.0, "unit": "s"}, Range(1.0, 2.0), "1 to 2 s"),
        ({"min": 1}, Range(1.0, None), "1 or more"),
        ({"max": 5, "unit": "eV"}, Range(None, 5.0), "at most 5 eV"),
        ({"min": 0.0, "max": 0.0, "value_type": "float"}, Range(), "a value of type float"),
        ({"min": None, "max": None}, Range(), ""),
        ({"allowed_values": "only"}, Range(), "one of 'only'"),
    ],
)
def test_limits_are_told_in_words(envelope: dict[str, object], limits: Range, text: str) -> None:
    parameter = Parameter(value=1, **envelope)
    assert acceptance.limits_of(parameter) == limits
    assert acceptance.accepted_text(parameter) == text


def test_arrays_and_slow_parameters_are_known_at_any_depth() -> None:
    assert acceptance.is_big("threshold/2/flatfield")
    assert not acceptance.is_big("flatfield_correction_applied")
    assert acceptance.is_slow("threshold/2/energy")
    assert acceptance.is_slow("element")
    assert not acceptance.is_slow("threshold/2/mode")
    assert acceptance.epsilon_of("element") == 0
