"""The preview across processes: the memory that is shared, and an engine that fills it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine_owner import WAIT_S, Owner
from maxdaq_tango.engine.preview_memory import PreviewMemory, Previews, create_preview_file
from maxdaq_tango.kernels.compression import encode_pixels
from maxdaq_tango.kernels.preview import reduced
from maxdaq_tango.model import (
    AcquisitionState,
    Encoding,
    Frame,
    FrameFormat,
    Orientation,
    Preview,
    PreviewMethod,
    PreviewSettings,
    Verdict,
)
from maxdaq_tango.wire import stins

SHAPE = (50, 80)


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    owner = Owner(tmp_path)
    yield owner
    owner.close()


@pytest.fixture
def handle() -> Iterator[int]:
    handle = create_preview_file()
    yield handle
    os.close(handle)


def picture(number: int, rows: int = 3, columns: int = 5) -> Preview:
    pixels = np.arange(rows * columns, dtype=np.float64).reshape(rows, columns) + number
    return Preview(pixels, frame_number=number, run_number=2, factor=4)


def pixels(number: int) -> np.ndarray[Any, Any]:
    made: np.ndarray[Any, Any] = np.random.default_rng(number).integers(0, 4000, SHAPE).astype("uint16")
    made[number % SHAPE[0], 7] = 65535
    return made


def send(owner: Owner, number: int, encoding: Encoding = Encoding.NONE, blob: bytes | None = None) -> None:
    blobs = (blob if blob is not None else encode_pixels(pixels(number), encoding),)
    frame = Frame(series="", frame_number=number, format=FrameFormat(SHAPE, "uint16", encoding), blobs=blobs)
    owner.socket.send_multipart(stins.encode_image(owner._next(), frame))


def header(owner: Owner) -> None:
    owner.socket.send_multipart(stins.encode_header(owner._next(), "", {}))


def end(owner: Owner) -> None:
    owner.socket.send_multipart(stins.encode_end(owner._next()))


def wait_shown(owner: Owner, number: int) -> Preview:
    pause = threading.Event()
    for _ in range(int(WAIT_S * 100)):
        preview = owner.engine.previews.newest()
        if preview is not None and preview.frame_number == number:
            return preview
        pause.wait(0.01)
    raise AssertionError(owner.engine.previews.newest())


# -- the memory ------------------------------------------------------------------------------------------------------


@pytest.mark.lesson(44)
def test_before_the_first_picture_there_is_none(handle: int) -> None:
    assert PreviewMemory(handle).read() is None
    assert Previews().newest() is None


def test_pictures_are_read_as_they_were_shown_and_only_once(handle: int) -> None:
    engine, reader = PreviewMemory(handle), PreviewMemory(handle)
    for number, (rows, columns) in enumerate([(3, 5), (1024, 1024), (1, 1), (16, 1024)]):
        engine.show(picture(number, rows, columns))
        read = reader.read()
        assert read is not None
        assert read[1:] == picture(number)[1:]
        np.testing.assert_array_equal(read.pixels, picture(number, rows, columns).pixels)
        assert reader.read() is read


def test_a_picture_that_was_begun_and_never_finished_is_not_seen(handle: int) -> None:
    engine, reader = PreviewMemory(handle), PreviewMemory(handle)
    engine.show(picture(1))
    seen = reader.read()
    engine.show(picture(2))
    engine._cells[0] = 1  # as if it had died before its last step
    assert reader.read() is seen


def test_a_reader_never_sees_half_a_picture(handle: int) -> None:
    engine, reader = PreviewMemory(handle), PreviewMemory(handle)
    stop = threading.Event()

    def show() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            flat = np.full((200, 300), float(number))
            engine.show(Preview(flat, frame_number=number, run_number=1, factor=1))

    thread = threading.Thread(target=show)
    thread.start()
    try:
        seen: set[int] = set()
        while len(seen) < 20:
            if (preview := reader.read()) is not None:
                assert np.all(preview.pixels == preview.frame_number)
                seen.add(preview.frame_number)
    finally:
        stop.set()
        thread.join()


def test_what_is_wanted_reaches_the_engine_and_those_that_follow_it(handle: int) -> None:
    engine = PreviewMemory(handle)
    assert engine.settings() == PreviewSettings()
    previews = Previews()
    previews.settings = PreviewSettings(size_px=64, method=PreviewMethod.MEAN)
    previews.attach(handle)
    assert engine.settings() == previews.settings
    previews.settings = PreviewSettings(size_px=65)
    assert engine.settings() == PreviewSettings(size_px=65)


# -- an engine -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", [Encoding.NONE, Encoding.BSLZ4])
@pytest.mark.parametrize("destination", ["shown.h5", ""])
@pytest.mark.lesson(37)
def test_the_newest_frame_is_shown_with_and_without_a_file(owner: Owner, encoding: Encoding, destination: str) -> None:
    owner.engine.previews.settings = PreviewSettings(size_px=32)
    orientation = Orientation(1, fliplr=True)
    where = str(owner.folder / destination) if destination else ""
    owner.engine.prepare(owner.request(destination=where, orientation=orientation))
    assert owner.engine.previews.newest() is None
    header(owner)
    for number in range(30):
        send(owner, number, encoding)
    end(owner)
    preview = wait_shown(owner, 29)
    stored = np.rot90(pixels(29))[:, ::-1]
    assert preview.factor == 3
    assert preview.pixels.shape == (27, 17)
    np.testing.assert_array_equal(preview.pixels, reduced(stored, 3, PreviewMethod.MAX))
    assert owner.engine.wait_idle(WAIT_S)
    assert owner.engine.previews.newest() is preview  # it stays, until the next series has a frame

    owner.engine.prepare(owner.request("next.h5"))
    owner.wait(lambda: owner.engine.state is AcquisitionState.ARMED)
    assert owner.engine.previews.newest() is preview
    owner.engine.previews.settings = PreviewSettings(size_px=1024, method=PreviewMethod.MEAN)
    header(owner)
    send(owner, 0, encoding)
    np.testing.assert_array_equal(wait_shown(owner, 0).pixels, pixels(0))
    owner.engine.abort("enough")
    assert owner.engine.wait_idle(WAIT_S)


@pytest.mark.lesson(37)
def test_a_frame_that_cannot_be_unpacked_leaves_the_preview_and_the_series_as_they_are(
    owner: Owner, capfd: pytest.CaptureFixture[str]
) -> None:
    owner.engine.prepare(owner.request())
    header(owner)
    send(owner, 0, Encoding.BSLZ4)
    preview = wait_shown(owner, 0)
    whole = encode_pixels(pixels(1), Encoding.BSLZ4)
    length = int.from_bytes(whole[12:16], "big")
    send(owner, 1, Encoding.BSLZ4, whole[:16] + b"\xff" * length + whole[16 + length :])  # its lengths are right
    log, pause = "", threading.Event()
    for _ in range(int(WAIT_S * 100)):
        log += capfd.readouterr().err
        if "no preview of frame 1" in log:
            break
        pause.wait(0.01)
    assert "no preview of frame 1, nor word of the next: " in log
    end(owner)
    assert owner.engine.wait_idle(WAIT_S)
    receipt = owner.engine.last_receipt
    assert receipt is not None
    assert (receipt.verdict, receipt.frames_written) == (Verdict.COMPLETE, 2)
    assert owner.engine.previews.newest() is preview
    owner.engine.prepare(owner.request("next.h5"))
    owner.send(7, 1)
    assert wait_shown(owner, 7).run_number == preview.run_number + 1
    assert owner.engine.wait_idle(WAIT_S)


@pytest.mark.lesson(44)
def test_an_engine_that_died_leaves_its_preview_and_the_next_one_begins_without(owner: Owner) -> None:
    owner.engine.previews.settings = PreviewSettings(size_px=16)
    owner.engine.prepare(owner.request(expected_frames=5))
    header(owner)
    send(owner, 0)
    preview = wait_shown(owner, 0)
    assert owner.engine.pid is not None
    os.kill(owner.engine.pid, signal.SIGKILL)
    owner.wait(lambda: owner.engine.state is AcquisitionState.FAULT)
    assert owner.engine.previews.newest() is preview
    owner.socket.close(0)
    owner.bind()
    owner.engine.prepare(owner.request("next.h5"))
    assert owner.engine.previews.newest() is None
    header(owner)
    send(owner, 3)
    assert wait_shown(owner, 3).pixels.shape == (10, 16)  # as was wanted of the engine before
    owner.engine.abort("enough")
    assert owner.engine.wait_idle(WAIT_S)
