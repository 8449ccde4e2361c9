"""What leaves the simulated detector, compared with recorded streams and decoded by the package's own decoders."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
from pathlib import Path

import cbor2
import numpy as np
import pytest

from maxdaq_tango.detectors.eiger.simulator_stream import unique_series_id
from maxdaq_tango.detectors.simulation.pattern import expected_frame
from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.compression import decode_pixels
from maxdaq_tango.model import Encoding, Frame, SeriesEnd, SeriesStart
from maxdaq_tango.wire.dectris_v1 import DectrisV1Decoder
from maxdaq_tango.wire.dectris_v2 import DectrisV2Decoder

FAST = {"count_time": 0.004, "frame_time": 0.01}


def captures() -> Path:
    """The folder of recorded streams: MAXDAQ_CAPTURES, or `shared/captures` beside the checkout."""
    named = os.environ.get("MAXDAQ_CAPTURES")
    return Path(named) if named else Path(__file__).resolve().parents[5] / "shared" / "captures"


@pytest.fixture(scope="module")
def recorded_v1() -> list[list[bytes]]:
    path = captures() / "eiger1-1m.dectris-v1.cborseq.gz"
    if not path.is_file():
        pytest.skip(f"no recorded stream at {path}")
    data = io.BytesIO(gzip.decompress(path.read_bytes()))
    messages = []
    while data.tell() < len(data.getbuffer()):
        messages.append([bytes(part) for part in cbor2.load(data)])
    return messages


def run(bench, frames: int = 3, stream_format: str = "legacy", **settings):
    bench.armed(stream_format, nimages=frames, **FAST, **settings)
    bench.command("trigger")
    bench.advance(10.0)
    return bench


def kinds(value):
    """Structure of a JSON value: types instead of values, int and float apart."""
    if isinstance(value, dict):
        return {key: kinds(item) for key, item in value.items()}
    if isinstance(value, list):
        return [kinds(item) for item in value]
    return type(value).__name__


def recorded_twin(make_bench):
    """The simulator set up like the recorded detector."""
    bench = make_bench(model="eiger", rows=1065, columns=1030).initialised()
    for key, value in (
        ("header_detail", "all"),
        ("header_appendix", '{"filename": "", "rotate": 0}'),
        ("mode", "enabled"),
    ):
        bench.put(key, value, "stream")
    bench.put("photon_energy", 8000.0)
    bench.put("count_time", 0.9999999)
    bench.put("frame_time", 1.0000029)
    bench.put("nimages", 3)
    bench.command("arm")
    bench.command("trigger")
    bench.advance(4.0)
    return bench.messages()


def test_v1_messages_have_the_structure_of_the_recorded_ones(make_bench, recorded_v1):
    ours = recorded_twin(make_bench)
    header, image = ours[0], ours[1]
    real_header, real_image = recorded_v1[0], recorded_v1[1]
    assert len(header) == len(real_header) == 9
    for part in (0, 1, 2, 4, 6):
        mine, real = json.loads(header[part]), json.loads(real_header[part])
        assert kinds(mine) == kinds(real), part
        if part:
            assert list(mine) == list(real)  # in the same order, too
    for part in (2, 4, 6):
        assert json.loads(header[part]) == json.loads(real_header[part])
        assert len(header[part + 1]) == len(real_header[part + 1])
    assert header[8] == real_header[8]
    assert len(image) == len(real_image) == 4
    for part in (0, 1, 3):
        assert kinds(json.loads(image[part])) == kinds(json.loads(real_image[part]))
        assert b" " not in image[part]
    mine, real = json.loads(image[1]), json.loads(real_image[1])
    assert {**mine, "size": 0} == {**real, "size": 0}
    assert image[2][:12] == real_image[2][:12]


def test_v1_values_that_depend_on_settings_agree_with_the_recorded_ones(make_bench, recorded_v1):
    mine, real = (json.loads(m[0][1]) for m in (recorded_twin(make_bench), recorded_v1))
    keys = (
        "count_time", "frame_time", "photon_energy", "threshold_energy", "bit_depth_image", "bit_depth_readout",
        "detector_readout_time", "countrate_correction_count_cutoff", "compression", "trigger_mode", "wavelength",
        "x_pixel_size", "x_pixels_in_detector", "y_pixels_in_detector", "sensor_thickness", "element",
    )  # fmt: skip
    for key in keys:
        expected = pytest.approx(real[key], rel=1e-6) if isinstance(real[key], float) else real[key]
        assert mine[key] == expected, key


def test_the_hash_is_the_md5_of_part_1_as_in_the_recording(bench, recorded_v1):
    images = run(bench).messages()[1:-1]
    for parts in (*images, *recorded_v1[1:]):
        assert json.loads(parts[0])["hash"] == hashlib.md5(parts[1]).hexdigest()


def test_header_detail_and_appendices_set_the_number_of_parts(make_bench):
    for detail, appendix, parts in (
        ("none", "", 1), ("basic", "", 2), ("all", "", 8), ("none", "x", 2), ("basic", "x", 3), ("all", "x", 9),
    ):  # fmt: skip
        bench = make_bench().streaming(**FAST)
        bench.put("header_detail", detail, "stream")
        bench.put("header_appendix", appendix, "stream")
        bench.put("image_appendix", appendix, "stream")
        bench.command("arm")
        bench.command("trigger")
        bench.advance(1.0)
        header, image, _end = bench.messages()
        assert len(header) == parts
        assert len(image) == (5 if appendix else 4)
        DectrisV1Decoder().decode(header)


@pytest.mark.parametrize("stream_format", ["legacy", "cbor"])
@pytest.mark.parametrize(
    ("compression", "encoding"),
    [("bslz4", {Encoding.BSLZ4}), ("lz4", {Encoding.LZ4_BLOCK, Encoding.LZ4_HDF5}), ("none", {Encoding.NONE})],
)
def test_every_compression_carries_the_same_pixels(bench, stream_format, compression, encoding):
    events = run(bench, 2, stream_format, compression=compression).events(stream_format)
    start, *frames, end = events
    assert isinstance(start, SeriesStart)
    assert isinstance(end, SeriesEnd)
    for number, frame in enumerate(frames):
        assert frame.frame_number == number
        assert frame.format.encoding in encoding
        pixels = decode_pixels(frame.format, frame.blobs)
        assert (pixels.reshape(64, 48) == expected_frame(1, number, (64, 48), "uint16")).all()


@pytest.mark.parametrize(("depth", "dtype"), [(8, "uint8"), (16, "uint16"), (32, "uint32")])
@pytest.mark.parametrize("stream_format", ["legacy", "cbor"])
def test_every_depth_is_sent_as_itself(make_bench, stream_format, depth, dtype):
    events = run(make_bench(bit_depth=depth), 1, stream_format).events(stream_format)
    frame = events[1]
    assert frame.format.dtype == dtype
    assert (decode_pixels(frame.format, frame.blobs).reshape(64, 48) == expected_frame(1, 0, (64, 48), dtype)).all()


V2_START_KEYS = {
    "type", "series_id", "series_unique_id", "arm_date", "beam_center_x", "beam_center_y", "channels", "count_time",
    "countrate_correction_enabled", "countrate_correction_lookup_table", "detector_description",
    "detector_serial_number", "detector_translation", "flatfield", "flatfield_enabled", "frame_time", "goniometer",
    "image_dtype", "image_size_x", "image_size_y", "incident_energy", "incident_wavelength", "number_of_images",
    "pixel_mask", "pixel_mask_enabled", "pixel_size_x", "pixel_size_y", "saturation_value", "sensor_material",
    "sensor_thickness", "threshold_energy", "virtual_pixel_interpolation_enabled", "user_data",
}  # fmt: skip


def test_v2_messages_have_the_documented_keys_types_and_tags(make_bench):
    bench = make_bench().streaming("cbor", nimages=2, **FAST)
    bench.put("header_appendix", '{"filename": "/data/x.h5"}', "stream")
    bench.command("arm")
    bench.command("trigger")
    bench.advance(1.0)
    messages = bench.messages("cbor")
    assert all(len(parts) == 1 and parts[0][:3] == b"\xd9\xd9\xf7" for parts in messages)
    start, image, _, end = (cbor2.loads(parts[0]) for parts in messages)
    assert set(start) == V2_START_KEYS
    assert start["arm_date"].year == 2026  # tag 0
    assert start["number_of_images"] == 2
    assert start["user_data"] == '{"filename": "/data/x.h5"}'
    assert start["image_dtype"] == "uint16"
    mask = start["pixel_mask"]["threshold_1"]
    assert mask.tag == 40
    assert list(mask.value[0]) == [64, 48]
    assert mask.value[1].tag == 70
    assert start["flatfield"]["threshold_1"].value[1].tag == 85
    assert set(image) == {
        "type", "series_id", "series_unique_id", "image_id", "series_date", "start_time", "stop_time", "real_time",
        "data",
    }  # fmt: skip
    data = image["data"]["threshold_1"]
    assert (data.tag, data.value[1].tag, data.value[1].value.tag) == (40, 69, 56500)
    assert list(data.value[1].value.value[:2]) == ["bslz4", 2]
    assert list(image["stop_time"])[1] == 50_000_000
    assert image["stop_time"][0] - image["start_time"][0] == pytest.approx(200_000, abs=1)
    assert set(end) == {"type", "series_id", "series_unique_id"}
    assert len({message["series_unique_id"] for message in (start, image, end)}) == 1
    assert len(start["series_unique_id"]) == 26
    assert bench.get("series_unique_id", task="status") == start["series_unique_id"]


def test_several_thresholds_travel_in_one_v2_message(make_bench):
    bench = make_bench().streaming("cbor", **FAST)
    for key in ("threshold/2/mode", "threshold/difference/mode"):
        bench.put(key, "enabled")
    bench.command("arm")
    bench.command("trigger")
    bench.advance(1.0)
    start, frame, _ = bench.events("cbor")
    assert start.metadata["channels"] == ["threshold_1", "threshold_2", "difference"]
    assert frame.format.shape == (3, 64, 48)
    pixels = dict(zip(frame.extras["channels"], decode_pixels(frame.format, frame.blobs), strict=True))
    for name in ("threshold_1", "threshold_2", "difference"):
        assert (pixels[name] == expected_frame(1, 0, (64, 48), "uint16", channel=name)).all()


def test_only_the_second_threshold_is_possible_too(make_bench):
    bench = make_bench().streaming("cbor", **FAST)
    bench.put("threshold/2/mode", "enabled")
    bench.put("threshold/1/mode", "disabled")
    bench.command("arm")
    bench.command("trigger")
    bench.advance(1.0)
    _, frame, _ = bench.events("cbor")
    assert frame.extras["channels"] == ["threshold_2"]


def test_pilatus4_has_four_thresholds(make_bench):
    bench = make_bench(model="pilatus4").streaming("cbor", **FAST)
    for n in (2, 3, 4):
        bench.put(f"threshold/{n}/mode", "enabled")
    bench.command("arm")
    bench.command("trigger")
    bench.advance(1.0)
    assert bench.events("cbor")[1].format.shape == (4, 64, 48)
    assert "PILATUS4" in bench.get("description")


def test_masks_are_applied_as_asked(make_bench):
    def first_frame(bench):
        bench.command("arm")
        bench.command("trigger")
        bench.advance(1.0)
        frame = bench.events()[1]
        return decode_pixels(frame.format, frame.blobs)

    bench = make_bench().streaming(**FAST)
    plain, gap = first_frame(bench), (32, 5)
    assert plain[gap] == 65535
    bench.put("mask_to_zero", True)
    assert first_frame(bench)[gap] == 0
    bench.put("mask_to_zero", False)
    bench.put("pixel_mask_applied", False)
    unmasked = first_frame(bench)
    assert (unmasked < 65535).all()
    differing = unmasked != plain
    assert (plain[differing] == 65535).all()


def test_a_disabled_stream_sends_nothing(bench):
    bench.initialised()
    assert bench.get("state", "stream", "status") == "disabled"
    bench.command("arm")
    answer = bench.command("trigger")
    bench.advance(1.0)
    assert answer.reply.status == 200
    assert bench.messages() == bench.messages("cbor") == []


def test_the_stream_tells_its_state(bench):
    bench.streaming(**FAST)
    assert bench.get("state", "stream", "status") == "ready"
    bench.command("arm")
    assert bench.get("state", "stream", "status") == "acquire"
    bench.command("abort")
    assert bench.get("state", "stream", "status") == "acquire"  # header and end wait for a receiver
    bench.messages()
    assert bench.get("state", "stream", "status") == "ready"
    bench.command("initialize", module="stream")
    assert bench.get("state", "stream", "status") == "disabled"


def test_left_overs_of_one_format_do_not_mix_with_the_other(bench):
    bench.armed("legacy")
    bench.command("abort")
    bench.put("format", "cbor", "stream")
    bench.command("arm")
    bench.command("abort")
    assert len(bench.messages("legacy")) == 2
    assert len(bench.messages("cbor")) == 2
    bench.command("arm")
    bench.command("initialize", module="stream")
    assert bench.messages("cbor") == []


@pytest.mark.parametrize("stream_format", ["legacy", "cbor"])
class TestFaults:
    def test_frames_are_dropped_doubled_and_turned_round(self, bench, stream_format):
        bench.faults(drop_frames=[1], duplicate_frames=[3], reorder_frames=[5])
        events = run(bench, 8, stream_format).events(stream_format)
        assert [e.frame_number for e in events if isinstance(e, Frame)] == [0, 2, 3, 3, 4, 6, 5, 7]
        for frame in (e for e in events if isinstance(e, Frame)):
            pixels = decode_pixels(frame.format, frame.blobs).reshape(64, 48)
            assert (pixels == expected_frame(1, frame.frame_number, (64, 48), "uint16")).all()

    def test_a_turned_round_frame_keeps_its_own_time(self, bench, stream_format):
        bench.faults(reorder_frames=[1, 4])
        events = run(bench, 5, stream_format).events(stream_format)
        frames = {e.frame_number: e for e in events if isinstance(e, Frame)}
        assert [e.frame_number for e in events if isinstance(e, Frame)] == [0, 2, 1, 3, 4]
        for a, b in ((0, 1), (1, 2), (3, 4)):
            assert frames[b].start_time_s - frames[a].start_time_s == pytest.approx(0.01, abs=1e-6)

    def test_header_and_end_can_be_lost_or_doubled(self, make_bench, stream_format):
        bench = make_bench()
        bench.faults(missing_header=True, missing_end=True)
        assert [type(e) for e in run(bench, 2, stream_format).events(stream_format)] == [Frame, Frame]
        bench.faults(duplicate_end=True)
        bench.command("arm")
        bench.command("trigger")
        bench.advance(1.0)
        assert [type(e) for e in bench.events(stream_format)][-2:] == [SeriesEnd, SeriesEnd]

    def test_a_sender_can_vanish_in_the_middle(self, bench, stream_format):
        bench.faults(stop_after=3)
        run(bench, 10, stream_format)
        assert [type(e) for e in bench.events(stream_format)] == [SeriesStart, Frame, Frame, Frame]
        assert bench.state() == "idle"

    def test_a_frame_can_belong_to_another_series(self, bench, stream_format):
        bench.faults(wrong_series_frames=[1])
        events = run(bench, 3, stream_format).events(stream_format)
        series = [e.series for e in events]
        assert series[0] == series[1] == series[3] == series[4] != series[2]

    def test_a_blob_can_be_cut(self, bench, stream_format):
        bench.faults(truncate_frames=[1])
        messages = run(bench, 2, stream_format).messages(stream_format)
        whole, cut = messages[1], messages[2]
        assert sum(map(len, cut)) < 0.8 * sum(map(len, whole))
        decoder = DectrisV1Decoder() if stream_format == "legacy" else DectrisV2Decoder()

        def read() -> None:
            frame = decoder.decode(cut)
            decode_pixels(frame.format, frame.blobs)

        with pytest.raises(WireError):
            read()


def test_faults_of_the_stream_count_from_the_next_arm(bench):
    bench.armed(nimages=4, **FAST)
    bench.faults(drop_frames=[0, 1, 2, 3])
    bench.command("trigger")
    bench.advance(1.0)
    assert len(bench.messages()) == 6
    bench.command("arm")
    bench.command("trigger")
    bench.advance(1.0)
    assert len(bench.messages()) == 2


def test_series_get_ids_of_the_ulid_form_that_differ():
    ids = {unique_series_id(n, 1_700_000_000_000 + t) for n in range(5) for t in range(5)}
    assert len(ids) == 25
    assert all(len(i) == 26 and i[0] in "01234567" for i in ids)
    assert min(ids)[:10] == "01HF7YAT00"  # the time, as any ULID library writes it


def test_the_real_time_leaves_out_the_readouts_between_summed_images(make_bench):
    bench = make_bench(model="eiger").streaming(count_time=1.0, frame_time=1.1)
    bench.command("arm")
    bench.command("trigger")
    bench.advance(2.0)
    frame = bench.events()[1]
    subframes = np.ceil(1.0 / 0.0013240272897398063)
    assert 1.0 - frame.real_time_s == pytest.approx((subframes - 1) * 7.54e-6, rel=1e-3)
