"""The client against a camserver of one test: who says what, and when."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from maxdaq_tango.detectors.pilatus.client import CamserverClient, Stage
from maxdaq_tango.detectors.pilatus.protocol import Code, RequestReader
from maxdaq_tango.errors import DetectorOffline, DetectorRefused, DetectorTimeout
from maxdaq_tango.testing.driver_contract import wait_for


class Scripted:
    """A server that says what the test tells it, byte by byte if need be."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._reader = RequestReader()
        self.lines: list[str] = []
        self.line: socket.socket | None = None

    def accept(self) -> None:
        if self.line is not None:
            self.line.close()
        self.line, _ = self._listening.accept()
        self.line.settimeout(5)
        self._reader = RequestReader()

    def hear(self) -> str:
        assert self.line is not None
        while not self.lines:
            data = self.line.recv(4096)
            assert data, "the client has hung up"
            self.lines += self._reader.feed(data)
        return self.lines.pop(0)

    def say(self, *pieces: bytes) -> None:
        assert self.line is not None
        for piece in pieces:
            self.line.sendall(piece)

    def close(self) -> None:
        if self.line is not None:
            self.line.close()
        self._listening.close()


@pytest.fixture
def server() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.close()


@pytest.fixture
def client(server) -> Iterator[CamserverClient]:
    client = CamserverClient("127.0.0.1", server.port)
    client.connect()
    server.accept()
    yield client
    client.close()


class Later:
    """Something that blocks, in a thread; its result or error."""

    def __init__(self, act) -> None:
        self.result, self.error = None, None
        self._act = act
        self._thread = threading.Thread(target=self._run, name="later")
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._act()
        except Exception as error:
            self.error = error

    def get(self):
        self._thread.join(10)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


def test_an_answer_may_come_in_pieces_and_with_newlines(server, client):
    asked = Later(lambda: client.ask("THread", (Code.TEMPERATURES,)))
    assert server.hear() == "THread"
    server.say(b"215 OK Chan", b"nel 0\nChannel 1", b"\x18")
    assert asked.get().text == "Channel 0\nChannel 1"


def test_requests_end_with_nul(server, client):
    asked = Later(lambda: client.ask("NImages"))
    assert server.line.recv(100) == b"NImages\0"
    server.say(b"15 OK N images set to: 1\x18")
    asked.get()


@pytest.mark.parametrize("answer", [b"15 ERR out of range", b"1 ERR *** Unrecognized command: x", b"10 OK /tmp/"])
def test_no_and_an_answer_to_something_else_are_refusals_with_its_words(server, client, answer):
    asked = Later(lambda: client.ask("NImages 0"))
    server.hear()
    server.say(answer + b"\x18")
    with pytest.raises(DetectorRefused) as refused:
        asked.get()
    assert refused.value.answer == answer.decode()
    assert client.stage is Stage.IDLE


def test_who_is_not_in_control_is_told_who_is(server, client):
    asked = Later(lambda: client.ask("NImages 3"))
    server.hear()
    server.say(b"-1 ERR access denied\x18")
    with pytest.raises(DetectorRefused, match="its first client has until it hangs up"):
        asked.get()


def test_who_is_not_in_control_hangs_up_so_that_the_next_call_gets_it(server, client):
    """Control is given to who calls while nobody has it, and never to a line that is there already."""
    asked = Later(lambda: client.ask("NImages 3"))
    server.hear()
    server.say(b"-1 ERR access denied\x18")
    with pytest.raises(DetectorRefused):
        asked.get()
    wait_for("hanging up", lambda: client.stage is Stage.OFFLINE)
    assert "-1 ERR access denied" in client.why_offline
    with pytest.raises(DetectorOffline, match="access denied"):
        client.ask("NImages 3")
    client.connect()
    server.accept()
    asked = Later(lambda: client.ask("NImages 3"))
    server.hear()
    server.say(b"15 OK N images set to: 3\x18")
    asked.get()


@pytest.mark.parametrize("generation", [2, 3])
def test_a_kill_without_control_is_refused_in_these_words_and_hangs_up(server, client, generation):
    """It called before camserver had noticed that its predecessor, who began the exposure, is gone."""
    client.assume_exposing()
    killed = Later(lambda: client.kill(generation))
    server.hear()
    server.say(b"-1 ERR *** access denied\x18")
    with pytest.raises(DetectorRefused, match="its first client has until it hangs up") as refused:
        killed.get()
    assert refused.value.asked == "stop the exposure"
    assert "access denied" in refused.value.answer
    wait_for("hanging up", lambda: client.stage is Stage.OFFLINE)


