"""Streams of our own under CURVE: who has the keys gets every frame, who has not gets nothing, and is told so."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from maxdaq_tango.cli.replaying import Player
from maxdaq_tango.curve import make_keys, read_keys
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.stins_sender import StinsOptions
from maxdaq_tango.detectors.simulation.stins_server import StinsServer
from maxdaq_tango.errors import ConfigurationError, MaxdaqError, PipelineError
from maxdaq_tango.model import Verdict
from receiving import Harness

FRAMES = 5
REFUSED_S = 1.5


class Site:
    """Keys of a sender, of two receivers, and of somebody else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = {name: make_keys(folder / f"{name}.key") for name in ("sender", "receiver", "other", "stranger")}

    def file(self, name: str) -> str:
        return str(self.folder / f"{name}.key")

    def allow(self, *names: str) -> None:
        with (self.folder / "sender.key").open("a") as out:
            out.writelines(f"allow = {self.keys[name]}\n" for name in names)

    def server(self, **faults: Any) -> StinsServer:
        options = StinsOptions(rows=8, columns=9)
        return StinsServer(options, curve_key=self.file("sender"), faults=Faults(**faults))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def server(site: Site) -> Iterator[StinsServer]:
    with site.server() as server:
        yield server


def prepare(harness: Harness, server: StinsServer, **changes: Any) -> None:
    harness.prepare(sources=(f"tcp://127.0.0.1:{server.stream_port}",), **changes)


def send(server: StinsServer) -> None:
    body = json.dumps({"frames": FRAMES}).encode()
    request = urllib.request.Request(f"{server.url}/simulator/api/series", body, method="POST")
    with urllib.request.urlopen(request, timeout=10):
        pass


def test_with_the_public_key_of_the_sender_a_series_is_complete(
    harness: Harness, site: Site, server: StinsServer
) -> None:
    prepare(harness, server, curve_server_key=site.keys["sender"])
    send(server)
    receipt = harness.receipt()
    assert receipt.verdict is Verdict.COMPLETE
    assert receipt.frames_written == FRAMES


def test_no_secret_is_in_the_receipt(harness: Harness, site: Site, server: StinsServer) -> None:
    prepare(harness, server, curve_server_key=site.keys["sender"], curve_key_file=site.file("receiver"))
    send(server)
    text = repr(harness.receipt()) + repr(harness.reports)
    assert site.keys["sender"] in text
    for name in site.keys:
        secret = read_keys(site.file(name)).secret
        assert secret.decode() not in text
        assert secret not in Path(harness.receipt().file).read_bytes()


@pytest.mark.parametrize("key", ["other", ""])
def test_with_another_key_or_none_prepare_fails_and_says_why(
    harness: Harness, site: Site, server: StinsServer, key: str
) -> None:
    with pytest.raises(PipelineError, match=r"somebody listens there, with other keys .CURVE. than ours, or with none"):
        prepare(harness, server, curve_server_key=site.keys.get(key, ""), connect_timeout_s=REFUSED_S)
    assert [path.name for path in harness.folder.iterdir() if path.suffix in (".h5", ".part")] == []


@pytest.mark.parametrize("key", ["other", ""])
def test_with_another_key_or_none_nothing_is_received(
    harness: Harness, site: Site, server: StinsServer, key: str
) -> None:
    prepare(
        harness,
        server,
        curve_server_key=site.keys.get(key, ""),
        connect_timeout_s=0.0,
        start_timeout_s=REFUSED_S,
    )
    send(server)
    receipt = harness.receipt()
    assert receipt.verdict is not Verdict.COMPLETE
    assert receipt.bytes_received == 0
    assert any("with other keys (CURVE) than ours, or with none" in reason for reason in receipt.reasons)


def test_keys_for_a_sender_that_has_none_are_refused_as_well(harness: Harness, site: Site) -> None:
    with StinsServer(StinsOptions(rows=8, columns=9)) as plain, pytest.raises(PipelineError, match="with other keys"):
        prepare(harness, plain, curve_server_key=site.keys["sender"], connect_timeout_s=REFUSED_S)


def test_who_is_not_named_in_the_key_file_of_the_sender_gets_nothing(harness: Harness, site: Site) -> None:
    site.allow("receiver", "other")
    with site.server() as server:
        for known in (site.file("stranger"), ""):
            with pytest.raises(PipelineError):
                prepare(
                    harness,
                    server,
                    curve_server_key=site.keys["sender"],
                    curve_key_file=known,
                    connect_timeout_s=REFUSED_S,
                )
        prepare(harness, server, curve_server_key=site.keys["sender"], curve_key_file=site.file("receiver"))
        send(server)
        assert harness.receipt().verdict is Verdict.COMPLETE


def test_a_sender_that_vanishes_returns_with_its_keys(harness: Harness, site: Site) -> None:
    site.allow("receiver")
    with site.server(vanish_at=2, vanish_s=0.3) as server:
        prepare(harness, server, curve_server_key=site.keys["sender"], curve_key_file=site.file("receiver"))
        send(server)
        receipt = harness.receipt()
        assert receipt.frames_written == FRAMES


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"curve_server_key": "nonsense"}, "not a public key"),
        ({"curve_key_file": "/nowhere/a.key"}, "public key of the sender is not given"),
    ],
)
def test_keys_that_cannot_work_are_refused_before_anything_is_made(
    harness: Harness, changes: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        harness.prepare(**changes)
    assert list(harness.folder.iterdir()) == []


def test_a_replay_is_encrypted_too(site: Site) -> None:
    site.allow("receiver")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with Player("tcp://127.0.0.1:*", site.file("sender")) as player:
        try:
            for name, comes in (("stranger", False), ("receiver", True)):
                socket = context.socket(zmq.PULL)
                pair = read_keys(site.file(name))
                socket.curve_serverkey = site.keys["sender"].encode()
                socket.curve_publickey, socket.curve_secretkey = pair.public.encode(), pair.secret
                monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
                socket.connect(player.endpoint)
                assert bool(monitor.poll(10_000 if comes else 500)) is comes
                socket.disable_monitor()
                monitor.close(0)
                socket.close(0)
        finally:
            context.destroy(0)
    assert not [thread for thread in threading.enumerate() if "auth" in thread.name.lower()]


def test_a_key_file_that_is_not_there_leaves_no_socket_behind(site: Site) -> None:
    with pytest.raises(MaxdaqError, match="No such file"):
        Player("tcp://127.0.0.1:*", "/nowhere/a.key")
    with pytest.raises(MaxdaqError, match="No such file"), StinsServer(StinsOptions(), curve_key="/nowhere/a.key"):
        pass
