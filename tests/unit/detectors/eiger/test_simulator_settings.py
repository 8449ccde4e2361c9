"""Parameters: what is listed, what is refused and why, and what changes with what."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maxdaq_tango.detectors.eiger.darray import decode_darray, encode_darray
from maxdaq_tango.detectors.eiger.parameters import CHANGES, HEADER_KEYS, MODELS, detector_config


def test_before_initialize_only_the_state_can_be_read(bench):
    assert bench.state() == "na"
    reply = bench.ask("GET", bench.url("config", "nimages")).reply
    assert reply.status == 404
    assert b"does not exist" in reply.body
    assert bench.ask("GET", bench.url("config", "keys")).reply.body == b"[]"
    assert bench.try_put("nimages", 2)[0] == 404
    assert json.loads(bench.ask("GET", bench.url("status", "keys")).reply.body) == ["state", "time"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("api", ["1.6.0", "1.8.0"])
def test_every_listed_key_can_be_read_and_says_its_type(make_bench, model, api):
    bench = make_bench(model=model, api_version=api).initialised()
    for module in ("detector", "stream", "monitor", "filewriter"):
        for task in ("config", "status"):
            keys = json.loads(bench.ask("GET", bench.url(task, "keys", module)).reply.body)
            assert keys
            assert keys == sorted(keys)
            for key in keys:
                envelope = bench.envelope(key, module, task)
                assert envelope["value_type"]
                assert envelope["access_mode"] in ("r", "rw")
    keys = json.loads(bench.ask("GET", bench.url("config", "keys")).reply.body)
    assert "wavelength" not in keys  # there, but not listed, as on real ones
    assert bench.get("wavelength") > 0
    assert ("threshold/2/energy" in keys) == (api == "1.8.0" and model != "eiger")
    assert ("threshold/4/mode" in keys) == (api == "1.8.0" and model == "pilatus4")


def test_limits_units_and_choices_are_told(bench):
    bench.initialised()
    envelope = bench.envelope("count_time")
    assert (envelope["min"], envelope["max"], envelope["unit"]) == (1e-7, 1800.0, "s")
    assert bench.envelope("trigger_mode")["allowed_values"] == ["ints", "exts", "inte", "exte", "extg"]
    assert bench.envelope("bit_depth_image")["access_mode"] == "r"
    assert bench.envelope("mode", "filewriter")["allowed_values"] == ["disabled"]


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("nimages", "abc", "wrong type"),
        ("nimages", 2.0, "wrong type"),
        ("nimages", True, "wrong type"),
        ("nimages", 0, "out of range"),
        ("nimages", 2_000_000_001, "out of range"),
        ("count_time", "1", "wrong type"),
        ("count_time", 0.0, "out of range"),
        ("count_time", 1801, "out of range"),
        ("auto_summation", 1, "wrong type"),
        ("trigger_mode", "eies", "not allowed"),
        ("trigger_mode", 3, "wrong type"),
        ("compression", "zip", "not allowed"),
        ("bit_depth_image", 16, "read-only"),
        ("description", "x", "read-only"),
        ("photon_energy", 1.0, "out of range"),
        ("detector_translation", [1.0, 2.0], "wrong type"),
        ("pixel_mask", 3, "wrong type"),
        ("roi_mode", "4M", "not allowed"),
    ],
)
def test_a_bad_value_is_refused_with_a_reason_and_changes_nothing(bench, key, value, why):
    bench.initialised()
    before = bench.get(key)
    status, text = bench.try_put(key, value)
    assert status == 400
    assert why in text
    assert key in text
    assert bench.get(key) == before


def test_unknown_names_are_404_and_wrong_methods_405(bench):
    bench.initialised()
    for path in (
        "/detector/api/1.8.0/config/nimage",
        "/detector/api/1.8.0/status/nothing",
        "/detector/api/1.8.0/command/jump",
        "/detector/api/1.8.0/nothing/x",
        "/detectors/api/1.8.0/config/nimages",
        "/detector/api/1.6.0/config/nimages",
        "/detector/api/2.0.0/config/nimages",
        "/system/api/1.8.0/config/x",
        "/data/series_1_master.h5",
        "/",
    ):
        assert bench.ask("GET", path).reply.status == 404, path
    assert b"1.8.0" in bench.ask("GET", "/detector/api/1.6.0/config/nimages").reply.body
    assert bench.ask("POST", bench.url("config", "nimages"), {"value": 1}).reply.status == 405
    assert bench.ask("PUT", bench.url("status", "state"), {"value": "idle"}).reply.status == 405
    assert bench.ask("GET", bench.url("command", "arm")).reply.status == 405


@pytest.mark.parametrize("body", [b"", b"{", b"3", b'{"valu": 3}', b"\xff\xfe"])
def test_a_put_that_is_no_json_value_is_refused(bench, body):
    bench.initialised()
    assert bench.ask("PUT", bench.url("config", "nimages"), body).reply.status == 400


def test_every_module_tells_its_version(bench):
    for module in ("detector", "stream", "monitor", "filewriter", "system"):
        assert json.loads(bench.ask("GET", f"/{module}/api/version").reply.body)["value"] == "1.8.0"


def test_count_time_and_frame_time_push_each_other(bench):
    bench.initialised()
    readout = bench.get("detector_readout_time")
    changed = bench.put("count_time", 1.0)
    assert {"count_time", "frame_time", "frame_count_time", "bit_depth_image"} <= set(changed)
    assert bench.get("frame_time") == pytest.approx(1.0 + readout, abs=1e-12)
    bench.put("frame_time", 0.5)
    assert bench.get("count_time") == pytest.approx(0.5 - readout, abs=1e-12)
    bench.put("frame_time", 2.0)
    assert bench.get("count_time") == pytest.approx(0.5 - readout, abs=1e-12)
    bench.put("count_time", 0.1)
    assert bench.get("frame_time") == 2.0


def test_a_refused_frame_time_leaves_both_times_alone(make_bench):
    bench = make_bench(model="eiger", api_version="1.6.0").initialised()
    before = bench.get("count_time"), bench.get("frame_time")
    assert bench.try_put("frame_time", 1e-4)[0] == 400
    assert (bench.get("count_time"), bench.get("frame_time")) == before


def test_energy_moves_everything_that_depends_on_it(bench):
    bench.initialised()
    changed = bench.put("photon_energy", 10000.0)
    assert bench.get("element") == ""
    assert bench.get("wavelength") == pytest.approx(1.2398, abs=1e-4)
    assert bench.get("threshold_energy") == bench.get("threshold/1/energy") == 5000.0
    assert bench.get("threshold/2/energy") == 14000.0
    assert bench.get("incident_energy") == 10000.0
    assert {"element", "flatfield", "threshold/1/energy", "threshold/2/energy", "threshold_energy"} <= set(changed)
    bench.put("element", "Mo")
    assert bench.get("photon_energy") == 17479.34
    bench.put("wavelength", 1.0)
    assert bench.get("photon_energy") == pytest.approx(12398.42, abs=0.01)
    assert bench.get("wavelength") == 1.0
    bench.put("threshold_energy", 6000.0)
    assert bench.get("threshold/1/energy") == 6000.0
    assert bench.get("photon_energy") == pytest.approx(12398.42, abs=0.01)


def test_an_uploaded_flatfield_is_lost_with_the_energy_and_by_delete(bench):
    bench.initialised()
    flat = np.full((64, 48), 1.5, dtype=np.float32)
    for lose in (lambda: bench.put("threshold_energy", 4500.0), lambda: bench.put("photon_energy", 9000.0)):
        bench.put("flatfield", encode_darray(flat))
        np.testing.assert_array_equal(decode_darray(bench.get("threshold/1/flatfield")), flat)
        lose()
        assert (decode_darray(bench.get("flatfield")) == 1.0).all()
    bench.put("threshold/1/flatfield", encode_darray(flat))
    assert bench.ask("DELETE", bench.url("config", "flatfield")).reply.status == 200
    assert (decode_darray(bench.get("flatfield")) == 1.0).all()


def test_masks_are_uploaded_counted_and_restored(bench):
    bench.initialised()
    default = decode_darray(bench.get("pixel_mask"))
    assert bench.get("number_of_excluded_pixels") == (default != 0).sum() > 0
    mask = default.copy()
    mask[0, 30] = 8
    changed = bench.put("pixel_mask", encode_darray(mask))
    assert "number_of_excluded_pixels" in changed
    assert bench.get("number_of_excluded_pixels") == (default != 0).sum() + 1
    np.testing.assert_array_equal(decode_darray(bench.get("threshold/1/pixel_mask")), mask)
    assert bench.ask("DELETE", bench.url("config", "pixel_mask")).reply.status == 200
    np.testing.assert_array_equal(decode_darray(bench.get("pixel_mask")), default)
    for bad in (mask.astype(np.float32), mask[:10], mask.T[:, :5]):
        assert bench.try_put("pixel_mask", encode_darray(np.ascontiguousarray(bad)))[0] == 400
    assert bench.ask("DELETE", bench.url("config", "nimages")).reply.status == 400
    assert bench.try_put("countrate_correction_table", encode_darray(mask))[0] == 400


def test_arrays_come_as_tiff_when_asked_for(bench):
    bench.initialised()
    reply = bench.ask("GET", bench.url("config", "pixel_mask"), accept="application/tiff").reply
    assert reply.content_type == "application/tiff"
    assert reply.body[:4] == b"II*\0"


def test_one_frame_modes_and_nimages_guard_each_other(bench):
    bench.initialised()
    bench.put("nimages", 5)
    status, text = bench.try_put("trigger_mode", "inte")
    assert status == 400
    assert "nimages" in text
    bench.put("nimages", 1)
    bench.put("trigger_mode", "exte")
    assert bench.try_put("nimages", 5)[0] == 400
    bench.put("trigger_mode", "exts")
    bench.put("nimages", 5)


def test_the_roi_resets_the_times(make_bench):
    bench = make_bench(rows=3300, columns=3300).initialised()
    bench.put("count_time", 1.0)
    assert "4M" in bench.envelope("roi_mode")["allowed_values"]
    assert "frame_time" in bench.put("roi_mode", "4M")
    assert bench.get("count_time") == 0.1
    bench.put("mode", "enabled", "stream")
    bench.command("arm")
    bench.command("trigger")
    bench.advance(0.2)
    assert bench.events()[1].format.shape == (2162, 2068)


def test_difference_needs_both_thresholds_and_answers_with_the_vendors_wrong_key(bench):
    bench.initialised()
    assert bench.try_put("threshold/difference/mode", "enabled")[0] == 400
    bench.put("threshold/2/mode", "enabled")
    assert bench.put("threshold/difference/mode", "enabled") == ["difference_mode"]
    bench.put("threshold/1/mode", "disabled")
    assert bench.get("threshold/difference/mode") == "disabled"


def test_bit_depth_follows_exposure_and_rate(bench, make_bench):
    bench.initialised()
    depths = []
    for count_time, frame_time in ((0.0001, 0.0002), (0.004, 0.0045), (0.1, 0.11), (1.0, 1.1)):
        bench.put("count_time", count_time)
        bench.put("frame_time", frame_time)
        depths.append(bench.get("bit_depth_image"))
    assert depths == [8, 16, 32, 32]
    pinned = make_bench(bit_depth=16).initialised()
    pinned.put("count_time", 10.0)
    assert pinned.get("bit_depth_image") == 16


def test_firmware_1_6_keeps_single_precision(make_bench):
    bench = make_bench(model="eiger", api_version="1.6.0").initialised()
    bench.put("count_time", 0.3)
    assert bench.get("count_time") != 0.3
    assert bench.get("count_time") == pytest.approx(0.3, rel=1e-7)


def test_bulk_configuration_is_all_or_nothing_and_new_in_1_8(bench, make_bench):
    bench.initialised()
    url = "/stream/api/1.8.0/config"
    reply = bench.ask("PUT", url, {"mode": {"value": "enabled"}, "format": {"value": "cbor"}}).reply
    assert (reply.status, sorted(json.loads(reply.body))) == (200, ["format", "mode"])
    assert bench.get("format", "stream") == "cbor"
    reply = bench.ask("PUT", url, {"mode": {"value": "disabled"}, "format": {"value": "png"}}).reply
    assert reply.status == 400
    assert bench.get("mode", "stream") == "enabled"
    old = make_bench(api_version="1.6.0").initialised()
    assert old.ask("PUT", "/stream/api/1.6.0/config", {"mode": {"value": "enabled"}}).reply.status == 404
    assert old.try_put("format", "cbor", "stream")[0] == 404


def test_initialize_brings_back_the_defaults(bench):
    bench.initialised()
    bench.put("nimages", 7)
    bench.put("pixel_mask", encode_darray(np.zeros((64, 48), dtype=np.uint32)))
    bench.initialised()
    assert bench.get("nimages") == 1
    assert bench.get("number_of_excluded_pixels") > 0


def test_the_tables_name_only_keys_that_some_detector_has():
    known = set().union(*(detector_config(m, api, 4000, 4000) for m in MODELS.values() for api in ("1.6.0", "1.8.0")))
    assert set(CHANGES) <= known
    assert {name for names in CHANGES.values() for name in names} - known == {"difference_mode"}
    assert set(HEADER_KEYS) <= set(detector_config(MODELS["eiger"], "1.6.0", 64, 48))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["value", "mode", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
_BODIES = (
    st.binary(max_size=30)
    | _JSON.map(lambda v: json.dumps(v).encode())
    | _JSON.map(lambda v: json.dumps({"value": v}).encode())
)
_KEYS = st.sampled_from(
    ["count_time", "nimages", "trigger_mode", "pixel_mask", "detector_translation", "sample_name", "keys", "", "mode",
     "arm", "trigger", "abort", "initialize", "next", "1/0", "threshold/1/energy", "threshold/2/mode", "element"]
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    requests=st.lists(
        st.tuples(
            st.sampled_from(["GET", "PUT", "DELETE", "POST", "HEAD"]),
            st.sampled_from(["detector", "stream", "monitor", "filewriter", "system", "other"]),
            st.sampled_from(["config", "status", "command", "images", "files", "other"]),
            _KEYS,
            _BODIES,
        ),
        max_size=25,
    )
)
def test_nothing_a_client_can_send_breaks_it(make_bench, requests):
    bench = make_bench().initialised()
    for method, module, task, key, body in requests:
        answer = bench.ask(method, bench.url(task, key, module), body)
        bench.advance(0.7)
        assert answer.reply is None or answer.reply.status in (200, 400, 404, 405, 408)
    bench.initialised()
    assert bench.state() == "idle"
    assert json.loads(bench.ask("GET", bench.url("config", "detector_translation")).reply.body)["value"] == [
        0.0,
        0.0,
        0.0,
    ]
