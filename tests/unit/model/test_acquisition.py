"""Settings that contradict themselves are refused at the door; formats know their sizes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import (
    AcquisitionSettings,
    Encoding,
    FrameFormat,
    Orientation,
    RunRequest,
    StreamDescription,
    StreamFormat,
)


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [
        ("exposure_time_s", 0.0, "ExposureTime"),
        ("exposure_time_s", -1.0, "ExposureTime"),
        ("exposure_time_s", float("nan"), "ExposureTime"),
        ("latency_time_s", -0.1, "LatencyTime"),
        ("frames_per_trigger", 0, "nFramesPerTrigger"),
        ("trigger_count", 0, "nTriggers"),
    ],
)
def test_impossible_settings_are_refused_by_the_name_the_user_knows(field: str, value: Any, name: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as caught:
        AcquisitionSettings(**{field: value})
    assert caught.value.accepted


def test_counts_and_periods() -> None:
    settings = AcquisitionSettings(exposure_time_s=0.1, latency_time_s=0.02, frames_per_trigger=5, trigger_count=3)
    assert settings.frame_count == 15
    assert settings.frame_period_s == pytest.approx(0.12)


def test_a_format_with_chunks_knows_their_size_and_number() -> None:
    format = FrameFormat((4, 10, 20), "uint16", Encoding.BSLZ4, (1, 10, 20))
    assert (format.chunk_count, format.chunk_nbytes, format.nbytes) == (4, 400, 1600)
    assert FrameFormat((10, 20), "float32", Encoding.NONE).chunk == (10, 20)


@pytest.mark.parametrize(
    ("orientation", "identity"),
    [(Orientation(), True), (Orientation(4), True), (Orientation(1), False), (Orientation(0, True), False)],
)
def test_an_orientation_that_changes_nothing_is_known(orientation: Orientation, identity: bool) -> None:
    assert orientation.is_identity is identity


def test_a_run_request_survives_json() -> None:
    request = RunRequest(sources=("tcp://a:1",), stream_format=StreamFormat.STINS, orientation=Orientation(1, True))
    assert msgspec.json.decode(msgspec.json.encode(request), type=RunRequest) == request


def test_a_description_knows_the_size_of_a_frame_once_shape_and_type_are_known() -> None:
    description = StreamDescription(
        sources=(), stream_format=StreamFormat.STINS, frame_count=1, frame_period_s=0.1, shape=(10, 20), dtype="uint16"
    )
    assert description.frame_nbytes == 400
    assert msgspec.structs.replace(description, dtype="").frame_nbytes is None
