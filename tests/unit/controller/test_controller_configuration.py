"""Names of detectors in a property."""

from __future__ import annotations

import pytest

from maxdaq_tango.controller.configuration import detector_names
from maxdaq_tango.errors import ConfigurationError


def test_names_are_cleaned_and_keep_their_order():
    assert detector_names([" B/c/D ", "", "a/b/c"]) == ("b/c/d", "a/b/c")


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ([], "it is empty"),
        (["  "], "it is empty"),
        (["eiger"], "domain/family/member"),
        (["a/b/c", "A/B/C"], "named twice"),
    ],
)
def test_what_cannot_work_is_refused_in_words(values, part):
    with pytest.raises(ConfigurationError, match=part):
        detector_names(values)