def begin(server, client) -> None:
    started = Later(lambda: client.start("Exposure a.cbf"))
    assert server.hear() == "Exposure a.cbf"
    server.say(b"15 OK  Starting 0.1 second background: today\x18")
    started.get()


def test_the_end_of_an_exposure_may_come_with_the_word_that_it_has_begun(server, client):
    started = Later(lambda: client.start("Exposure a.cbf"))
    server.hear()
    server.say(b"15 OK  Starting\x187 OK /images/a.cbf\x18")
    started.get()
    assert client.wait_finished(5).text == "/images/a.cbf"
    assert client.stage is Stage.IDLE


def test_nothing_is_sent_while_it_exposes(server, client):
    begin(server, client)
    for line in ("Version", "NImages 1", "Exposure b.cbf"):
        with pytest.raises(DetectorRefused, match="letter k"):
            client.ask(line)
    assert client.wait_finished(0.0) is None
    server.line.settimeout(0.05)
    with pytest.raises(TimeoutError):
        server.line.recv(1)
    server.say(b"7 OK a.cbf\x18")
    assert client.wait_finished(5).ok


@pytest.mark.parametrize("answer", [b"15 ERR Illegal exposure period", b"7 ERR Illegal exposure period"])
def test_a_start_that_is_refused_leaves_it_idle(server, client, answer):
    started = Later(lambda: client.start("Exposure a.cbf"))
    server.hear()
    server.say(answer + b"\x18")
    with pytest.raises(DetectorRefused, match="Illegal exposure period"):
        started.get()
    assert client.stage is Stage.IDLE


def test_an_exposure_that_fails_says_so(server, client):
    begin(server, client)
    server.say(b"7 ERR *** image could not be written\x18")
    assert not client.wait_finished(5).ok


@pytest.mark.parametrize(("generation", "lines"), [(2, ["K"]), (3, ["camcmd k", "K"])])
def test_the_stop_sequence_and_its_left_overs(server, client, generation, lines):
    begin(server, client)
    killed = Later(lambda: client.kill(generation))
    assert [server.hear() for _ in lines] == lines
    server.say(b"13 ERR kill\x187 ERR *** killing exposure...\x187 OK a_00003.cbf\x18")
    assert server.hear() == "Version"
    server.say(b"15 OK camcmd k\x1813 ERR kill\x1824 OK Code release:  tvx\x18")  # of the stop sequence, and then ours
    killed.get()
    asked = Later(lambda: client.ask("NImages"))
    server.hear()
    server.say(b"15 OK N images set to: 7\x18")
    assert asked.get().text == "N images set to: 7"
    assert client.wait_finished(0).text == "a_00003.cbf"


def kill_without_end(server, client, state: bytes) -> Later:
    begin(server, client)
    killed = Later(lambda: client.kill(2))
    assert server.hear() == "K"
    server.say(b"13 ERR kill\x18")
    assert server.hear() == "Version"
    server.say(b"24 OK Code release:  tvx\x18")
    assert server.hear() == "CamSetup"
    server.say(b"2 OK Camera state: " + state + b"\x18")
    return killed


def test_an_exposure_whose_end_was_not_told_is_ended_all_the_same(server, client, monkeypatch):
    monkeypatch.setattr("maxdaq_tango.detectors.pilatus.client.KILL_S", 0.1)
    kill_without_end(server, client, b"idle").get()
    assert client.stage is Stage.IDLE
    assert "without a word" in client.wait_finished(0).text


def test_an_exposure_that_cannot_be_stopped_is_told(server, client, monkeypatch):
    monkeypatch.setattr("maxdaq_tango.detectors.pilatus.client.KILL_S", 0.1)
    with pytest.raises(DetectorTimeout, match="still 'exposing'"):
        kill_without_end(server, client, b"exposing").get()
    assert client.stage is Stage.EXPOSING


def test_a_kill_without_exposure_sends_nothing(server, client):
    client.kill(3)
    asked = Later(lambda: client.ask("NImages"))
    assert server.hear() == "NImages"
    server.say(b"15 OK N images set to: 7\x18")
    asked.get()


def test_a_kill_does_not_wait_for_a_request_that_starts_nothing(server, client):
    asked = Later(lambda: client.ask("SetThreshold 6000", timeout_s=100))
    server.hear()
    client.kill(3)
    assert client.asking == "SetThreshold 6000"
    server.say(b"15 OK /tmp/setthreshold.cmd\x18")
    asked.get()


