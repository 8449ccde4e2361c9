"""A series as Jungfraujoch sends it, through the receiver into a file."""

from __future__ import annotations

from pathlib import Path

import cbor2
import numpy as np
from cbor2 import CBORTag

from maxdaq_tango.files.check import check_file
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import Encoding, StreamFormat, Verdict
from maxdaq_tango.wire.cbor_arrays import array_tag, packed_array_tag
from receiving import Harness, stored

SHAPE = (16, 24)


def pixels(number: int) -> np.ndarray:
    values = (np.arange(384).reshape(SHAPE) - 100 + number).astype(np.int32)
    values[3, 4] = -(2**31)  # a packet that was lost: the value that the start message states
    return values


def message(kind: str, **fields: object) -> list[bytes]:
    identity = {"type": kind, "series_id": 9, "series_unique_id": "lyso_9"}
    return [cbor2.dumps(CBORTag(55799, {**identity, **fields}))]


def test_calibration_and_metadata_do_not_disturb_a_series(harness: Harness) -> None:
    harness.prepare(stream_format=StreamFormat.DECTRIS_V2, detector="jungfrau")
    send = harness.sender.send
    send(message("start", number_of_images=4, frame_time=0.001, error_value=-(2**31), channels=["default"]))
    send(message("calibration", data={"pedestal_G0": array_tag(np.ones(SHAPE, np.float32))}))
    for number in range(4):
        blob = encode_pixels(pixels(number), Encoding.BSLZ4)
        data = {"default": packed_array_tag(SHAPE, "int32", Encoding.BSLZ4, blob)}
        times = {name: [number, 1000] for name in ("start_time", "stop_time", "real_time")}
        send(message("image", image_id=number, data=data, spots=[], **times))
        send(message("metadata", images=[{"image_id": number}]))
    send(message("end", max_image_number=4))
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.reasons, receipt.frames_written) == (Verdict.COMPLETE, (), 4)
    assert (receipt.frames_corrupt, receipt.frames_out_of_series, receipt.dtype) == (0, 0, "int32")
    np.testing.assert_array_equal(stored(receipt), [pixels(number) for number in range(4)])
    assert check_file(Path(receipt.file)).problems == []
