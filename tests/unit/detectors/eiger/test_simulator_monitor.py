"""The monitor module: newest and oldest picture, waiting, time-outs, a full buffer; and the TIFFs it serves."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from maxdaq_tango.detectors.eiger.tiff import encode_tiff
from maxdaq_tango.detectors.simulation.pattern import expected_frame, frame_number_in
from maxdaq_tango.errors import WireError

SLOW = {"count_time": 0.15, "frame_time": 0.2}


def picture(answer) -> np.ndarray:
    assert answer.reply.status == 200, answer.reply
    assert answer.reply.content_type == "application/tiff"
    return np.asarray(Image.open(io.BytesIO(answer.reply.body)))


def images(bench, key: str = "", **query: str):
    return bench.ask("GET", bench.url("images", key, "monitor").rstrip("/"), **query)


def acquiring(bench, frames: int = 5, **settings):
    bench.initialised()
    bench.put("mode", "enabled", "monitor")
    for key, value in ({"nimages": frames} | SLOW | settings).items():
        bench.put(key, value)
    bench.command("arm")
    bench.command("trigger")
    return bench


def test_pictures_come_even_when_nothing_streams(bench):
    acquiring(bench).advance(10.0)
    assert json.loads(images(bench).reply.body) == [[1, [0, 1, 2, 3, 4]]]
    newest = picture(images(bench, "monitor"))
    assert frame_number_in(newest.view(np.uint32)) == 4
    assert (newest.view(np.uint32) == expected_frame(1, 4, (64, 48), "uint32")).all()
    assert frame_number_in(picture(images(bench, "1/2"))) == 2


def test_next_takes_the_oldest_away(bench):
    acquiring(bench).advance(10.0)
    assert [frame_number_in(picture(images(bench, "next"))) for _ in range(5)] == list(range(5))
    assert json.loads(images(bench).reply.body) == []


def test_monitor_does_not_take_away(bench):
    acquiring(bench).advance(10.0)
    for _ in range(3):
        assert frame_number_in(picture(images(bench, "monitor"))) == 4


@pytest.mark.parametrize("key", ["monitor", "next"])
def test_a_request_waits_for_a_picture_and_then_gives_up_with_408(bench, key):
    acquiring(bench)
    waiting = images(bench, key, timeout="1000")
    impatient = images(bench, key, timeout="100")
    assert waiting.reply is None
    bench.advance(0.12)
    assert impatient.reply.status == 408
    assert waiting.reply is None
    bench.advance(0.1)
    assert frame_number_in(picture(waiting)) == 0


def test_the_default_time_out_is_half_a_second(bench):
    bench.initialised()
    answer = images(bench, "monitor")
    bench.advance(0.49)
    assert answer.reply is None
    bench.advance(0.02)
    assert answer.reply.status == 408


def test_two_who_wait_for_next_get_two_pictures(bench):
    acquiring(bench)
    first, second = (images(bench, "next", timeout="5000") for _ in range(2))
    bench.advance(0.2)
    assert first.reply is not None
    assert second.reply is None
    bench.advance(0.2)
    assert [frame_number_in(picture(a)) for a in (first, second)] == [0, 1]


@pytest.mark.parametrize("key", ["1/99", "2/0", "1", "a/b", "1/0/7", "nothing", "1/0/1/1"])
def test_pictures_that_are_not_there_are_404(bench, key):
    acquiring(bench).advance(10.0)
    assert images(bench, key).reply.status == 404


@pytest.mark.parametrize("timeout", ["x", "-1", "1e3", "99999999"])
def test_a_time_out_that_is_none_is_refused(bench, timeout):
    assert images(bench, "monitor", timeout=timeout).reply.status == 400


def test_at_most_ten_pictures_a_second(bench):
    acquiring(bench, 100, count_time=0.004, frame_time=0.01).advance(10.0)
    shown = json.loads(images(bench).reply.body)[0][1]
    assert 9 <= len(shown) <= 11
    assert bench.get("dropped", "monitor", "status") == 0


@pytest.mark.parametrize(("discard_new", "kept"), [(False, [3, 4]), (True, [0, 1])])
def test_a_full_buffer_overflows_as_set(bench, discard_new, kept):
    bench.put("buffer_size", 2, "monitor")
    bench.put("discard_new", discard_new, "monitor")
    acquiring(bench).advance(10.0)
    assert json.loads(images(bench).reply.body) == [[1, kept]]
    assert bench.get("dropped", "monitor", "status") == 3
    assert bench.get("state", "monitor", "status") == "overflow"
    assert bench.get("buffer_fill_level", "monitor", "status") == [2, 2]
    bench.command("clear", module="monitor")
    assert bench.get("state", "monitor", "status") == "normal"
    assert bench.get("buffer_free", "monitor", "status") == 2


def test_with_two_thresholds_a_place_is_free_when_both_were_fetched(bench):
    acquiring(bench, 1, **{"threshold/2/mode": "enabled"}).advance(10.0)
    first = picture(images(bench, "next"))
    assert json.loads(images(bench).reply.body) == [[1, [0]]]
    second = picture(images(bench, "next"))
    assert json.loads(images(bench).reply.body) == []
    assert (first.view(np.uint32) == expected_frame(1, 0, (64, 48), "uint32")).all()
    assert (second.view(np.uint32) == expected_frame(1, 0, (64, 48), "uint32", channel="threshold_2")).all()


def test_initialize_forgets_everything(bench):
    acquiring(bench).advance(10.0)
    bench.command("initialize", module="monitor")
    assert json.loads(images(bench).reply.body) == []
    assert bench.get("mode", "monitor") == "disabled"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
def test_tiffs_are_read_back_by_another_library(dtype):
    array = (np.arange(15) * 7).astype(dtype).reshape(3, 5)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_tiff(array)))), array)


def test_masked_32_bit_pixels_survive_in_the_bytes():
    array = np.full((2, 2), 2**32 - 1, dtype=np.uint32)
    assert encode_tiff(array)[8:24] == b"\xff" * 16


def test_what_is_no_picture_is_refused():
    with pytest.raises(WireError):
        encode_tiff(np.zeros((2, 2, 2)))
    with pytest.raises(WireError):
        encode_tiff(np.zeros((2, 2), dtype=complex))
