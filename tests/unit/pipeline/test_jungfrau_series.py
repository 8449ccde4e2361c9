"""A Jungfrau with two interfaces: slsReceiver's PUB sockets, from the sockets to the pixels in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cbor2
import h5py
import numpy as np
import pytest

from maxdaq_tango.files.check import check_file
from maxdaq_tango.model import AcquisitionState, Receipt, StreamFormat, Verdict
from maxdaq_tango.wire import sls_json
from maxdaq_tango.wire.cbor_arrays import array_tag
from module_parts import SHAPE, part, whole
from module_senders import Jungfrau
from receiving import Harness, stored


@pytest.fixture
def detector(harness: Harness) -> Jungfrau:
    return Jungfrau(harness.context)


def prepare(harness: Harness, detector: Jungfrau, **changes: Any) -> None:
    settings = {"sources": detector.endpoints, "stream_format": StreamFormat.SLS_JSON, "detector": "jungfrau"}
    harness.prepare(**{**settings, "module_wait_s": 0.3, **changes})
    detector.wait_subscribed()


def column(receipt: Receipt, name: str) -> list[float]:
    with h5py.File(receipt.file, "r") as file:
        values: list[float] = file[receipt.dataset].parent[name][...].tolist()
        return values


@pytest.mark.lesson(19)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32"])
def test_frames_of_both_interfaces_are_stored_pixel_by_pixel_in_the_type_of_the_stream(
    harness: Harness, detector: Jungfrau, dtype: str
) -> None:
    prepare(harness, detector, expected_frames=5)
    for number in range(5):
        detector.image(number, dtype=dtype, timestamp_ticks=number * 10**7, exposure_ticks=100, detSpec1=number + 7)
    detector.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.reasons) == (Verdict.COMPLETE, ())
    assert (receipt.shape, receipt.dtype, receipt.first_frame_number) == ((5, 2, *SHAPE), dtype, 101)
    assert (receipt.modules, receipt.end_message_seen) == (2, True)
    np.testing.assert_array_equal(stored(receipt), [whole(n, 2, dtype=dtype) for n in range(5)])
    assert column(receipt, "sequence_number") == [101, 102, 103, 104, 105]
    assert column(receipt, "start_time") == [0, 1, 2, 3, 4]
    assert column(receipt, "exposure_time") == pytest.approx([1e-5] * 5)
    assert column(receipt, "frame_metadata/detSpec1") == [7, 8, 9, 10, 11]
    assert column(receipt, "frame_metadata/packets_caught") == [128] * 5
    with h5py.File(receipt.file, "r") as file:
        group = file["entry/instrument/jungfrau"]
        assert (group["detshape"][()].tolist(), group["modules"][()], group["fname"][()]) == ([1, 2], 2, b"/data/run")
    assert check_file(Path(receipt.file)).problems == []


@pytest.mark.lesson(19)
def test_the_end_messages_end_a_series_of_unknown_length(harness: Harness, detector: Jungfrau) -> None:
    prepare(harness, detector)
    for number in range(3):
        detector.image(number)
    detector.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_expected, receipt.frames_written) == (Verdict.COMPLETE, None, 3)
    np.testing.assert_array_equal(stored(receipt), [whole(n, 2) for n in range(3)])


@pytest.mark.lesson(19)
def test_an_end_message_of_the_acquisition_before_ends_nothing(harness: Harness, detector: Jungfrau) -> None:
    prepare(harness, detector, connect_timeout_s=0.0)
    detector.end()
    for number in range(3):
        detector.image(number)
    detector.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_written, receipt.frames_out_of_series) == (Verdict.COMPLETE, 3, 2)


@pytest.mark.lesson(18)
@pytest.mark.parametrize("dead", [0, 1])
def test_an_interface_that_is_silent_costs_its_pixels_alone(harness: Harness, detector: Jungfrau, dead: int) -> None:
    prepare(harness, detector, expected_frames=10)
    for number in range(10):
        detector.image(number, 1 - dead)
    detector.end(1 - dead)
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_written) == (Verdict.INCOMPLETE, 10)
    assert receipt.frames_partial_ranges == ((101, 110),)
    np.testing.assert_array_equal(stored(receipt), [whole(n, 2, (dead,)) for n in range(10)])


def test_frames_are_put_together_by_the_number_of_the_detector_and_not_by_the_index_of_a_port(
    harness: Harness, detector: Jungfrau
) -> None:
    prepare(harness, detector, expected_frames=6)
    detector.miss_first(1, 2)  # of the first two frames no packet came to this port
    for number in range(6):
        detector.image(number, *((0, 1) if number >= 2 else (0,)))
    detector.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_partial_ranges) == (Verdict.INCOMPLETE, ((101, 102),))
    np.testing.assert_array_equal(stored(receipt), [whole(n, 2, (1,) if n < 2 else ()) for n in range(6)])


def test_frames_that_the_publisher_dropped_are_missing_by_their_number(harness: Harness, detector: Jungfrau) -> None:
    prepare(harness, detector, expected_frames=6)
    for number in (1, 2, 4):
        detector.image(number)
    detector.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_missing) == (Verdict.INCOMPLETE, (101, 104, 106))
    assert receipt.first_frame_number == 101
    blank = whole(0, 2, (0, 1))
    expected = [whole(n, 2) if n in (1, 2, 4) else blank for n in range(len(stored(receipt)))]
    np.testing.assert_array_equal(stored(receipt), expected)


def test_lost_packets_make_a_series_incomplete_and_leave_what_came(harness: Harness, detector: Jungfrau) -> None:
    prepare(harness, detector, expected_frames=3)
    detector.image(0)
    detector.image(1, 0)
    detector.image(1, 1, is_whole=False, packets=60)
    detector.image(2)
    detector.end()
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.INCOMPLETE
    assert receipt.reasons == ("1 frames have not all pixels: packets of module 1 lost in 1",)
    assert (receipt.modules_missing, receipt.modules_incomplete) == ((0, 0), (0, 1))
    np.testing.assert_array_equal(stored(receipt), [whole(n, 2) for n in range(3)])
    assert column(receipt, "frame_metadata/modules_mask") == [3, 1, 3]
    assert column(receipt, "frame_metadata/packets_caught") == [128, 124, 128]


def test_a_port_whose_end_was_dropped_is_not_waited_for_for_ever(harness: Harness, detector: Jungfrau) -> None:
    prepare(harness, detector)
    for number in range(3):
        detector.image(number)
    detector.end(1)
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_written, receipt.end_message_seen) == (Verdict.COMPLETE, 3, True)


def test_a_stream_without_any_end_is_closed_after_its_silence(harness: Harness, detector: Jungfrau) -> None:
    prepare(harness, detector, stall_timeout_s=0.4)
    detector.image(0)
    detector.image(1, 0)
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_written, receipt.frames_partial) == (Verdict.INCOMPLETE, 2, 1)
    np.testing.assert_array_equal(stored(receipt), [whole(0, 2), whole(1, 2, (1,))])


def test_acquisitions_follow_one_another_on_the_same_sockets(harness: Harness, detector: Jungfrau) -> None:
    prepare(harness, detector, series_count=3, module_wait_s=10.0)

    def send(first: int, *ports: int, end: bool = True) -> None:
        detector.begin(first)
        for number in range(4):
            detector.image(number, *ports)
        if end:
            detector.end(*ports)

    send(1, 0)
    send(5, 0)
    send(1, 1)
    send(5, 1)
    send(9, 1)
    send(9, 0)
    harness.wait_state(AcquisitionState.IDLE)
    receipts = [report.receipt for report in harness.reports if report.receipt is not None]
    assert [(one.verdict, one.first_frame_number) for one in receipts] == [(Verdict.COMPLETE, n) for n in (1, 5, 9)]
    for receipt in receipts:
        np.testing.assert_array_equal(stored(receipt), [whole(n, 2) for n in range(4)])


def test_an_acquisition_all_of_whose_ends_were_lost_is_ended_by_the_next(harness: Harness, detector: Jungfrau) -> None:
    prepare(harness, detector, series_count=2)
    for number in range(3):
        detector.image(number)
    detector.begin(200)
    for number in range(3):
        detector.image(number)
    detector.end()
    harness.wait_state(AcquisitionState.IDLE)
    first, second = [report.receipt for report in harness.reports if report.receipt is not None]
    assert (first.verdict, first.frames_written, first.frames_out_of_series) == (Verdict.INCOMPLETE, 3, 0)
    assert any("before the end of this series" in reason for reason in first.reasons)
    assert (second.verdict, second.frames_written) == (Verdict.COMPLETE, 3)
    for receipt in (first, second):
        np.testing.assert_array_equal(stored(receipt), [whole(n, 2) for n in range(3)])


def test_broken_messages_are_counted_and_cost_no_other(harness: Harness, detector: Jungfrau) -> None:
    prepare(harness, detector, expected_frames=3)
    detector.image(0)
    detector.send(0, [b"{"])
    detector.send(1, [b"", b""])
    detector.send(0, sls_json.encode_image(104, part(0, 0).format, bytes(30), place=(9, 9), modules=(2, 1)))
    detector.image(1, 0, blob=b"short")
    detector.image(1, 1)
    detector.image(2, 0)
    detector.image(2, 1, dtype="uint32")
    detector.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_corrupt, receipt.frames_partial) == (Verdict.INCOMPLETE, 5, 2)
    np.testing.assert_array_equal(stored(receipt), [whole(0, 2), whole(1, 2, (0,)), whole(2, 2, (1,))])


@pytest.mark.lesson(19)
@pytest.mark.parametrize("dtype", ["int16", "uint16", "int32", "float32"])
def test_the_stream_of_jungfraujoch_is_one_of_dectris_v2_with_keys_of_its_own(harness: Harness, dtype: str) -> None:
    harness.prepare(stream_format=StreamFormat.DECTRIS_V2)
    own = {"magic_number": 0x52320000, "series_unique_id": "run", "series_id": 3}
    frames = [(np.arange(40).reshape(5, 8) - 7 * n).astype(dtype) for n in range(3)]
    start = {"type": "start", "number_of_images": 3, "image_size_x": 8, "image_size_y": 5, "detector_distance": 0.1}
    harness.sender.send([cbor2.dumps(cbor2.CBORTag(55799, own | start | {"arm_date": "2025-01-01T00:00:00Z"}))])
    for number, image in enumerate(frames):
        told = {
            "type": "image",
            "image_id": number,
            "spots": [{"x": 1.5, "I": 3}],
            "az_int_profile": array_tag(image[0]),
        }
        harness.sender.send([cbor2.dumps(own | told | {"data": {"default": array_tag(image)}})])
    harness.sender.send([cbor2.dumps(own | {"type": "calibration", "data": {}})])
    harness.sender.send([cbor2.dumps(own | {"type": "end", "max_image_number": 3})])
    receipt = harness.receipt()
    assert (receipt.frames_written, receipt.dtype, receipt.end_message_seen) == (3, dtype, True)
    np.testing.assert_array_equal(stored(receipt).reshape(3, 5, 8), frames)
