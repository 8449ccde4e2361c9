"""A StreamReceiver with keys: properties say which, frames come, and no attribute or log shows what is secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tango
from tango import DevState

from maxdaq_tango.curve import make_keys, read_keys
from maxdaq_tango.detectors.simulation.stins_sender import StinsOptions
from maxdaq_tango.detectors.simulation.stins_server import StinsServer


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    files = {name: folder / f"{name}.key" for name in ("sender", "receiver")}
    known = make_keys(files["receiver"])
    make_keys(files["sender"])
    with files["sender"].open("a") as out:
        out.write(f"allow = {known}\n")
    return files


@pytest.fixture
def server(keys) -> Iterator[StinsServer]:
    with StinsServer(StinsOptions(rows=8, columns=6), curve_key=str(keys["sender"])) as server:
        yield server


@pytest.fixture(scope="module")
def receivers(site, connect, wait_on, keys) -> dict[str, tango.DeviceProxy]:
    public = read_keys(keys["sender"]).public
    found = {
        "known": connect(site.receiver("known", CurveServerKey=public, CurveKeyFile=str(keys["receiver"]))),
        "stranger": connect(site.receiver("stranger", CurveServerKey=public)),
        "open": connect(site.receiver("open")),
    }
    wait_on(*found.values())
    return found


def request(server: StinsServer, site, name: str, **fields: Any) -> str:
    where = {"sources": [f"tcp://127.0.0.1:{server.stream_port}"], "stream_format": "stins"}
    return json.dumps({**where, "destination": str(site.data / f"{name}.h5"), **fields})


def test_who_has_the_keys_takes_a_series_and_shows_no_secret(server, receivers, site, wait, keys):
    receiver = receivers["known"]
    receiver.Prepare(request(server, site, "known", expected_frames=3))
    httpx.post(f"{server.url}/simulator/api/series", json={"frames": 3}).raise_for_status()
    wait(lambda: receiver.Verdict == "COMPLETE", 10, "the end")
    assert receiver.nFramesWritten == 3
    told = receiver.Status() + receiver.LastReceipt + "".join(path.read_text() for path in site.folder.glob("*.log"))
    for file in keys.values():
        assert read_keys(file).secret.decode() not in told
    assert read_keys(keys["sender"]).public in receiver.LastReceipt


@pytest.mark.parametrize("who", ["stranger", "open"])
def test_who_has_not_is_refused_at_prepare_with_the_reason(server, receivers, site, wait_on, who):
    with pytest.raises(tango.DevFailed, match="connect to the stream") as caught:
        receivers[who].Prepare(request(server, site, who))
    if who == "open":
        assert "with other keys (CURVE) than ours, or with none" in str(caught.value)
    assert not (site.data / f"{who}.h5").exists()
    assert receivers[who].State() in (DevState.ON, DevState.FAULT, DevState.ALARM)
    wait_on(receivers[who])


def test_a_client_cannot_choose_other_keys(server, receivers, site, wait_on):
    """Else whoever may call Prepare could let the receiver read files for him."""
    mine = {"curve_server_key": "", "curve_key_file": "/etc/hostname"}
    receiver = receivers["stranger"]
    with pytest.raises(tango.DevFailed) as caught:
        receiver.Prepare(request(server, site, "client", **mine))
    assert "/etc/hostname" not in str(caught.value)
    wait_on(receiver)
