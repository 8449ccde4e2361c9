"""Every wire format's decoder, by the same suite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest

from maxdaq_tango.kernels.cbf import make_cbf
from maxdaq_tango.kernels.compression import compress_bslz4
from maxdaq_tango.kernels.mono12p import pack_mono12p
from maxdaq_tango.model import Encoding, Frame, FrameFormat, StreamFormat
from maxdaq_tango.testing.codec_contract import CodecContract, Message
from maxdaq_tango.wire import WHOLE_FRAMES, decoder_for, dectris_v1, dectris_v2, lambda_modules, sls_json, stins
from maxdaq_tango.wire.marked import mark

PIXELS = np.arange(60, dtype=np.uint16).reshape(6, 10)
PLAIN = FrameFormat((6, 10), "uint16", Encoding.NONE)
FORMAT = FrameFormat((6, 10), "uint16", Encoding.BSLZ4)
BLOB = compress_bslz4(PIXELS)
CONFIG = {"nimages": 5, "ntrigger": 2, "frame_time": 0.1}
APPENDIX = '{"filename": "/data/a.h5", "rotate": 1}'


def image(format: FrameFormat, blob: bytes, number: int = 3) -> list[bytes]:
    frame = Frame(series="", frame_number=number, format=format, blobs=(blob,), exposure_time_s=0.5, extras={"x": 1})
    return [bytes(part) for part in stins.encode_image(number, frame)]


class TestStins(CodecContract):
    """With the packings of an Eiger's, a Pilatus' and an ORCA's frames."""

    format = StreamFormat.STINS
    messages: ClassVar[Sequence[Message]] = [
        stins.encode_header(1, "/data/a.h5", {"exptime": 0.5, "nested": {"a": [1, None]}}),
        image(FORMAT, BLOB),
        image(FrameFormat((6, 10), "int32", Encoding.CBF), make_cbf(PIXELS.astype("i4"))),
        image(FrameFormat((6, 10), "uint16", Encoding.MONO12P), pack_mono12p(PIXELS)),
        stins.encode_end(3),
    ]


class TestDectrisV1(CodecContract):
    format = StreamFormat.DECTRIS_V1
    messages: ClassVar[Sequence[Message]] = [
        dectris_v1.encode_header(
            7,
            detail=dectris_v1.HeaderDetail.ALL,
            config=CONFIG,
            flatfield=PIXELS.astype("f4"),
            pixel_mask=PIXELS.astype("u4"),
            appendix=APPENDIX,
        ),
        [
            bytes(part)
            for part in dectris_v1.encode_image(7, 3, FORMAT, BLOB, start_ns=1, stop_ns=2, real_ns=1, appendix=APPENDIX)
        ],
        dectris_v1.encode_end(7),
    ]


class TestDectrisV2(CodecContract):
    format = StreamFormat.DECTRIS_V2
    messages: ClassVar[Sequence[Message]] = [
        dectris_v2.encode_start(
            7, "ULID", CONFIG | {"flatfield": {"threshold_1": PIXELS.astype("f4")}, "user_data": APPENDIX}
        ),
        dectris_v2.encode_image(
            7,
            "ULID",
            3,
            {"threshold_1": (FORMAT, BLOB), "threshold_2": (FORMAT, BLOB)},
            series_date="2024-09-30T12:14:53Z",
            start_time=(1, 50_000_000),
            stop_time=(2, 50_000_000),
            real_time=(1, 50_000_000),
            user_data=APPENDIX,
        ),
        dectris_v2.encode_end(7, "ULID"),
    ]


class TestLambdaModules(CodecContract):
    format = StreamFormat.LAMBDA_MODULES
    messages: ClassVar[Sequence[Message]] = [
        [mark(1), *stins.encode_header(1, "/data/a.h5", {"x": 1, "y": 2, "rotation": 0, "full_shape": [9, 9]})],
        [mark(1), *map(bytes, lambda_modules.encode_image(2, 0, 4, FORMAT, BLOB))],
        [mark(1), *stins.encode_end(3)],
    ]


class TestSlsJson(CodecContract):
    format = StreamFormat.SLS_JSON
    messages: ClassVar[Sequence[Message]] = [
        [mark(0), *map(bytes, sls_json.encode_image(7, PLAIN, PIXELS.tobytes(), place=(1, 0), modules=(2, 1)))],
        [mark(0), *map(bytes, sls_json.encode_end())],
    ]


EVERY = (TestStins, TestDectrisV1, TestDectrisV2, TestLambdaModules, TestSlsJson)


def test_no_format_is_forgotten() -> None:
    assert {suite.format for suite in EVERY} == set(StreamFormat)


@pytest.mark.parametrize("suite", [suite for suite in EVERY if suite.format in WHOLE_FRAMES])
@pytest.mark.parametrize("format", WHOLE_FRAMES)
def test_messages_of_another_format_are_refused(suite: type[CodecContract], format: StreamFormat) -> None:
    class Other(CodecContract):
        def decoder(self):  # type: ignore[no-untyped-def]
            return decoder_for(format)

    Other.format = format
    for message in suite.messages if format is not suite.format else ():
        assert not Other().take(message)
