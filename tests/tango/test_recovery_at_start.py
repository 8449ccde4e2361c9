"""A StreamReceiver looks after what killed ones have left, when it starts."""

from __future__ import annotations

import pytest
from tango import DevState

from killed_writers import kill, killed, start
from maxdaq_tango.files import check_file


@pytest.mark.lesson(13)
@pytest.mark.processes_live_on
def test_a_receiver_recovers_at_start_what_nobody_writes(site, connect, wait_on, wait):
    part = killed(site.data / "left", "direct")
    (site.data / "lives").mkdir()
    writer = start(site.data / "lives", "swmr")
    receiver = connect(site.receiver("recovering"))
    wait_on(receiver)
    wait(lambda: "were recovered" in receiver.Recovery, 15, "the recovery")
    recovered = part.with_name("a_recovered.h5")
    assert check_file(recovered).problems == []
    assert f"{recovered} has 40 frames, 40-49 missing" in receiver.Recovery
    assert "is writing it" in receiver.Recovery
    assert receiver.State() == DevState.ON
    assert receiver.Status().startswith("Ready\nAt start-up: 1 of 2 unfinished files")
    receiver.Reset()
    assert receiver.Status() == "Ready"
    assert "were recovered" in receiver.Recovery
    kill(writer)
    receiver.Init()
    wait_on(receiver)
    wait(lambda: "lives/a_recovered.h5 has 40 frames" in receiver.Recovery, 15, "the other one")


@pytest.mark.processes_live_on
def test_the_recovery_can_be_switched_off(site, connect, wait_on, wait):
    part = killed(site.data / "off", "swmr")
    before = part.read_bytes()
    receiver = connect(site.receiver("resting", RecoverAtStart=False))
    wait_on(receiver)
    assert receiver.Recovery == "Off: property RecoverAtStart is false"
    assert receiver.Status() == "Ready"
    assert part.read_bytes() == before
