"""The control of a streamer and a driver's line to it, over real HTTP."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator

import msgspec
import pytest

from maxdaq_tango.detectors.serving.listener import HttpListener
from maxdaq_tango.detectors.serving.messages import Reply
from maxdaq_tango.detectors.streaming.control import PREFIX, Command, StreamerControl
from maxdaq_tango.detectors.streaming.link import StreamerLink
from maxdaq_tango.errors import DetectorOffline, DetectorRefused, DetectorTimeout, MaxdaqError


class Exposure(msgspec.Struct, forbid_unknown_fields=True):
    seconds: float
    frames: int = 1


class Status(msgspec.Struct):
    state: str
    exposure: Exposure


class Camera:
    """What a streamer would be."""

    def __init__(self) -> None:
        self.exposure = Exposure(0.1)
        self.armed, self.stopped = threading.Event(), threading.Event()

    def configure(self, exposure: Exposure) -> Exposure:
        if exposure.seconds > 10:
            raise DetectorRefused(
                f"expose for {exposure.seconds:g} s", of="the camera", answer="out of range", accepted="up to 10 s"
            )
        self.exposure = exposure
        return exposure

    def arm(self) -> bool:
        self.armed.set()
        return self.stopped.wait(20)

    def stop(self) -> None:
        self.stopped.set()

    def status(self) -> Status:
        return Status("IDLE", self.exposure)

    def unplugged(self) -> None:
        raise DetectorOffline("read the temperature", of="the camera", answer="no camera")

    def slow(self) -> None:
        raise DetectorTimeout("cool down", of="the camera", answer="still 20 C")

    def broken(self) -> None:
        raise ZeroDivisionError("in the vendor's library")


@pytest.fixture
def camera() -> Camera:
    return Camera()


@pytest.fixture
def link(camera: Camera) -> Iterator[StreamerLink]:
    commands = {
        "configure": Command(camera.configure, Exposure),
        "arm": Command(camera.arm),
        "stop": Command(camera.stop),
        "status": Command(camera.status, reads=True),
        "unplugged": Command(camera.unplugged),
        "slow": Command(camera.slow),
        "broken": Command(camera.broken),
    }
    with StreamerControl("127.0.0.1", 0, commands) as control:
        link = StreamerLink("127.0.0.1", control.port)
        yield link
        camera.stop()
        link.close()


def test_a_command_takes_typed_arguments_and_answers_a_typed_value(link: StreamerLink) -> None:
    assert link.call("configure", Exposure, Exposure(2.5, 3)) == Exposure(2.5, 3)
    assert link.call("status", Status) == Status("IDLE", Exposure(2.5, 3))
    assert link.call("stop", type(None)) is None


def test_a_stop_passes_while_an_arm_lasts(link: StreamerLink, camera: Camera) -> None:
    answers: list[bool] = []
    arming = threading.Thread(target=lambda: answers.append(link.call("arm", bool, timeout_s=30)), name="arming")
    arming.start()
    assert camera.armed.wait(10)
    link.call("stop", type(None))
    arming.join(10)
    assert answers == [True]


def test_a_refusal_arrives_with_all_its_parts(link: StreamerLink) -> None:
    with pytest.raises(DetectorRefused) as caught:
        link.call("configure", Exposure, Exposure(11))
    assert str(caught.value) == "expose for 11 s (of the camera): out of range. Accepted: up to 10 s"


@pytest.mark.parametrize(
    ("command", "kind", "told"),
    [
        ("unplugged", DetectorOffline, "no camera"),
        ("slow", DetectorTimeout, "still 20 C"),
        ("broken", DetectorRefused, "please report it.*vendor's library"),
        ("fire", DetectorRefused, f"serve {PREFIX}fire.*Accepted: .*GET {PREFIX}status"),
    ],
)
def test_what_goes_wrong_keeps_its_kind(link: StreamerLink, command: str, kind: type[MaxdaqError], told: str) -> None:
    with pytest.raises(kind, match=told):
        link.call(command, type(None))
    assert link.call("status", Status).state == "IDLE"  # and the control goes on


def test_arguments_that_do_not_fit_are_refused_with_what_does(link: StreamerLink) -> None:
    class Wrong(msgspec.Struct):
        seconds: str

    with pytest.raises(DetectorRefused, match=r"float.*Accepted: a JSON object with seconds, frames"):
        link.call("configure", Exposure, Wrong("long"))


def test_a_person_can_look_with_a_browser_and_change_nothing_with_it(link: StreamerLink) -> None:
    with urllib.request.urlopen(f"{link.url}{PREFIX}status", timeout=5) as answer:
        assert json.load(answer)["state"] == "IDLE"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{link.url}{PREFIX}stop", timeout=5)
    with caught.value as answer:
        assert json.load(answer)["accepted"] == "POST"


def test_nobody_at_the_address_is_offline() -> None:
    with StreamerControl("127.0.0.1", 0, {}) as control:
        port = control.port
    link = StreamerLink("127.0.0.1", port)
    with pytest.raises(DetectorOffline, match=rf"status \(of http://127.0.0.1:{port}\)"):
        link.call("status", Status)
    link.close()


def test_no_answer_in_time_is_a_timeout(link: StreamerLink) -> None:
    with pytest.raises(DetectorTimeout, match=r"arm .*no answer in 0.2 s"):
        link.call("arm", bool, timeout_s=0.2)


def test_somebody_else_at_the_address_is_no_streamer() -> None:
    listener = HttpListener("127.0.0.1", 0, lambda request: Reply(body=b"<html>", content_type="text/html"))
    listener.start()
    link = StreamerLink("127.0.0.1", listener.port)
    try:
        with pytest.raises(DetectorRefused, match=r"<html>.*Accepted: a streamer of ours"):
            link.call("status", Status)
    finally:
        link.close()
        listener.close()


def test_a_line_that_was_closed_can_be_used_again(link: StreamerLink) -> None:
    link.call("status", Status)
    link.close()
    link.close()
    assert link.call("status", Status).state == "IDLE"
