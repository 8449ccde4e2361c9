"""The streamer: files in, messages out, and what goes wrong in between. Real folders, real sockets."""

from __future__ import annotations

import os
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from maxdaq_tango.detectors.pilatus.delivered_files import DOUBT_S, HELD_BACK_BYTES, DeliveredFiles
from maxdaq_tango.detectors.pilatus.image_files import frame_of
from maxdaq_tango.detectors.pilatus.image_reading import read_image
from maxdaq_tango.detectors.pilatus.simulator_files import image_file
from maxdaq_tango.detectors.pilatus.streamer import PilatusStreamer
from maxdaq_tango.detectors.pilatus.streamer_words import SeriesWish
from maxdaq_tango.detectors.simulation.delivery import Damage
from maxdaq_tango.errors import ConfigurationError, DetectorRefused, WireError
from maxdaq_tango.kernels.compression import decode_pixels
from maxdaq_tango.model import DamagedFrame, Frame, SeriesEnd, SeriesStart
from maxdaq_tango.testing.driver_contract import wait_for
from maxdaq_tango.wire.stins import StinsDecoder

ROWS, COLUMNS = 24, 32


def pixels(number: int) -> np.ndarray:
    return np.arange(ROWS * COLUMNS, dtype=np.int32).reshape(ROWS, COLUMNS) + 1000 * number


