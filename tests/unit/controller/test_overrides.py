"""Set-points of single detectors: what is taken, what is refused, and what follows for the plan."""

from __future__ import annotations

import pytest

from maxdaq_tango.controller.overrides import NONE, read_overrides
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.transaction.set_points import SetPoints

DETECTORS = ("lab/detector/eiger", "lab/detector/pilatus")


def test_names_in_full_or_their_last_part_and_only_what_is_given_changes() -> None:
    found = read_overrides(
        '{"EIGER": {"ExposureTime": 0.5}, "lab/detector/pilatus": {"nFramesPerTrigger": 3}}', DETECTORS
    )
    points = SetPoints(exposure_time_s=0.1, latency_time_s=0.01, frames_per_trigger=7, trigger_count=2)
    eiger, pilatus = (found[name].applied(points).settings() for name in DETECTORS)
    assert (eiger.exposure_time_s, eiger.latency_time_s, eiger.frames_per_trigger) == (0.5, 0.01, 7)
    assert (pilatus.exposure_time_s, pilatus.frames_per_trigger, pilatus.frame_count) == (0.1, 3, 6)
    assert NONE.applied(points).settings() == points.settings()
    assert points == SetPoints(exposure_time_s=0.1, latency_time_s=0.01, frames_per_trigger=7, trigger_count=2)


def test_a_latency_of_one_detector_replaces_the_frame_time_of_all() -> None:
    points = SetPoints(exposure_time_s=0.1, frame_time_s=0.3)
    (override,) = read_overrides('{"eiger": {"LatencyTime": 0.05}}', DETECTORS).values()
    assert override.applied(points).frame_time == pytest.approx(0.15)
    (override,) = read_overrides('{"eiger": {"FrameTime": 0.5}}', DETECTORS).values()
    assert override.applied(points).latency == pytest.approx(0.4)


@pytest.mark.parametrize("text", ["", "  ", "{}"])
def test_nothing_overrides_nothing(text: str) -> None:
    assert read_overrides(text, DETECTORS) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no JSON", "JSON such as"),
        ("[]", "JSON such as"),
        ('{"eiger": 3}', "JSON such as"),
        ('{"eiger": {"Exposure": 3}}', "Exposure"),
        ('{"eiger": {"nTriggers": 3}}', "nTriggers"),
        ('{"eiger": {"ExposureTime": "long"}}', "ExposureTime"),
        ('{"eiger": {"ExposureTime": 0}}', "ExposureTime of 'eiger' to 0"),
        ('{"eiger": {"LatencyTime": -1}}', "0 or more"),
        ('{"eiger": {"nFramesPerTrigger": 0}}', "1 or more"),
        ('{"eiger": {"LatencyTime": 0, "FrameTime": 1}}', "in two ways"),
        ('{"nobody": {}}', "lab/detector/eiger, lab/detector/pilatus"),
        ('{"eiger": {}, "lab/detector/eiger": {}}', "twice"),
    ],
)
def test_what_is_refused_says_what_would_be_accepted(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        read_overrides(text, DETECTORS)
    assert caught.value.accepted


def test_what_contradicts_itself_only_together_with_the_rest_is_told_at_arm() -> None:
    (override,) = read_overrides('{"eiger": {"ExposureTime": 0.5}}', DETECTORS).values()
    with pytest.raises(ConfigurationError, match="FrameTime is shorter than ExposureTime"):
        override.applied(SetPoints(exposure_time_s=0.1, frame_time_s=0.2)).plan()
