"""What a sender of STINS sends, without sockets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maxdaq_tango.detectors.simulation.account import AccountBook
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.pattern import expected_frame
from maxdaq_tango.detectors.simulation.stins_sender import COMPRESSIONS, SeriesRequest, StinsOptions, StinsSender
from maxdaq_tango.errors import ConfigurationError, WireError
from maxdaq_tango.kernels.compression import decode_pixels
from maxdaq_tango.model import DamagedFrame, Frame, SeriesEnd, SeriesStart
from maxdaq_tango.wire.stins import StinsDecoder

SMALL = StinsOptions(rows=48, columns=64)


def series(sender: StinsSender, frames: int, *, stop_after: int | None = None) -> list[Any]:
    """The events of one series; an exception where a message cannot be read."""
    messages = list(sender.begin(SeriesRequest(frames=frames, rate_hz=10), AccountBook()))
    for number in range(frames if stop_after is None else stop_after):
        messages += sender.frame(number)
    messages += sender.end()
    events: list[Any] = []
    for message in messages:
        try:
            events.append(StinsDecoder().decode(message.parts))
        except WireError as error:
            events.append(error)
    return events


def told(events: list[Any]) -> list[str]:
    words = {SeriesStart: "start", SeriesEnd: "end", WireError: "error", DamagedFrame: "error"}
    return [words.get(type(event)) or str(event.frame_number) for event in events]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("dtype", ["uint16", "uint32", "float32"])
def test_a_series_in_good_health(compression: str, dtype: str) -> None:
    sender = StinsSender(StinsOptions(rows=48, columns=64, dtype=dtype, compression=compression, seed=3))
    events = series(sender, 3)
    assert told(events) == ["start", "0", "1", "2", "end"]
    assert [event.msg_number for event in events] == [0, 1, 2, 3, 4]
    assert events[0].metadata["nimages"] == 3
    assert events[0].frame_period_s == pytest.approx(0.1)
    for frame in events[1:-1]:
        pixels = decode_pixels(frame.format, frame.blobs)
        assert np.array_equal(pixels, expected_frame(3, frame.frame_number, (48, 64), dtype))
    assert [event.msg_number for event in series(sender, 1)] == [5, 6, 7]


def test_a_dropped_frame_had_its_message_number_and_a_copy_has_that_of_the_first() -> None:
    events = series(StinsSender(SMALL, Faults(drop_frames=(1,), duplicate_frames=(2,))), 4)
    assert told(events) == ["start", "0", "2", "2", "3", "end"]
    assert [event.msg_number for event in events] == [0, 1, 3, 3, 4, 5]


@pytest.mark.parametrize(
    ("faults", "words", "numbers"),
    [
        ({"second_header_at": 1}, ["start", "0", "start", "1", "end"], [0, 1, 1002, 2, 3]),
        ({"end_at": 1}, ["start", "0", "end", "1", "end"], [0, 1, 3, 2, 3]),
        ({"wrong_series_frames": (1,)}, ["start", "0", "1", "end"], [0, 1, 1002, 3]),
        ({"number_at": 0}, ["start", str(1 << 40), "1", "end"], [0, 1, 2, 3]),
        ({"missing_header": True, "duplicate_end": True}, ["0", "1", "end", "end"], [1, 2, 3, 3]),
        ({"stop_after": 1}, ["start", "0"], [0, 1]),
    ],
)
def test_faults_between_the_frames(faults: dict[str, Any], words: list[str], numbers: list[int]) -> None:
    events = series(StinsSender(SMALL, Faults(**faults)), 2)
    assert told(events) == words
    assert [event.msg_number for event in events] == numbers


@pytest.mark.parametrize("faults", [{"bomb_at": 1}, {"wrong_size_frames": (1,)}, {"number_at": 1, "number_sent": -1}])
def test_a_message_that_no_decoder_takes(faults: dict[str, Any]) -> None:
    assert told(series(StinsSender(SMALL, Faults(**faults)), 3)) == ["start", "0", "error", "2", "end"]


def test_a_sender_that_is_started_anew_counts_its_messages_from_0() -> None:
    sender = StinsSender(SMALL)
    series(sender, 8)
    sender.faults = Faults(restart_at=2)
    events = series(sender, 4)
    assert told(events) == ["start", "0", "1", "0", "1", "end"]
    assert [event.msg_number for event in events] == [10, 11, 12, 1, 2, 15]


def test_the_end_of_a_series_that_was_stopped_tells_how_many_there_were() -> None:
    sender = StinsSender(SMALL)
    assert series(sender, 10, stop_after=2)[-1].msg_number == 3
    assert series(sender, 1)[0].msg_number == 12


def test_the_header_names_a_file_only_when_it_is_asked_to() -> None:
    assert series(StinsSender(SMALL), 0)[0].filename is None
    assert series(StinsSender(SMALL, Faults(filename="../x.h5")), 0)[0].filename == "../x.h5"


def test_another_series_has_other_pixels() -> None:
    frame = series(StinsSender(SMALL, Faults(wrong_series_frames=(0,))), 1)[1]
    assert isinstance(frame, Frame)
    pixels = decode_pixels(frame.format, frame.blobs)
    assert not np.array_equal(pixels, expected_frame(1, 0, (48, 64)))


@pytest.mark.parametrize(
    ("options", "accepted"),
    [({"rows": 0}, "1 to 16384"), ({"dtype": "bool"}, "uint16"), ({"compression": "zip"}, "bslz4")],
)
def test_a_sender_that_cannot_be_is_refused(options: dict[str, Any], accepted: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        StinsOptions(**options)
    assert accepted in caught.value.accepted


@pytest.mark.parametrize("request_", [{"frames": -1}, {"frames": 1, "rate_hz": -1.0}, {"frames": 1, "rate_hz": 1e9}])
def test_a_series_that_cannot_be_is_refused(request_: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        SeriesRequest(**request_)
