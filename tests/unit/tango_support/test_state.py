"""Every acquisition state x every circumstance: one Tango state."""

from __future__ import annotations

import itertools

import pytest
from tango import DevState

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import BUSY_STATES, AcquisitionState, Verdict
from maxdaq_tango.tango_support.state import idle_state, is_alarming, tango_state

BOOLS = (False, True)


@pytest.mark.parametrize(
    ("state", "starting", "reachable", "alarmed", "stalled", "idle"),
    list(itertools.product(AcquisitionState, BOOLS, BOOLS, BOOLS, BOOLS, (DevState.ON, DevState.STANDBY))),
)
def test_the_first_that_applies_is_shown(state, starting, reachable, alarmed, stalled, idle):
    shown = tango_state(state, starting=starting, reachable=reachable, alarmed=alarmed, stalled=stalled, idle=idle)
    rules = [
        (starting, DevState.INIT),
        (state in BUSY_STATES and stalled, DevState.ALARM),
        (state in BUSY_STATES, DevState.RUNNING),
        (state is AcquisitionState.FAULT, DevState.FAULT),
        (not reachable, DevState.UNKNOWN),
        (alarmed, DevState.ALARM),
        (True, idle),
    ]
    assert shown == next(result for applies, result in rules if applies)


def test_only_what_nobody_wanted_is_an_alarm():
    alarming = {verdict for verdict in Verdict if is_alarming(verdict)}
    assert alarming == {Verdict.INCOMPLETE, Verdict.FAILED}
    assert not is_alarming(None)
    assert not is_alarming(Verdict.ABORTED, armed=False)
    assert is_alarming(Verdict.FAILED, armed=False)


def test_idle_state_takes_two_words_and_names_them():
    assert idle_state("standby ") == DevState.STANDBY
    with pytest.raises(ConfigurationError, match="ON or STANDBY"):
        idle_state("OFF")
