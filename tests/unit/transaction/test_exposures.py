"""Exposures that change from trigger to trigger: what travels with a trigger, what its deadline is, what is refused."""

from __future__ import annotations

import msgspec
import pytest

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import AcquisitionSettings, RunRequest, StreamFormat, TriggerMode
from maxdaq_tango.model.hardware import HardwareState
from maxdaq_tango.transaction.phases import Phase
from maxdaq_tango.transaction.set_points import SetPoints
from maxdaq_tango.transaction.words import PrepareFields, Step, TriggerAsked

PER_TRIGGER = AcquisitionSettings(
    exposure_time_s=0.01, trigger_count=3, trigger_mode=TriggerMode.SOFTWARE, exposure_per_trigger=True
)


def test_a_trigger_carries_its_exposure_and_its_deadline_follows(stage):
    play = stage()
    play.settings = PER_TRIGGER
    play.to(Phase.RUN)
    margin_s = play.sequence.deadlines.trigger_margin_s
    for exposures, seconds in (({"a": 100.0}, 100.0), ({}, 100.0), ({"a": 0.5, "other": 9.0}, 0.5)):
        play(TriggerAsked(exposures))
        call = play.call(Step.TRIGGER)
        assert call.argument == seconds
        assert call.deadline_s == pytest.approx(seconds + margin_s)
        play.answer(Step.TRIGGER)
        play.source(HardwareState.ARMED, ready=True)


def test_a_trigger_of_other_series_carries_none_and_changes_nothing(stage):
    play = stage().to(Phase.RUN)
    before = play.sequence.pairs["a"].plan
    play(TriggerAsked({"a": 100.0}))
    assert play.call(Step.TRIGGER).argument is None
    assert play.sequence.pairs["a"].plan is before


@pytest.mark.parametrize(
    "changes",
    [{"trigger_mode": TriggerMode.INTERNAL}, {"trigger_mode": TriggerMode.EXTERNAL_MULTI}, {"frames_per_trigger": 2}],
)
def test_settings_that_cannot_be_meant_are_refused(changes):
    fields = {**msgspec.structs.asdict(PER_TRIGGER), **changes}
    with pytest.raises(ConfigurationError, match="or ExposurePerTrigger false"):
        AcquisitionSettings(**fields)


def test_set_points_of_the_live_view_have_one_exposure():
    points = SetPoints(exposure_per_trigger=True, trigger_mode=TriggerMode.SOFTWARE)
    assert points.plan().settings.exposure_per_trigger
    assert not points.live_plan().settings.exposure_per_trigger
    assert not points.continuous_plan().settings.exposure_per_trigger


def test_frames_per_file_of_a_request_replaces_the_receivers_own():
    fields = PrepareFields(sources=("tcp://127.0.0.1:1",), stream_format=StreamFormat.STINS)
    assert fields.request(frames_per_file=7).frames_per_file == 7
    assert msgspec.structs.replace(fields, frames_per_file=3).request(frames_per_file=7).frames_per_file == 3
    request = RunRequest(sources=fields.sources, stream_format=fields.stream_format, frames_per_file=5)
    assert PrepareFields.of_request(request).frames_per_file == 5
