"""Set-points in the order in which clients write them."""

from __future__ import annotations

import pytest

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import TriggerMode
from maxdaq_tango.transaction.set_points import SetPoints, trigger_mode


def test_latency_and_frame_time_follow_each_other_whatever_was_written_last():
    points = SetPoints(exposure_time_s=0.1, latency_time_s=0.02)
    assert points.frame_time == pytest.approx(0.12)
    points.frame_time_s = 0.3
    assert points.latency == pytest.approx(0.2)
    assert points.settings().frame_period_s == pytest.approx(0.3)
    points.set_latency(0.05)
    assert points.frame_time == pytest.approx(0.15)


def test_frame_time_may_be_written_before_a_shorter_exposure():
    points = SetPoints(exposure_time_s=1.0)
    points.frame_time_s = 0.11
    with pytest.raises(ConfigurationError, match="FrameTime is shorter than ExposureTime"):
        points.settings()
    points.exposure_time_s = 0.1
    assert points.settings().latency_time_s == pytest.approx(0.01)


def test_a_frame_time_equal_to_the_exposure_in_decimal_digits_is_not_refused():
    points = SetPoints(exposure_time_s=0.1 + 0.2)
    points.frame_time_s = 0.3
    assert points.settings().latency_time_s == 0.0


@pytest.mark.parametrize("text", ["software", " SOFTWARE ", "Software"])
def test_trigger_mode_in_any_letters(text):
    assert trigger_mode(text) is TriggerMode.SOFTWARE


def test_an_unknown_trigger_mode_names_all():
    with pytest.raises(ConfigurationError, match="INTERNAL, SOFTWARE, EXTERNAL_MULTI, EXTERNAL_MULTI_GATE"):
        trigger_mode("exts")


def test_live_writes_nothing_and_is_at_most_one_frame_a_second():
    plan = SetPoints(exposure_time_s=0.1, destination="/data/x.h5", trigger_mode=TriggerMode.SOFTWARE).live_plan()
    assert plan.destination == ""
    assert plan.settings.trigger_mode is TriggerMode.INTERNAL
    assert plan.settings.frame_period_s == pytest.approx(1.0)
    assert SetPoints(exposure_time_s=3.0).live_plan().settings.frame_period_s == pytest.approx(3.0)


def test_continuous_waits_for_external_triggers():
    plan = SetPoints(destination="/data/x.h5").continuous_plan()
    assert (plan.destination, plan.settings.trigger_mode) == ("", TriggerMode.EXTERNAL_MULTI)
