"""An engine whose owner is gone ends by itself and closes its file, however the line between them broke."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine_owner import WAIT_S, Owner
from maxdaq_tango.engine.counters import CountersMemory, create_counters_file
from maxdaq_tango.engine.preview_memory import create_preview_file
from maxdaq_tango.engine.protocol import Ask, Verb
from maxdaq_tango.files import check_file
from maxdaq_tango.pipeline.blackbox import create_blackbox_file


class Line:
    """An engine at the other end of a socket pair, as its owner has it, and nobody who reads."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        handles = (theirs.fileno(), create_counters_file(), create_blackbox_file(), create_preview_file())
        words = ("--control-fd", "--counters-fd", "--blackbox-fd", "--preview-fd")
        options = [text for word, handle in zip(words, handles, strict=True) for text in (word, str(handle))]
        command = [sys.executable, "-m", "maxdaq_tango.engine", *options]
        self.process = subprocess.Popen(command, pass_fds=handles, stdin=subprocess.DEVNULL)
        theirs.close()
        self.counters = CountersMemory(handles[1])
        for handle in handles[1:]:
            os.close(handle)
        self.socket.settimeout(WAIT_S)

    def ask(self, verb: Verb, arguments: object = None) -> None:
        ask = Ask(id=1, verb=verb, arguments=msgspec.to_builtins(arguments or {}))
        self.socket.sendall(msgspec.json.encode(ask) + b"\n")

    def wait_received(self, count: int) -> None:
        pause = threading.Event()
        for _ in range(int(WAIT_S * 100)):
            if self.counters.read().frames_received >= count:
                return
            pause.wait(0.01)
        raise AssertionError(self.counters.read())


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    """Its sender, and the words of a request; its own engine is not started."""
    owner = Owner(tmp_path)
    yield owner
    owner.engine.close()
    owner.context.destroy(0)


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.socket.close()
    line.process.kill()
    line.process.wait()


def leave_unread(line: Line) -> None:
    """What an owner has not read makes its death a reset of the connection, and no end of it."""
    assert line.socket.recv(1, socket.MSG_PEEK)


def leave_half_a_line(line: Line) -> None:
    line.socket.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while line.socket.recv(1 << 16):
            pass
    line.socket.sendall(b'{"id":2,"ver')


def leave_nonsense(line: Line) -> None:
    line.socket.sendall(b"nonsense\n")


@pytest.mark.parametrize("leave", [leave_unread, leave_half_a_line, leave_nonsense])
def test_it_ends_and_its_file_is_closed(owner: Owner, line: Line, leave: object, tmp_path: Path) -> None:
    line.ask(Verb.PREPARE, owner.request(expected_frames=100))
    line.socket.recv(1, socket.MSG_PEEK)  # what is sent before the answer would be of the series before
    owner.send(count=5, end=False)
    line.wait_received(5)
    leave(line)  # type: ignore[operator]
    line.socket.close()
    line.process.wait(WAIT_S)
    checked = check_file(tmp_path / "a.h5")
    assert checked.problems == []
    assert checked.frames_valid == 5
    assert not list(tmp_path.glob(".*"))
