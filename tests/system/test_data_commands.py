"""`receive`, `record`, `replay` and `check` as a person or a script meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest
import zmq

from maxdaq_tango.curve import guard, read_keys
from maxdaq_tango.kernels.compression import compress_bslz4
from maxdaq_tango.model import Encoding, Frame, FrameFormat
from maxdaq_tango.wire import dectris_v2, stins
from maxdaq_tango.wire.capture import CaptureWriter, read_capture

WAIT_S = 60
FORMAT = FrameFormat((16, 12), "uint32", Encoding.BSLZ4)


def pixels(number: int) -> np.ndarray[Any, Any]:
    return np.full(FORMAT.shape, number + 1, "uint32")


def maxdaq(*arguments: str, **how: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "maxdaq_tango.cli.main", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "1000", "PYTHONUNBUFFERED": "1"},
        **how,
    )


def run(*arguments: str) -> tuple[int, str, str]:
    process = maxdaq(*arguments)
    out, err = process.communicate(timeout=WAIT_S)
    return process.returncode, out, err


@pytest.fixture
def push() -> Iterator[zmq.Socket[bytes]]:
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.linger = 0
    socket.sndtimeo = WAIT_S * 1000
    socket.bind("tcp://127.0.0.1:*")
    yield socket
    context.destroy(0)


def endpoint_of(socket: zmq.Socket[bytes]) -> str:
    return socket.getsockopt_string(zmq.LAST_ENDPOINT)


def messages(count: int, *, lost: tuple[int, ...] = (), end: bool = True) -> list[list[Any]]:
    made: list[list[Any]] = [stins.encode_header(100, "", {"exptime": 0.1})]
    for number in range(count):
        frame = Frame(series="", frame_number=number, format=FORMAT, blobs=(compress_bslz4(pixels(number)),))
        made.append(stins.encode_image(101 + number, frame))
    if end:
        made.append(stins.encode_end(101 + count))
    return [made[0], *(m for n, m in enumerate(made[1:]) if n not in lost)]


def test_receive_prints_the_receipt_as_one_json_object(push: zmq.Socket[bytes], tmp_path: Path) -> None:
    output = tmp_path / "a.h5"
    arguments = ["--source", endpoint_of(push), "--format", "stins", "--output", str(output), "--json"]
    process = maxdaq("receive", *arguments)
    for message in messages(5):
        push.send_multipart(message)
    out, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    receipt = json.loads(out)
    wanted = {
        "verdict", "frames_expected", "frames_received", "frames_written", "frames_missing", "frames_duplicate",
        "frames_corrupt", "bytes_received", "seconds", "file", "dataset",
    }  # fmt: skip
    assert wanted <= set(receipt)
    assert receipt["file"] == str(output)
    with h5py.File(output, "r") as file:
        assert np.array_equal(file[receipt["dataset"]][...], [pixels(n) for n in range(5)])


def test_an_incomplete_series_exits_non_zero_and_lists_what_is_missing(push: zmq.Socket[bytes], tmp_path: Path) -> None:
    arguments = ["--source", endpoint_of(push), "--format", "stins", "--output", str(tmp_path / "a.h5"), "--json"]
    process = maxdaq("receive", *arguments, "--grace", "0.2")
    for message in messages(6, lost=(2, 3)):
        push.send_multipart(message)
    out, _ = process.communicate(timeout=WAIT_S)
    receipt = json.loads(out)
    assert process.returncode == 1
    assert (receipt["verdict"], receipt["frames_missing"]) == ("INCOMPLETE", [2, 3])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.lesson(13)
def test_a_signal_ends_the_series_with_a_readable_file(
    push: zmq.Socket[bytes], tmp_path: Path, number: signal.Signals
) -> None:
    output = tmp_path / "a.h5"
    how = ["--format", "stins", "--output", str(output), "--backend", "swmr", "--json"]
    process = maxdaq("receive", "--source", endpoint_of(push), *how)
    for message in messages(3, end=False):
        push.send_multipart(message)
    wait_for_frames(tmp_path / ".a.h5.part")
    process.send_signal(number)
    out, _ = process.communicate(timeout=WAIT_S)
    receipt = json.loads(out)
    assert process.returncode == 128 + number
    assert (receipt["verdict"], receipt["frames_written"]) == ("ABORTED", 3)
    assert run("check", str(output))[0] == 0


def test_an_encrypted_replay_is_taken_with_its_key_and_with_no_other(tmp_path: Path) -> None:
    capture = tmp_path / "a.cborseq.gz"
    with CaptureWriter(capture) as writer:
        for message in messages(3):
            writer.write(message)
    keys = {name: json.loads(run("keys", str(tmp_path / f"{name}.key"), "--json")[1])["public"] for name in "ab"}
    files = {name: str(tmp_path / f"{name}.key") for name in keys}
    how = ["--format", "stins", "--output", str(tmp_path / "a.h5"), "--json"]
    player = maxdaq("replay", str(capture), "--bind", "tcp://127.0.0.1:*", "--curve-key", files["a"])
    assert player.stdout is not None
    endpoint = player.stdout.readline().split()[-1]
    source = ["--source", endpoint]
    try:
        status, out, _ = run("receive", *source, *how, "--curve-server-key", keys["b"], "--start-timeout", "1.5")
        assert status == 1
        assert "with other keys (CURVE) than ours, or with none" in str(json.loads(out)["reasons"])
        status, _, err = run("record", *source, "--output", str(tmp_path / "b.gz"), "--curve-key", files["b"])
        assert status == 2
        assert "the public key of the sender is not given" in err
        status, out, err = run("receive", *source, *how, "--curve-server-key", keys["a"], "--curve-key", files["b"])
        assert status == 0, err
        assert json.loads(out)["frames_written"] == 3
        for name in files:
            secret = read_keys(files[name]).secret.decode()
            assert secret not in out + err
        player.communicate(timeout=WAIT_S)
        assert player.returncode == 0
    finally:
        player.kill()
        player.communicate()
    assert not (tmp_path / "b.gz").exists()


def test_an_encrypted_stream_can_be_recorded(tmp_path: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    key = json.loads(run("keys", str(tmp_path / "a.key"), "--json")[1])["public"]
    socket = context.socket(zmq.PUSH)
    try:
        guard(context, socket, str(tmp_path / "a.key"))
        socket.bind("tcp://127.0.0.1:*")
        output = tmp_path / "a.cborseq.gz"
        process = maxdaq("record", "--source", endpoint_of(socket), "--output", str(output), "--curve-server-key", key)
        for message in messages(2):
            socket.send_multipart(message)
        process.communicate(timeout=WAIT_S)
        assert process.returncode == 0
        assert len(list(read_capture(output))) == 4
    finally:
        context.destroy(0)


def test_a_simulator_with_a_key_file_that_others_can_read_does_not_start(tmp_path: Path) -> None:
    run("keys", str(tmp_path / "a.key"))
    (tmp_path / "a.key").chmod(0o644)
    status, _, err = run("simulate", "stins", "--curve-key", str(tmp_path / "a.key"))
    assert status == 2
    assert "others may read or change it: mode 644. Accepted: chmod 600" in err


def test_several_series_in_a_row_have_a_file_and_a_receipt_each(push: zmq.Socket[bytes], tmp_path: Path) -> None:
    how = ["--format", "stins", "--output", str(tmp_path / "a.h5"), "--series-count", "2", "--sockets", "1", "--json"]
    process = maxdaq("receive", "--source", endpoint_of(push), *how)
    for message in messages(3) + messages(4):
        push.send_multipart(message)
    out, _ = process.communicate(timeout=WAIT_S)
    told = json.loads(out)["receipts"]
    assert process.returncode == 0
    assert [(r["verdict"], r["frames_written"], Path(r["file"]).name) for r in told] == [
        ("COMPLETE", 3, "a.h5"),
        ("COMPLETE", 4, "a_2.h5"),
    ]
    assert run("check", *(r["file"] for r in told))[0] == 0


def test_series_until_ctrl_c_which_is_the_good_end_of_it(push: zmq.Socket[bytes], tmp_path: Path) -> None:
    how = ["--format", "stins", "--output", str(tmp_path / "a.h5"), "--series-count", "0", "--json"]
    process = maxdaq("receive", "--source", endpoint_of(push), *how)
    for message in messages(3) + messages(2):
        push.send_multipart(message)
    pause = threading.Event()
    for _ in range(500):
        if (tmp_path / "a_2.h5").exists():
            break
        pause.wait(0.02)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=WAIT_S)
    assert [r["frames_written"] for r in json.loads(out)["receipts"]] == [3, 2]
    assert process.returncode == 0
    assert sorted(path.name for path in tmp_path.glob("*.h5")) == ["a.h5", "a_2.h5"]


def wait_for_frames(part: Path) -> None:
    """Until the SWMR file shows the third frame: flushed a second after it came at the latest."""
    pause = threading.Event()
    for _ in range(500):
        try:
            with h5py.File(part, "r", swmr=True, locking=False) as file:
                if file["/entry/instrument/detector/daq/frame_valid"][2]:
                    return
        except (OSError, KeyError, IndexError, ValueError):
            pass
        pause.wait(0.02)
    raise AssertionError(f"no frames in {part}")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--source", "nonsense", "--format", "stins"], "nonsense"),
        (["--source", "tcp://127.0.0.1:1", "--format", "stins", "--start-timeout", "0.3"], "no start message"),
        (["--source", "tcp://127.0.0.1:1", "--format", "stins", "--output", "{folder}/taken.h5"], "the file exists"),
        (["--source", "tcp://127.0.0.1:1", "--format", "stins", "--output", "{folder}/a.txt"], "unknown suffix"),
        (["--source", "tcp://127.0.0.1:1", "--format", "polaroid"], "polaroid"),
        (["--format", "stins"], "--source"),
    ],
)
def test_what_cannot_work_is_one_clear_error(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    (tmp_path / "taken.h5").write_text("precious")
    status, out, err = run("receive", *(a.format(folder=tmp_path) for a in arguments))
    assert status != 0
    assert complaint in out + err
    assert "Traceback" not in err
    assert (tmp_path / "taken.h5").read_text() == "precious"


def test_a_stream_may_name_its_file_under_the_given_folder(push: zmq.Socket[bytes], tmp_path: Path) -> None:
    wanted = tmp_path / "scan-1_eiger.h5"
    process = maxdaq(
        "receive", "--source", endpoint_of(push), "--format", "stins", "--from-stream", str(tmp_path), "--json"
    )
    push.send_multipart(stins.encode_header(100, str(wanted), {}))
    for message in messages(2)[1:]:
        push.send_multipart(message)
    out, err = process.communicate(timeout=WAIT_S)
    assert json.loads(out)["file"] == str(wanted), err


def test_a_stream_is_recorded_and_replayed_message_by_message(push: zmq.Socket[bytes], tmp_path: Path) -> None:
    capture = tmp_path / "a.cborseq.gz"
    process = maxdaq("record", "--source", endpoint_of(push), "--output", str(capture), "--json")
    sent = messages(4)
    for message in sent:
        push.send_multipart(message)
    out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, err
    assert json.loads(out)["messages"] == len(sent)
    assert list(read_capture(capture)) == [[bytes(part) for part in message] for message in sent]
    status, receipt = replay_into_receive(capture, "stins", tmp_path / "a.h5")
    assert (status, receipt["frames_written"]) == (0, 4)


def test_recording_over_an_existing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_text("precious")
    status, _, err = run("record", "--source", "tcp://127.0.0.1:1", "--output", str(tmp_path / "a.gz"))
    assert status == 1
    assert "new name" in err
    assert (tmp_path / "a.gz").read_text() == "precious"


def test_a_recording_of_nothing_leaves_no_file_in_the_way(tmp_path: Path) -> None:
    capture = tmp_path / "a.cborseq.gz"
    arguments = ("--source", "tcp://127.0.0.1:1", "--output", str(capture), "--timeout", "0.2")
    for _ in range(2):
        status, out, _ = run("record", *arguments)
        assert (status, capture.exists()) == (1, False)
        assert "no file is left" in out


def replay_into_receive(
    capture: Path, format: str, output: Path, *replay: str, receive: tuple[str, ...] = ()
) -> tuple[int, dict[str, Any]]:
    player = maxdaq("replay", str(capture), "--bind", "tcp://127.0.0.1:0", "--linger", "5", *replay)
    try:
        assert player.stdout is not None
        endpoint = player.stdout.readline().split()[-1]
        arguments = ("--source", endpoint, "--format", format, "--output", str(output), "--json")
        status, out, err = run("receive", *arguments, *receive)
        player.communicate(timeout=WAIT_S)
        assert out, err
    finally:
        player.kill()
        player.wait()
    return status, json.loads(out)


def test_a_v2_capture_is_looped_and_ended(tmp_path: Path) -> None:
    capture = tmp_path / "a.cborseq.gz"
    with CaptureWriter(capture) as writer:
        writer.write(dectris_v2.encode_start(5, "01ABC", {"number_of_images": 6}))
        for number in range(2):
            channels = {"threshold_1": (FORMAT, compress_bslz4(pixels(number)))}
            times = {"start_time": (0, 1), "stop_time": (1, 1), "real_time": (1, 1)}
            writer.write(dectris_v2.encode_image(5, "01ABC", number, channels, series_date="", **times))
    status, receipt = replay_into_receive(capture, "dectris-v2", tmp_path / "a.h5", "--loop-frames", "6", "--end")
    assert (status, receipt["frames_written"], receipt["end_message_seen"]) == (0, 6, True)


def test_a_replay_keeps_the_rate_it_was_asked_for(tmp_path: Path) -> None:
    capture = tmp_path / "a.cborseq.gz"
    with CaptureWriter(capture) as writer:
        for message in messages(10):
            writer.write(message)
    _, receipt = replay_into_receive(capture, "stins", tmp_path / "a.h5", "--rate", "50")
    assert receipt["seconds"] >= 0.1  # nine distances of 20 ms, less the delay of the first frame; without a rate: 0.00


@pytest.mark.parametrize("content", [b"", b"not a capture"])
def test_replaying_something_else_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.gz").write_bytes(content)
    status, _, err = run("replay", str(tmp_path / "a.gz"), "--bind", "tcp://127.0.0.1:0")
    assert status == 1
    assert "a.gz" in err
    assert "Traceback" not in err


def test_a_replay_on_a_port_that_is_taken_says_so(push: zmq.Socket[bytes], tmp_path: Path) -> None:
    capture = tmp_path / "a.cborseq.gz"
    with CaptureWriter(capture) as writer:
        writer.write(messages(1)[0])
    status, _, err = run("replay", str(capture), "--bind", endpoint_of(push))
    assert status == 2
    assert "Address already in use" in err


def test_check_finds_a_changed_file(push: zmq.Socket[bytes], tmp_path: Path) -> None:
    output = tmp_path / "a.h5"
    process = maxdaq("receive", "--source", endpoint_of(push), "--format", "stins", "--output", str(output))
    for message in messages(3):
        push.send_multipart(message)
    process.communicate(timeout=WAIT_S)
    status, out, _ = run("check", "--json", str(output))
    assert status == 0
    assert json.loads(out)["ok"] is True
    with h5py.File(output, "r+") as file:
        data = file["/entry/instrument/detector/data"]
        data.id.write_direct_chunk((1, 0, 0), compress_bslz4(pixels(77)), 0)
    status, out, err = run("check", "--json", str(output))
    assert status == 1
    assert "checksum" in json.loads(out)["files"][0]["problems"][0]
    assert "row 1" in err


def test_check_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    status, out, _ = run("check", str(tmp_path / "none.h5"))
    assert status == 1
    assert "cannot be opened" in out


def test_a_replay_that_was_not_taken_says_so(tmp_path: Path) -> None:
    capture = tmp_path / "a.cborseq.gz"
    with CaptureWriter(capture) as writer:
        for message in [stins.encode_header(0, "", {}), *(  # more than a receiver that reads nothing can hold
            stins.encode_image(
                1 + number,
                Frame(
                    series="",
                    frame_number=number,
                    format=FrameFormat((1024, 1024), "uint32", Encoding.NONE),
                    blobs=(bytes(4 << 20),),
                ),
            )
            for number in range(8)
        )]:  # fmt: skip
            writer.write(message)
    process = maxdaq("replay", str(capture), "--bind", "tcp://127.0.0.1:0", "--linger", "0.5")
    assert process.stdout is not None
    endpoint = process.stdout.readline().split()[-1]
    context = zmq.Context()
    try:
        idle = context.socket(zmq.PULL)
        idle.set_hwm(1)
        idle.rcvbuf = 4096
        idle.connect(endpoint)
        out, _ = process.communicate(timeout=WAIT_S)
    finally:
        context.destroy(0)
    assert process.returncode == 1
    assert "had not taken all of them after 0.5 s" in out
