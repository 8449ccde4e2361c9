"""A StreamReceiver with a spill directory: what is in it is moved home, at its start, after a series and later."""

from __future__ import annotations

import pytest
from tango import DevState

from maxdaq_tango.files import check_file
from spilled_series import spilled

pytestmark = pytest.mark.processes_live_on


def test_what_is_in_the_spill_directory_comes_home_when_it_can(site, connect, wait_on, wait, tmp_path):
    first, second = site.data / "spilled", site.data / "taken"
    for folder in (first, second):
        folder.mkdir()
        spilled(folder, tmp_path)
    (second / "a_data_000002.h5").write_bytes(b"somebody else's")
    receiver = connect(site.receiver("spilling", SpillDirectory=str(tmp_path)))
    wait_on(receiver)
    told = f"2 data files to be moved are in {tmp_path}, 2 were moved. "
    wait(lambda: receiver.Spilled.startswith(told) and "has that name" in receiver.Spilled, 20, "the first look")
    assert check_file(first / "a.h5").problems == []
    assert receiver.SpilledBytes > 0
    assert f"{second}/a_data_000002.h5: another file has that name, and is not replaced" in receiver.Status()
    assert receiver.State() == DevState.ON
    (second / "a_data_000002.h5").unlink()
    receiver.Init()
    wait_on(receiver)
    wait(lambda: (second / "a.h5").exists() and receiver.SpilledBytes == 0, 20, "the next look")
    assert check_file(second / "a.h5").problems == []
    assert receiver.Status() == "Ready"
    assert list(tmp_path.iterdir()) == []


def test_without_one_there_is_nothing_to_tell(site, connect, wait_on):
    receiver = connect(site.receiver("staying"))
    wait_on(receiver)
    assert (receiver.Spilled, receiver.SpilledBytes) == ("", 0)


def test_one_that_does_not_exist_is_named(site, connect, wait):
    receiver = connect(site.receiver("nowhere", SpillDirectory="/no/such/folder"))
    wait(lambda: receiver.State() == DevState.FAULT, 20, "FAULT")
    assert "set property SpillDirectory to '/no/such/folder': there is no such folder" in receiver.Status()