def test_a_start_that_waits_for_its_turn_when_the_kill_comes_is_never_sent(server, client):
    asked = Later(lambda: client.ask("SetThreshold 6000", timeout_s=100))
    server.hear()
    waits, enter = threading.Event(), client._turn.acquire

    class Turn:
        """Tells when somebody waits for it."""

        release = client._turn.release

        def acquire(self, timeout: float) -> bool:
            waits.set()
            return enter(timeout=timeout)

    client._turn = Turn()
    started = Later(lambda: client.start("Exposure a.cbf"))
    assert waits.wait(5)
    client.kill(3)
    server.say(b"15 OK /tmp/setthreshold.cmd\x18")
    asked.get()
    with pytest.raises(DetectorRefused, match="ended before it began"):
        started.get()
    asked = Later(lambda: client.ask("NImages"))
    assert server.hear() == "NImages"
    server.say(b"15 OK N images set to: 7\x18")
    asked.get()


def test_a_kill_waits_for_a_start_that_was_sent_and_ends_what_it_began(server, client):
    started = Later(lambda: client.start("Exposure a.cbf"))
    server.hear()
    killed = Later(lambda: client.kill(2))
    wait_for("the kill", lambda: client._kills == 1)
    server.say(b"15 OK  Starting\x18")
    started.get()
    assert server.hear() == "K"
    server.say(b"13 ERR kill\x187 OK a.cbf\x18")
    assert server.hear() == "Version"
    server.say(b"24 OK Code release:  tvx\x18")
    killed.get()
    assert client.stage is Stage.IDLE


def test_the_kernel_asks_whether_the_computer_still_lives(server, monkeypatch):
    lines, create = [], socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda *given: lines.append(create(*given)) or lines[0])
    client = CamserverClient("127.0.0.1", server.port)
    client.connect()
    try:
        (line,) = lines
        assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        assert [line.getsockopt(socket.IPPROTO_TCP, name) for name in names] == [10, 5, 4]
    finally:
        client.close()


def test_an_end_that_nobody_waits_for_is_no_answer(server, client):
    asked = Later(lambda: client.ask("NImages"))
    server.hear()
    server.say(b"7 OK old.cbf\x1813 ERR kill\x1815 OK N images set to: 7\x18")
    assert asked.get().text == "N images set to: 7"


def test_an_answer_that_does_not_come_ends_the_connection_because_the_next_one_would_be_it(server, client):
    asked = Later(lambda: client.ask("NImages", timeout_s=0.05))
    server.hear()
    with pytest.raises(DetectorTimeout, match=r"no answer within 0\.05 s"):
        asked.get()
    with pytest.raises(DetectorOffline, match="an answer did not come"):
        client.ask("NImages")
    client.connect()
    server.accept()
    asked = Later(lambda: client.ask("ExpTime"))
    server.hear()
    server.say(b"15 OK Exposure time set to: 1.0 sec.\x18")
    assert "Exposure time" in asked.get().text


def test_a_camserver_that_goes_frees_all_who_wait(server, client):
    begin(server, client)
    waits = Later(lambda: client.wait_finished(30))
    kills = Later(lambda: client.kill(3))
    server.hear()
    server.close()
    for later in (waits, kills):
        with pytest.raises(DetectorOffline):
            later.get()
    assert client.why_offline


def test_whoever_speaks_another_language_is_hung_up_on(server, client):
    asked = Later(lambda: client.ask("NImages"))
    server.hear()
    server.say(b"HTTP/1.1 400 Bad Request\x18")
    with pytest.raises(DetectorOffline, match=r"OK\|ERR"):
        asked.get()


def test_closing_frees_who_waits_and_may_be_done_twice(server, client):
    asked = Later(lambda: client.ask("SetThreshold 6000", timeout_s=100))
    server.hear()
    wait_for("the request", lambda: client.asking == "SetThreshold 6000")
    client.close()
    client.close()
    with pytest.raises(DetectorOffline):
        asked.get()


def test_a_second_request_waits_for_the_first_as_long_as_it_was_told(server, client):
    first = Later(lambda: client.ask("SetThreshold 6000", timeout_s=100))
    server.hear()
    with pytest.raises(DetectorTimeout, match="busy"):
        client.ask("CamSetup", patience_s=0.05)
    server.say(b"15 OK /tmp/setthreshold.cmd\x18")
    first.get()


@pytest.mark.parametrize("line", ["ImgPath /a\nK", "HeaderString a\0b"])
def test_a_text_that_would_be_two_requests_is_refused(client, line):
    with pytest.raises(DetectorRefused, match="one line"):
        client.ask(line)


def test_nobody_there_is_offline():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = CamserverClient("127.0.0.1", unused.getsockname()[1])
        with pytest.raises(DetectorOffline, match="refused"):
            client.connect()
