"""A stream that nobody sends: Arm says so at once, and nothing is left behind."""

from __future__ import annotations

import socket

import pytest
import tango

pytestmark = pytest.mark.processes_live_on


def test_a_stream_port_where_nobody_sends_is_told_by_arm(site, make_clients, wait_on, wait):
    site.simulate("eiger")
    with socket.socket() as taken:  # bound and never listening: refused for as long as the test lasts
        taken.bind(("127.0.0.1", 0))
        wrong = taken.getsockname()[1]
        receiver = site.receiver("eiger", ConnectTimeout=0.3)
        detector = site.eiger("eiger", receiver, CborPort=wrong, StreamFormat="dectris-v2")
        clients = make_clients(site, detector=detector, receiver=receiver)
        wait_on(clients.detector, clients.receiver)
        daq = clients.detector
        daq.ExposureTime, daq.nTriggers, daq.nFramesPerTrigger, daq.TriggerMode = 0.01, 1, 2, "INTERNAL"
        daq.DestinationFilename = str(clients.file("a.h5"))
        with pytest.raises(tango.DevFailed) as caught:
            daq.Arm()
        text = caught.value.args[0].desc
        assert f"tcp://127.0.0.1:{wrong}" in text
        assert "nobody accepted the connection" in text
        assert receiver in text
        wait(lambda: daq.state() != tango.DevState.RUNNING)
        assert list(site.data.iterdir()) == []
        assert daq.SimplonState == "idle"
