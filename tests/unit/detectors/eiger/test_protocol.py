from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from maxdaq_tango.detectors.eiger import protocol
from maxdaq_tango.detectors.eiger.darray import decode_darray, encode_darray, is_darray
from maxdaq_tango.detectors.eiger.protocol import Address, Parameter
from maxdaq_tango.errors import WireError


def test_paths_are_built_and_read_back():
    assert protocol.path("detector", "1.8.0", "config", "count_time") == "/detector/api/1.8.0/config/count_time"
    assert protocol.keys_path("stream", "1.6.0", "status") == "/stream/api/1.6.0/status/keys"
    assert protocol.parse_path("/detector/api/version") == Address("detector")
    assert protocol.parse_path("/monitor/api/1.8.0/images") == Address("monitor", "1.8.0", "images")
    nested = protocol.path("detector", "1.8.0", "config", "threshold/difference/mode")
    assert protocol.parse_path(nested).key == "threshold/difference/mode"


@pytest.mark.parametrize("bad", ["/", "", "/detector", "/detector/config", "/detector/api", "/a/b/c/d", "/d/api//x"])
def test_paths_that_are_none_are_refused(bad):
    with pytest.raises(WireError, match="Accepted: /<module>/api"):
        protocol.parse_path(bad)


@given(st.text(max_size=60))
def test_any_text_as_path_is_read_or_refused(text):
    with contextlib.suppress(WireError):
        assert protocol.parse_path(text).module


def test_an_envelope_keeps_what_it_says_and_says_no_more():
    body = b'{"value": 0.1, "value_type": "float", "min": 3e-6, "max": 1800, "unit": "s", "access_mode": "rw", "x": 1}'
    parameter = protocol.decode_parameter(body)
    assert (parameter.value, parameter.minimum, parameter.maximum, parameter.is_writable) == (0.1, 3e-6, 1800.0, True)
    assert parameter.allowed_values is UNSET
    assert parameter.choices == ()
    assert json.loads(protocol.encode_parameter(Parameter(value=None))) == {"value": None}
    assert not Parameter(value=1, access_mode="r").is_writable


def test_a_bare_string_of_allowed_values_counts_as_one_choice():
    assert Parameter(value="disabled", allowed_values="disabled").choices == ("disabled",)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b"<html>", b'{"value_type": "int"}', b"\xff"])
def test_answers_that_are_no_parameter_are_refused(body):
    with pytest.raises(WireError):
        protocol.decode_parameter(body)


@pytest.mark.parametrize("body", [b"", b"{}", b"3", b"[1]", b'{"valu": 1}', b"{"])
def test_a_put_without_a_value_is_refused(body):
    with pytest.raises(WireError, match="value"):
        protocol.decode_value(body)
    assert protocol.decode_value(protocol.encode_value([1, "a"])) == [1, "a"]


def test_a_command_takes_no_body_an_empty_one_or_a_value():
    for body in (b"", b"  ", b"{}", b"null", b'{"value": null}'):
        assert protocol.decode_command_argument(body) is None
    assert protocol.decode_command_argument(b'{"value": 0.5}') == 0.5
    assert protocol.decode_command_argument(b"0.5") == 0.5  # ADEiger's form
    for body in (b"{", b'{"vlaue": 1}'):
        with pytest.raises(WireError):
            protocol.decode_command_argument(body)


def test_bulk_values_travel_as_one_object_or_a_list():
    values = {"mode": "enabled", "format": "cbor"}
    assert protocol.decode_bulk(protocol.encode_bulk(values)) == values
    assert protocol.decode_bulk(b'[{"mode": {"value": "enabled"}}, {"format": {"value": "cbor"}}]') == values
    for body in (b"", b"3", b'{"mode": "enabled"}', b"[1]"):
        with pytest.raises(WireError):
            protocol.decode_bulk(body)


def test_changed_keys_are_read_whatever_old_firmware_answers():
    assert protocol.decode_changed_keys(b'["count_time", "frame_time"]') == ("count_time", "frame_time")
    for body in (b"", b"{}", b"null", b"OK", b'{"a": 1}', b"[1]"):
        assert protocol.decode_changed_keys(body) == ()


def test_key_lists_are_read_bare_and_wrapped():
    assert protocol.decode_keys(b'["a", "b"]') == ("a", "b")
    assert protocol.decode_keys(b'{"value": ["a"], "value_type": "string[]"}') == ("a",)
    for body in (b"{}", b"[1]", b"x"):
        with pytest.raises(WireError):
            protocol.decode_keys(body)


def test_the_series_number_is_found_under_every_known_spelling():
    for name in ("sequence id", "sequence_id", "series id", "series_id"):
        assert protocol.decode_sequence_id(json.dumps({name: 7}).encode()) == 7
    assert protocol.decode_sequence_id(protocol.encode_sequence_id(3)) == 3
    for body in (b"", b"{}", b"[3]", b'{"sequence id": "3"}', b'{"sequence id": true}'):
        assert protocol.decode_sequence_id(body) is None


@pytest.mark.parametrize("dtype", ["uint32", "float32"])
def test_arrays_survive_the_round_trip_and_json(dtype):
    array = (np.arange(12) * 3.5).astype(dtype).reshape(3, 4)
    value = json.loads(json.dumps(encode_darray(array)))
    assert is_darray(value)
    assert value["shape"] == [3, 4]
    np.testing.assert_array_equal(decode_darray(value), array)
    np.testing.assert_array_equal(decode_darray({**value, "shape": [4, 3]}, shape=(3, 4)), array)


@pytest.mark.parametrize(
    "change",
    [
        {"type": "<c8"},
        {"shape": [3, 5]},
        {"shape": "x"},
        {"shape": [0, 4]},
        {"filters": ["bslz4", "base64"]},
        {"data": "@@@@"},
        {"data": None},
        {"data": "AAAA"},
    ],
)
def test_damaged_arrays_are_refused(change):
    value = encode_darray(np.zeros((3, 4), dtype=np.uint32)) | change
    with pytest.raises(WireError, match="an array"):
        decode_darray(value)


def test_an_array_of_another_size_is_refused():
    with pytest.raises(WireError, match=r"shape \[3, 4\]"):
        decode_darray(encode_darray(np.zeros((3, 4), dtype=np.uint32)), shape=(3, 5))
    with pytest.raises(WireError, match="no __darray__"):
        decode_darray(3)


def test_deadlines_cover_what_the_documents_allow():
    assert protocol.COMMAND_TIMEOUTS_S["initialize"] >= 120
    assert protocol.trigger_timeout_s(0.1, 100, 5.0) == 25.0
    blocking = {command.value for command in protocol.DetectorCommand} - {"trigger", "wait"}
    assert blocking <= set(protocol.COMMAND_TIMEOUTS_S)
