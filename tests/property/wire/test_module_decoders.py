"""The invariants of the wire room for formats in which modules send their own parts."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.model import (
    MOST_MODULES,
    Encoding,
    ModuleFrame,
    StreamFormat,
)
from maxdaq_tango.testing.codec_contract import CodecContract
from maxdaq_tango.testing.strategies import JSON_VALUES, chunks, frame_formats, json_objects
from maxdaq_tango.wire import lambda_modules, module_decoder_for, sls_json
from maxdaq_tango.wire.json_parts import encode_part
from maxdaq_tango.wire.marked import mark, unmarked

LAMBDA, SLS = StreamFormat.LAMBDA_MODULES, StreamFormat.SLS_JSON
PIXELS = np.arange(60, dtype=np.uint16)
NUMBERS = st.integers(0, 2**62)


class Sls(CodecContract):
    __test__ = False
    format = SLS


@given(st.sampled_from([2, 3, 4]), st.dictionaries(st.sampled_from(sls_json.SERIES_KEYS), JSON_VALUES), json_objects())
def test_any_values(number: int, known: dict[str, Any], free: dict[str, Any]) -> None:
    head = {
        "data": 1,
        "frameNumber": number,
        "row": 0,
        "column": 0,
        "detshape": [1, 1],
        "shape": [10, 6],
        "bitmode": 16,
    }
    Sls().take([mark(0), encode_part(free | head | known), PIXELS.tobytes()])


@given(st.integers(0, MOST_MODULES - 1), st.lists(st.binary(max_size=20), min_size=1, max_size=4))
def test_a_mark_is_read_as_it_was_put(source: int, parts: list[bytes]) -> None:
    assert unmarked([mark(source), *parts]) == (source, parts)


@given(st.data(), NUMBERS, st.integers(1, 16), st.integers(1, 16), st.booleans(), st.integers(0, 2**32), NUMBERS)
def test_sls_images(
    data: st.DataObject, number: int, rows: int, columns: int, whole: bool, exposure: int, packets: int
) -> None:
    dtypes = tuple(sls_json.TYPES.values())
    format = data.draw(frame_formats(encodings=(Encoding.NONE,), planes=False, dtypes=dtypes))
    blob = data.draw(chunks(format)).tobytes()
    place = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    first = data.draw(st.integers(0, number))
    parts = sls_json.encode_image(
        number,
        format,
        blob,
        place=place,
        modules=(rows, columns),
        first_number=first,
        is_whole=whole,
        packets=packets,
        exposure_ticks=exposure,
    )
    got = module_decoder_for(SLS).decode([mark(0), *parts])
    assert isinstance(got, ModuleFrame)
    assert (got.frame_number, got.first_number, got.format, got.blob) == (number, first, format, blob)
    assert (got.module, got.module_count) == (place[0] * columns + place[1], rows * columns)
    assert (got.is_whole, got.packets, got.exposure_time_s) == (whole, packets, exposure * sls_json.TICK_S)


@given(st.data(), st.integers(0, 2**40), st.integers(0, 2**40), st.integers(1, 8))
def test_lambda_images(data: st.DataObject, number: int, msg_number: int, modules: int) -> None:
    format = data.draw(frame_formats(planes=False))
    blob = encode_pixels(data.draw(chunks(format)), format.encoding)
    source = data.draw(st.integers(0, modules - 1))
    parts = lambda_modules.encode_image(msg_number, number, modules, format, blob)
    got = module_decoder_for(LAMBDA).decode([mark(source), *parts])
    assert isinstance(got, ModuleFrame)
    assert (got.module, got.frame_number, got.msg_number) == (source, number, msg_number)
    assert (got.format, got.blob) == (format, blob)