class Camserver:
    """Puts images into a folder, as camserver does."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._unfinished = folder, folder.parent / "unfinished"
        folder.mkdir()
        self._unfinished.mkdir()

    def put(self, name: str, number: int = 0, damage: Damage = Damage.NONE) -> Path:
        self.put_bytes(name, image_file(pixels(number), name[name.rindex(".") :], "# Detector: test", damage))
        return self.folder / name

    def put_bytes(self, name: str, data: bytes) -> None:
        (self._unfinished / name).write_bytes(data)
        os.replace(self._unfinished / name, self.folder / name)


class Taker:
    """A receiver of one test."""

    def __init__(self, port: int) -> None:
        self._context: zmq.Context = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.connect(f"tcp://127.0.0.1:{port}")

    def take(self, timeout_s: float = 5.0) -> Any:
        assert self._socket.poll(int(timeout_s * 1000)), "no message came"
        try:
            return StinsDecoder().decode(self._socket.recv_multipart())
        except DamagedFrame as damaged:
            return damaged

    def series(self) -> tuple[SeriesStart, list[Any], SeriesEnd]:
        start, taken = self.take(), []
        assert isinstance(start, SeriesStart)
        while not isinstance(event := self.take(), SeriesEnd):
            taken.append(event)
        return start, taken, event

    def close(self) -> None:
        self._context.destroy(linger=0)


@pytest.fixture
def camserver(tmp_path) -> Camserver:
    return Camserver(tmp_path / "images")


@pytest.fixture
def streamer(camserver, request) -> Iterator[PilatusStreamer]:
    with PilatusStreamer(str(camserver.folder), **getattr(request, "param", {})) as streamer:
        yield streamer


@pytest.fixture
def taker(streamer) -> Iterator[Taker]:
    taker = Taker(streamer.stream_port)
    yield taker
    taker.close()


deleting = pytest.mark.parametrize("streamer", [{"delete": True}], indirect=True)


@pytest.mark.parametrize("extension", [".cbf", ".tif"])
def test_a_series_of_files_becomes_a_series_of_messages(camserver, streamer, taker, extension):
    streamer.begin(
        SeriesWish(base="a", extension=extension, frames=3, filename="/data/x.h5", metadata={"energy": 9000})
    )
    for number in range(3):
        camserver.put(f"a_0000{number}{extension}", number)
    start, frames, end = taker.series()
    assert (start.filename, start.metadata["energy"]) == ("/data/x.h5", 9000)
    assert [frame.frame_number for frame in frames] == [0, 1, 2]
    assert [frame.msg_number for frame in frames] == [start.msg_number + 1 + n for n in range(3)]
    assert end.msg_number == start.msg_number + 4
    for number, frame in enumerate(frames):
        assert (frame.format.shape, frame.format.dtype) == ((ROWS, COLUMNS), "int32")
        np.testing.assert_array_equal(decode_pixels(frame.format, frame.blobs), pixels(number))
    wait_for("the end", lambda: not streamer.status().is_open)
    assert len(list(camserver.folder.iterdir())) == 3  # nobody told it to delete


def test_a_file_that_never_comes_is_a_gap_in_both_numbers(camserver, streamer, taker):
    streamer.begin(SeriesWish(base="a", frames=4))
    for number in (3, 0, 2):
        camserver.put(f"a_0000{number}.cbf", number)
    wait_for("all files", lambda: streamer.status().files_seen == 3)
    assert streamer.status().is_open
    streamer.finish()
    start, frames, end = taker.series()
    assert sorted(frame.frame_number for frame in frames) == [0, 2, 3]
    assert all(frame.msg_number - frame.frame_number == start.msg_number + 1 for frame in frames)
    assert end.msg_number == start.msg_number + 5


def test_message_numbers_go_on_from_series_to_series(camserver, streamer, taker):
    numbers = []
    for base in "ab":
        streamer.begin(SeriesWish(base=base, frames=2))
        for number in range(2):
            camserver.put(f"{base}_0000{number}.cbf")
        start, frames, end = taker.series()
        numbers += [start.msg_number, *(frame.msg_number for frame in frames), end.msg_number]
    assert numbers == list(range(numbers[0], numbers[0] + 8))


def test_a_file_that_comes_twice_is_sent_twice(camserver, streamer, taker):
    streamer.begin(SeriesWish(base="a", frames=2))
    camserver.put("a_00000.cbf", 0)
    wait_for("the first", lambda: streamer.status().frames_sent == 1)
    camserver.put("a_00000.cbf", 7)
    wait_for("the second", lambda: streamer.status().frames_sent == 2)
    camserver.put("a_00001.cbf", 1)
    _, frames, _ = taker.series()
    assert [frame.frame_number for frame in frames] == [0, 0, 1]
    np.testing.assert_array_equal(decode_pixels(frames[1].format, frames[1].blobs), pixels(7))


@pytest.mark.parametrize(
    "name", ["b_00000.cbf", "a_00000.tif", "a_00002.cbf", "a_x.cbf", "a_0.cbf.part", "other_a_00000.cbf"]
)
def test_files_that_belong_to_no_frame_are_counted_and_left_alone(camserver, streamer, taker, name):
    streamer.begin(SeriesWish(base="a", frames=2))
    camserver.put_bytes(name, b"whatever")
    wait_for("the stranger", lambda: streamer.status().strangers == 1)
    streamer.finish()
    _, frames, _ = taker.series()
    assert frames == []
    assert (camserver.folder / name).exists()


def test_files_that_lay_there_before_the_end_was_told_are_sent_even_if_no_event_came(camserver, streamer, taker):
    camserver.put("a_00001.cbf", 1)  # before the series was told, as after an overflow of events
    wait_for("the stranger", lambda: streamer.status().strangers == 1)
    streamer.begin(SeriesWish(base="a", frames=3))
    camserver.put("a_00000.cbf", 0)
    streamer.finish()
    _, frames, _ = taker.series()
    assert sorted(frame.frame_number for frame in frames) == [0, 1]


# --- damaged files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", [".cbf", ".tif"])
def test_a_truncated_file_is_sent_under_its_number_for_the_receiver_to_count(camserver, streamer, taker, extension):
    streamer.begin(SeriesWish(base="a", extension=extension, frames=2))
    camserver.put(f"a_00000{extension}", 0)
    camserver.put(f"a_00001{extension}", 1, Damage.TRUNCATED)
    _, frames, _ = taker.series()
    damaged = frames[1]
    assert (damaged.frame if isinstance(damaged, DamagedFrame) else damaged).frame_number == 1
    if isinstance(damaged, Frame):
        with pytest.raises(WireError):
            decode_pixels(damaged.format, damaged.blobs)


@pytest.mark.parametrize("data", [b"", b"not an image", b"###CBF: VERSION 1.5\r\n"])
def test_a_file_whose_shape_cannot_be_read_is_lost_with_a_reason_and_the_rest_comes(camserver, streamer, taker, data):
    streamer.begin(SeriesWish(base="a", frames=2))
    camserver.put_bytes("a_00000.cbf", data)
    wait_for("the trouble", lambda: streamer.status().frames_lost == 1)
    assert streamer.status().last_trouble.startswith("a_00000.cbf: ")
    camserver.put("a_00001.cbf", 1)
    _, frames, _ = taker.series()
    assert [frame.frame_number for frame in frames] == [1]


def test_a_file_that_cannot_be_read_is_lost_with_a_reason(camserver, streamer, taker):
    streamer.begin(SeriesWish(base="a", frames=2))
    os.symlink(camserver.folder / "nowhere", camserver.folder.parent / "link")
    os.replace(camserver.folder.parent / "link", camserver.folder / "a_00000.cbf")
    wait_for("the trouble", lambda: streamer.status().frames_lost == 1)
    assert "No such file" in streamer.status().last_trouble
    camserver.put("a_00001.cbf", 1)
    assert [frame.frame_number for frame in taker.series()[1]] == [1]


@pytest.mark.parametrize("cut", [4, 100, 4000])
def test_a_tiff_whose_header_is_cut_is_refused_unless_the_shape_is_known(cut):
    data = image_file(pixels(0), ".tif", "")[:cut]
    if cut < 200:
        with pytest.raises(WireError):
            frame_of(data, ".tif", 0, ())
        assert frame_of(data, ".tif", 0, (ROWS, COLUMNS)).format.shape == (ROWS, COLUMNS)
    else:
        assert frame_of(data, ".tif", 0, ()).blobs == (b"",)


@pytest.mark.parametrize(
    "data", [b"MM\0*" + bytes(100), b"II*\0\xff\xff\xff\xff", bytes(5000), b"II*\0\x08\0\0\0\xff\xff"]
)
def test_tiffs_that_are_not_camservers_are_refused(data):
    with pytest.raises(WireError):
        frame_of(data, ".tif", 0, ())


# --- ending -----------------------------------------------------------------------------------------------------------


def test_neither_begin_nor_finish_nor_abort_waits_for_a_receiver_that_is_not_there(camserver, streamer):
    for ending in (streamer.finish, streamer.abort):
        streamer.begin(SeriesWish(base="a", frames=500))
        for number in range(3):
            camserver.put(f"a_{number:05d}.cbf", number)
        wait_for("the files", lambda: streamer.status().files_seen == 3)
        ending()
        assert streamer.status().is_open  # nobody takes the header
    wait_for("the abort to be over", lambda: not streamer.status().is_open)


def test_what_waits_is_given_up_by_an_abort_and_sent_after_a_finish(camserver, streamer):
    streamer.begin(SeriesWish(base="a", frames=500))
    for number in range(3):
        camserver.put(f"a_{number:05d}.cbf", number)
    wait_for("the files", lambda: streamer.status().files_seen == 3)
    streamer.finish()
    taker = Taker(streamer.stream_port)
    try:
        assert len(taker.series()[1]) == 3
        streamer.begin(SeriesWish(base="b", frames=500))
        taker.take()
        streamer.abort()
        assert isinstance(taker.take(), SeriesEnd)
    finally:
        taker.close()


def test_a_new_series_ends_the_one_that_was_left_open(camserver, streamer, taker):
    streamer.begin(SeriesWish(base="a", frames=5))
    assert isinstance(taker.take(), SeriesStart)
    streamer.begin(SeriesWish(base="b", frames=1))
    assert isinstance(taker.take(), SeriesEnd)
    camserver.put("b_00000.cbf")
    assert len(taker.series()[1]) == 1


def test_endings_without_a_series_are_harmless(streamer):
    assert not streamer.finish().is_open
    assert not streamer.abort().is_open


def test_it_ends_while_a_receiver_is_missing(camserver):
    with PilatusStreamer(str(camserver.folder)) as streamer:
        streamer.begin(SeriesWish(base="a", frames=5))
        camserver.put("a_00000.cbf")
    streamer.close()
    assert (camserver.folder / "a_00000.cbf").exists()


# --- deleting ---------------------------------------------------------------------------------------------------------


@deleting
def test_files_are_deleted_once_they_have_left_and_others_never(camserver, streamer, taker):
    camserver.put("mine_00000.cbf")
    streamer.begin(SeriesWish(base="a", frames=3))
    for number in range(3):
        camserver.put(f"a_0000{number}.cbf", number)
    assert len(taker.series()[1]) == 3
    wait_for("the folder to be tidy", lambda: os.listdir(camserver.folder) == ["mine_00000.cbf"])
    assert streamer.status().files_deleted == 3


@deleting
def test_nothing_is_deleted_that_nobody_took(camserver, streamer):
    streamer.begin(SeriesWish(base="a", frames=3))
    for number in range(3):
        camserver.put(f"a_0000{number}.cbf", number)
    wait_for("the files", lambda: streamer.status().files_seen == 3)
    streamer.abort()
    wait_for("the abort to be over", lambda: not streamer.status().is_open)
    assert len(os.listdir(camserver.folder)) == 3


class DyingReceiver:
    """Takes messages from a socket that holds hardly any, and goes without a word."""

    def __init__(self, port: int) -> None:
        self._context: zmq.Context = zmq.Context()
        self.socket = self._context.socket(zmq.PULL)
        self.socket.rcvhwm, self.socket.rcvbuf = 1, 4096
        self.socket.connect(f"tcp://127.0.0.1:{port}")

    def die(self) -> None:
        self._context.destroy(linger=0)


@deleting
@pytest.mark.parametrize("size", [900, 24], ids=["more than the network holds", "less"])
def test_no_file_is_deleted_that_a_receiver_did_not_take_which_dies_after_the_header(camserver, streamer, size):
    receiver = DyingReceiver(streamer.stream_port)
    streamer.begin(SeriesWish(base="a", frames=500))
    assert receiver.socket.poll(5000)
    receiver.socket.recv_multipart()
    image = image_file(np.random.default_rng(1).integers(0, 1 << 20, (size, size)).astype("i4"), ".cbf", "")
    count = 40
    for number in range(count):
        camserver.put_bytes(f"a_{number:05d}.cbf", image)
    wait_for("ZeroMQ to have all", lambda: streamer.status().frames_sent == count, 20)
    receiver.die()
    wait_for("the word of it", lambda: streamer.status().files_kept > 0)
    status = streamer.status()
    assert (status.files_deleted, status.files_kept) == (0, count)
    assert len(os.listdir(camserver.folder)) == count
    assert f"a receiver went: {count} images" in status.last_trouble


@deleting
def test_a_receiver_that_comes_after_one_that_died_gets_all_and_its_files_are_deleted(camserver, streamer):
    receiver = DyingReceiver(streamer.stream_port)
    streamer.begin(SeriesWish(base="a", frames=500))
    assert receiver.socket.poll(5000)
    receiver.die()
    streamer.abort()
    wait_for("the abort to be over", lambda: not streamer.status().is_open)
    pause = threading.Event()
    pause.wait(DOUBT_S + 0.1)
    taker = Taker(streamer.stream_port)
    try:
        streamer.begin(SeriesWish(base="b", frames=3))
        for number in range(3):
            camserver.put(f"b_0000{number}.cbf", number)
        assert len(taker.series()[1]) == 3
        wait_for("the folder to be tidy", lambda: os.listdir(camserver.folder) == [])
    finally:
        taker.close()


class Tracker:
    """Of a message of which ZeroMQ says that it is done, or not."""

    def __init__(self, done: bool = False) -> None:
        self.done = done


def test_small_files_too_are_deleted_only_when_zeromq_has_let_go_of_them(tmp_path):
    told, lost = [], [0]
    files = DeliveredFiles(lambda: lost.pop() if lost else 0, told.append)
    paths = [tmp_path / f"a_{number}" for number in range(4)]
    for path in paths:
        path.write_bytes(b"x")
    trackers = [Tracker() for _ in paths]
    for path, tracker in zip(paths[:3], trackers, strict=False):
        files.handed_over(tracker, str(path), path.stat().st_ino, 1)
    files.series_ended(end_was_sent=True)
    trackers[1].done = True  # behind one that another receiver has not taken
    files.tidy()
    assert [path.exists() for path in paths] == [True, False, True, True]
    trackers[0].done = True  # because its receiver has gone
    lost.append(1)
    files.tidy()
    files.handed_over(Tracker(True), str(paths[3]), paths[3].stat().st_ino, 1)  # perhaps to that receiver
    files.tidy()
    files.series_ended(end_was_sent=True)
    assert [path.exists() for path in paths] == [True, False, True, True]
    assert (files.deleted, files.kept, len(files)) == (1, 3, 0)
    assert "2 images" in told[0]


@pytest.mark.parametrize("end_was_sent", [True, False])
def test_the_newest_files_of_a_series_are_held_back_until_its_end(tmp_path, end_was_sent):
    told = []
    files = DeliveredFiles(lambda: 0, told.append)
    paths = [tmp_path / f"a_{number}" for number in range(6)]
    for path in paths:
        path.write_bytes(b"x")
        files.handed_over(Tracker(True), str(path), path.stat().st_ino, HELD_BACK_BYTES // 4)
    files.tidy()
    assert [path.exists() for path in paths] == [False, False, True, True, True, True]
    files.series_ended(end_was_sent)
    assert [path.exists() for path in paths] == [False, False] + 4 * [not end_was_sent]
    assert (files.deleted, files.kept) == ((6, 0) if end_was_sent else (2, 4))
    assert len(told) == (not end_was_sent)


# --- what nobody foresaw ----------------------------------------------------------------------------------------------


def test_reading_an_image_takes_no_more_memory_than_it_needs(camserver):
    path = camserver.put("a_00000.cbf")
    tracemalloc.start()
    try:
        data = read_image(str(path)).data
        assert tracemalloc.get_traced_memory()[1] < len(data) + (1 << 20)
    finally:
        tracemalloc.stop()


def test_a_file_that_is_too_large_is_refused_unread(camserver, streamer, taker):
    streamer.begin(SeriesWish(base="a", frames=2))
    with open(camserver.folder.parent / "large", "wb") as file:
        file.truncate((1 << 30) + 1)
    os.replace(camserver.folder.parent / "large", camserver.folder / "a_00000.cbf")
    wait_for("the trouble", lambda: streamer.status().frames_lost == 1)
    assert "1073741825 bytes" in streamer.status().last_trouble
    camserver.put("a_00001.cbf", 1)
    assert [frame.frame_number for frame in taker.series()[1]] == [1]


def test_a_pipe_under_the_name_of_an_image_holds_up_nothing(camserver, streamer, taker):
    streamer.begin(SeriesWish(base="a", frames=2))
    os.mkfifo(camserver.folder.parent / "pipe")
    os.replace(camserver.folder.parent / "pipe", camserver.folder / "a_00000.cbf")
    camserver.put("a_00001.cbf", 1)
    assert [frame.frame_number for frame in taker.series()[1]] == [1]
    assert "no regular file" in streamer.status().last_trouble


def test_an_image_that_fails_in_a_way_that_nobody_foresaw_is_told_and_the_rest_comes(
    camserver, streamer, taker, monkeypatch
):
    def read(path: str) -> Any:
        if path.endswith("a_00000.cbf"):
            raise MemoryError("no room for it")
        return read_image(path)

    monkeypatch.setattr("maxdaq_tango.detectors.pilatus.streamer.read_image", read)
    streamer.begin(SeriesWish(base="a", frames=2))
    camserver.put("a_00000.cbf", 0)
    wait_for("the trouble", lambda: streamer.status().frames_lost == 1)
    assert "no room for it" in streamer.status().last_trouble
    camserver.put("a_00001.cbf", 1)
    assert [frame.frame_number for frame in taker.series()[1]] == [1]


def test_a_header_that_cannot_be_made_ends_its_series_and_the_next_one_comes(camserver, streamer, taker, monkeypatch):
    begin = streamer._stins.begin
    monkeypatch.setattr(streamer._stins, "begin", lambda *_: 1 / 0)
    streamer.begin(SeriesWish(base="a", frames=2))
    wait_for("the end", lambda: not streamer.status().is_open)
    assert "ZeroDivisionError" in streamer.status().last_trouble
    monkeypatch.setattr(streamer._stins, "begin", begin)
    streamer.begin(SeriesWish(base="b", frames=1))
    camserver.put("b_00000.cbf")
    assert len(taker.series()[1]) == 1


def test_the_watch_goes_on_after_what_nobody_foresaw(camserver, streamer, taker, monkeypatch):
    came, failures = streamer._came, iter([True])

    def fail_once(name: str) -> None:
        if next(failures, False):
            raise RuntimeError("not foreseen")
        came(name)

    monkeypatch.setattr(streamer, "_came", fail_once)
    streamer.begin(SeriesWish(base="a", frames=2))
    camserver.put("a_00000.cbf", 0)
    wait_for("the trouble", lambda: "not foreseen" in streamer.status().last_trouble)
    camserver.put("a_00001.cbf", 1)
    wait_for("the second", lambda: streamer.status().files_seen >= 1)
    streamer.finish()
    assert sorted(frame.frame_number for frame in taker.series()[1]) == [0, 1]  # it has looked for what it missed


# --- the folder -------------------------------------------------------------------------------------------------------


def test_a_missing_folder_is_a_refusal_in_words_until_it_is_there(tmp_path):
    with PilatusStreamer(str(tmp_path / "images")) as streamer:
        assert "No such file" in streamer.status().trouble
        with pytest.raises(DetectorRefused, match="No such file"):
            streamer.begin(SeriesWish(base="a", frames=1))
        camserver = Camserver(tmp_path / "images")
        wait_for("the folder", lambda: not streamer.status().trouble)
        streamer.begin(SeriesWish(base="a", frames=1))
        camserver.put("a_00000.cbf")
        wait_for("the file", lambda: streamer.status().files_seen == 1)


def test_a_folder_that_goes_and_comes_back_is_watched_again_and_looked_through(camserver, streamer, taker):
    streamer.begin(SeriesWish(base="a", frames=2))
    camserver.put("a_00000.cbf", 0)
    wait_for("the first file", lambda: streamer.status().frames_sent == 1)
    away = camserver.folder.parent / "away"
    os.rename(camserver.folder, away)
    wait_for("the trouble", lambda: "gone" in streamer.status().trouble or "No such" in streamer.status().trouble)
    (away / "a_00001.cbf").write_bytes(image_file(pixels(1), ".cbf", ""))
    os.rename(away, camserver.folder)
    _, frames, _ = taker.series()
    assert [frame.frame_number for frame in frames] == [0, 1]
    assert streamer.status().trouble == ""


@pytest.mark.parametrize(
    "wish",
    [
        {"base": "a", "frames": 0},
        {"base": "", "frames": 1},
        {"base": "../a", "frames": 1},
        {"base": "a", "frames": 1, "extension": ".edf"},
    ],
)
def test_wishes_that_cannot_be_fulfilled_are_refused(streamer, wish):
    with pytest.raises(ConfigurationError):
        streamer.begin(SeriesWish(**wish))
