"""`receive --spill` and `recover` of a spill directory, as a person or a script meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import zmq

from maxdaq_tango.files import check_file
from receiving import Sender, pixels
from spilled_series import AWAY, spilled

WAIT_S = 60


def maxdaq(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "maxdaq_tango.cli.main", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "1000"},
    )


def wait(what: Callable[[], object]) -> None:
    pause = threading.Event()
    for _ in range(WAIT_S * 100):
        if what():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come")


def writer_of(pid: int) -> int:
    """The process that writes at the destination."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
            parent = int(path.with_name("stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == pid and b"writer 1" in words:
            return int(path.parent.name)
    raise AssertionError(f"process {pid} has no writer")


def test_receive_moves_home_what_it_has_spilled(tmp_path: Path) -> None:
    home, spill = tmp_path / "home", tmp_path / "spill"
    home.mkdir()
    spill.mkdir()
    with zmq.Context() as context:
        sender = Sender(context)
        how = ["--format", "stins", "--output", str(home / "a.h5"), "--spill", str(spill), "--frames-per-file", "4"]
        process = maxdaq(
            "receive", "--source", sender.endpoint, *how, "--frames", "20", "--compression", "none", "--json"
        )
        sender.header()
        for number in range(4):
            sender.image(number)
        wait((home / ".a_data_000001.h5.part").exists)
        writer = writer_of(process.pid)
        os.kill(writer, signal.SIGSTOP)
        try:
            sender.image(4)
            threading.Event().wait(1.5)  # a stall is one that lasts
            for number in range(5, 19):
                sender.image(number)
            wait(lambda: list(spill.glob("*/.a_data_000005.h5.part")))
        finally:
            os.kill(writer, signal.SIGCONT)
        sender.image(19)
        sender.end()
        out, err = process.communicate(timeout=WAIT_S)
        sender.socket.close()
    receipt = json.loads(out)
    assert (process.returncode, receipt["verdict"]) == (0, "COMPLETE")
    assert len(receipt["data_files_spilled"]) == 3
    assert "moving 3 data files home from" in err
    assert f"{home}/a.h5 is complete" in err
    with h5py.File(receipt["file"]) as file:
        assert np.array_equal(file[receipt["dataset"]], [pixels(number) for number in range(20)])
    assert check_file(receipt["file"]).problems == []
    assert os.listdir(spill) == []


def test_a_spill_directory_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    how = ["--format", "stins", "--output", str(tmp_path / "a.h5"), "--spill", str(tmp_path / "no")]
    process = maxdaq("receive", "--source", "tcp://127.0.0.1:1", *how)
    _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode not in (0, None)
    assert f"use the spill directory '{tmp_path}/no': there is no such folder" in err
    assert os.listdir(tmp_path) == []


def test_recover_moves_what_is_in_a_spill_directory_and_says_what_it_could_not(tmp_path: Path) -> None:
    home, spill = tmp_path / "home", tmp_path / "spill"
    home.mkdir()
    spill.mkdir()
    spilled(home, spill)
    (home / "a_data_000002.h5").write_bytes(b"somebody else's")
    process = maxdaq("recover", str(spill), "--json")
    out, err = process.communicate(timeout=WAIT_S)
    told = json.loads(out)
    assert (process.returncode, told["ok"]) == (1, False)
    assert told["moved"][0]["left"] == len(AWAY)
    assert "another file has that name, and is not replaced" in err
    (home / "a_data_000002.h5").unlink()
    process = maxdaq("recover", str(spill), "--json")
    out, _ = process.communicate(timeout=WAIT_S)
    told = json.loads(out)
    assert (process.returncode, told["ok"], told["files"]) == (0, True, [])
    assert (told["moved"][0]["master"], told["moved"][0]["moved"]) == (str(home / "a.h5"), len(AWAY))
    assert check_file(home / "a.h5").problems == []
    assert os.listdir(spill) == []
