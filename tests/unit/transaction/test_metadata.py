"""Metadata of clients: right, or one clear error."""

from __future__ import annotations

import json

import pytest

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.transaction.metadata import MOST_BYTES, MOST_VALUES, read_metadata


@pytest.mark.parametrize(
    "values",
    [{}, {"sample": "A1", "proposal": {"number": 20250001}}, {"é": "Ångström Ω 漢"}, {"big": 2**80, "list": [1, "a"]}],
)
def test_an_object_is_taken_as_it_is(values):
    assert read_metadata(json.dumps(values), "daq") == values
    assert read_metadata(json.dumps(values, ensure_ascii=False), "daq") == values


def test_empty_text_is_no_metadata():
    assert read_metadata("", "daq") == read_metadata(" \n", "daq") == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1]", "Expected `object`"),
        ("7", "Expected `object`"),
        ("null", "Expected `object`"),
        ('{"a": NaN}', "malformed"),
        ('{"a": 1e999}', "out of range"),
        ('{"a": "\\ud800"}', "daq"),
        ("{'a': 1}", "malformed"),
        ('{"a": 1', "truncated"),
        ('{"a": "\ud800"}', "daq"),
        (json.dumps({"a": "x" * MOST_BYTES}), f"Accepted: {MOST_BYTES} bytes"),
        (json.dumps({f"k{n}": n for n in range(MOST_VALUES + 1)}), f"it has {MOST_VALUES + 1} values"),
        (json.dumps({"a": {f"k{n}": n for n in range(MOST_VALUES)}}), f"it has {MOST_VALUES + 1} values"),
        ('{"a":' * 70 + "1" + "}" * 70, "nested deeper than 64"),
        ('{"a":' * 20000 + "1" + "}" * 20000, "daq"),
    ],
)
def test_all_else_is_refused_in_words(text, told):
    with pytest.raises(ConfigurationError, match=r"set Metadata \(of daq\)") as caught:
        read_metadata(text, "daq")
    assert told in str(caught.value)
    assert len(str(caught.value)) < 300


def test_the_largest_that_is_taken():
    values = {f"k{n}": "x" * 200 for n in range(MOST_VALUES)}
    assert read_metadata(json.dumps(values), "daq") == values
