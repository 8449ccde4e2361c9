"""Pictures of the newest frame: which frame, which pixels, and that nothing which goes wrong with them matters."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.compression import HAS_BSZSTD, encode_pixels
from maxdaq_tango.kernels.orientation import orient
from maxdaq_tango.kernels.preview import reduced
from maxdaq_tango.model import Encoding, Frame, FrameFormat, Orientation, Preview, PreviewMethod, PreviewSettings
from maxdaq_tango.pipeline import listeners
from maxdaq_tango.pipeline import sampler as module
from maxdaq_tango.pipeline.newest import NewestFrame, Taken
from maxdaq_tango.pipeline.sampler import Sampler, interval_s, preview_of

SHAPE = (48, 40)
ENCODINGS = [
    Encoding.NONE,
    Encoding.BSLZ4,
    pytest.param(Encoding.BSZSTD, marks=pytest.mark.skipif(not HAS_BSZSTD, reason="bitshuffle without Zstandard")),
    Encoding.LZ4_BLOCK,
    Encoding.LZ4_HDF5,
]
WANTED = PreviewSettings(size_px=16)
WAIT_S = 20.0
TURN = Orientation()


def pixels(number: int, shape: tuple[int, ...] = SHAPE, dtype: str = "uint16") -> np.ndarray[Any, Any]:
    made: np.ndarray[Any, Any] = np.random.default_rng(number).integers(0, 200, shape).astype(dtype)
    return made


def frame(number: int, encoding: Encoding = Encoding.NONE, *, blob: bytes | None = None) -> Frame:
    blobs = (blob if blob is not None else encode_pixels(pixels(number), encoding),)
    return Frame(series="1", frame_number=number, format=FrameFormat(SHAPE, "uint16", encoding), blobs=blobs)


def shown(number: int) -> np.ndarray[Any, Any]:
    return reduced(pixels(number), 3, PreviewMethod.MAX)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float32"])
@pytest.mark.lesson(37)
def test_frames_of_every_type_and_packing_are_made_small(encoding: Encoding, dtype: str) -> None:
    data = pixels(1, dtype=dtype)
    format = FrameFormat(SHAPE, dtype, encoding)
    one = Frame(series="", frame_number=5, format=format, blobs=(encode_pixels(data, encoding),))
    preview = preview_of(Taken(one, Orientation(), 3), WANTED)
    assert (preview.frame_number, preview.run_number, preview.factor) == (5, 3, 3)
    assert preview.pixels.shape == (16, 14)
    np.testing.assert_array_equal(preview.pixels, reduced(data, 3, PreviewMethod.MAX))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(("shape", "chunk"), [((2, *SHAPE), (1, *SHAPE)), (SHAPE, (24, 20)), (SHAPE, (16, 40))])
@pytest.mark.lesson(37)
def test_frames_in_several_chunks(encoding: Encoding, shape: tuple[int, ...], chunk: tuple[int, ...]) -> None:
    data = pixels(2, shape)
    grid = np.ndindex(*(size // part for size, part in zip(shape, chunk, strict=True)))
    places = [tuple(slice(i * n, (i + 1) * n) for i, n in zip(place, chunk, strict=True)) for place in grid]
    blobs = tuple(encode_pixels(np.ascontiguousarray(data[place]), encoding) for place in places)
    one = Frame(series="", frame_number=0, format=FrameFormat(shape, "uint16", encoding, chunk), blobs=blobs)
    preview = preview_of(Taken(one, Orientation(), 1), PreviewSettings(size_px=16, method=PreviewMethod.MEAN))
    assert max(preview.pixels.shape) <= 16
    np.testing.assert_array_equal(preview.pixels, reduced(data, preview.factor, PreviewMethod.MEAN))


def test_a_frame_that_states_more_pixels_than_a_picture_is_worth_is_not_unpacked() -> None:
    side = 1 << 15
    huge = FrameFormat((side, side), "uint8", Encoding.BSLZ4)
    with pytest.raises(WireError, match=f"{side * side} bytes"):
        preview_of(Taken(Frame(series="", frame_number=0, format=huge, blobs=(b"packed",)), TURN, 1), WANTED)


@pytest.mark.parametrize("orientation", [Orientation(1), Orientation(2, True, False), Orientation(3, False, True)])
@pytest.mark.parametrize("shape", [SHAPE, (2, *SHAPE)])
def test_the_picture_is_of_the_frame_as_it_is_stored(shape: tuple[int, ...], orientation: Orientation) -> None:
    data = pixels(3, shape)
    one = Frame(series="", frame_number=0, format=FrameFormat(shape, "uint16", Encoding.NONE), blobs=(data.tobytes(),))
    preview = preview_of(Taken(one, orientation, 1), PreviewSettings(size_px=20))
    np.testing.assert_array_equal(preview.pixels, reduced(orient(data, orientation), preview.factor, PreviewMethod.MAX))


@pytest.mark.parametrize(
    "broken", [frame(0, Encoding.BSLZ4, blob=b"nonsense, and more of it"), frame(0, Encoding.CBF, blob=b"a CBF file")]
)
def test_what_cannot_be_unpacked_is_an_error_of_the_data(broken: Frame) -> None:
    with pytest.raises(WireError):
        preview_of(Taken(broken, Orientation(), 1), WANTED)


def test_a_picture_costs_a_fiftieth_of_a_core_and_comes_ten_times_a_second_at_most() -> None:
    assert interval_s(0.0) == interval_s(0.002) == 0.1
    assert interval_s(0.03) == pytest.approx(1.5)


# -- the newest frame ------------------------------------------------------------------------------------------------


def test_one_frame_is_kept_and_it_is_the_newest() -> None:
    newest = NewestFrame()
    newest.begin(4, Orientation(1))
    for number in range(5):
        newest.put(frame(number))
    taken = newest.take()
    assert taken is not None
    assert (taken.frame.frame_number, taken.orientation, taken.run_number) == (4, Orientation(1), 4)
    assert newest.take() is None


def test_a_frame_of_the_last_series_is_forgotten_when_the_next_one_begins() -> None:
    newest = NewestFrame()
    newest.begin(1, Orientation())
    newest.put(frame(9))
    newest.begin(2, Orientation(2))
    assert newest.take() is None


def test_the_last_frame_of_a_series_waits_for_whoever_shows_it() -> None:
    newest = NewestFrame()
    newest.begin(1, Orientation())
    newest.put(frame(9))
    newest.end()
    assert newest.wait()
    assert newest.take() is not None
    newest.close()
    assert not newest.wait()


# -- the thread ------------------------------------------------------------------------------------------------------


class Screen:
    """What was shown, a sampler, and the frames that it is given."""

    def __init__(self) -> None:
        self.previews: list[Preview] = []
        self.changed = threading.Condition()
        self.newest = NewestFrame()
        self.settings = WANTED
        self.trouble: Exception | None = None
        self.troubled = threading.Event()
        self.sampler = Sampler(self.newest, lambda: self.settings, self._show)

    def _show(self, preview: Preview) -> None:
        if self.trouble is not None:
            self.troubled.set()
            raise self.trouble
        with self.changed:
            self.previews.append(preview)
            self.changed.notify_all()

    def wait_for(self, number: int) -> Preview:
        def is_there() -> bool:
            return bool(self.previews) and self.previews[-1].frame_number == number

        with self.changed:
            assert self.changed.wait_for(is_there, WAIT_S), self.previews
            return self.previews[-1]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    monkeypatch.setattr(module, "LEAST_INTERVAL_S", 0.001)
    screen = Screen()
    screen.sampler.start()
    yield screen
    screen.sampler.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "preview"]


def test_series_after_series_is_shown_to_its_last_frame(screen: Screen) -> None:
    for run, encoding in ((1, Encoding.BSLZ4), (2, Encoding.NONE)):
        screen.newest.begin(run, Orientation())
        for number in range(20):
            screen.newest.put(frame(number, encoding))
        screen.newest.end()
        preview = screen.wait_for(19)
        assert preview.run_number == run
        np.testing.assert_array_equal(preview.pixels, shown(19))
        screen.newest.begin(run, Orientation())
        screen.newest.put(frame(0))
        screen.wait_for(0)


def test_another_size_is_there_with_the_next_frame(screen: Screen) -> None:
    screen.newest.begin(1, Orientation())
    screen.newest.put(frame(1))
    assert screen.wait_for(1).pixels.shape == (16, 14)
    screen.settings = PreviewSettings(size_px=512)
    screen.newest.put(frame(2))
    np.testing.assert_array_equal(screen.wait_for(2).pixels, pixels(2))


@pytest.mark.lesson(37)
def test_frames_that_cannot_be_shown_are_told_once_a_series_and_stop_nothing(
    screen: Screen, caplog: pytest.LogCaptureFixture
) -> None:
    told = threading.Semaphore(0)
    caplog.set_level(logging.WARNING)
    handler = logging.Handler()
    handler.emit = lambda record: told.release()  # type: ignore[method-assign]
    listeners.log.addHandler(handler)
    try:
        for run in (1, 2):
            screen.newest.begin(run, Orientation())
            screen.newest.put(frame(1))
            before = screen.wait_for(1)
            screen.newest.put(frame(2, Encoding.BSLZ4, blob=b"nonsense, and more of it"))
            assert told.acquire(timeout=WAIT_S)
            assert screen.previews[-1] is before
            screen.newest.put(frame(3))
            screen.wait_for(3)
            screen.trouble = RuntimeError("no room on the screen")
            screen.newest.put(frame(4))
            assert screen.troubled.wait(WAIT_S)
            screen.trouble = None
            screen.troubled.clear()
            screen.newest.put(frame(5))
            screen.wait_for(5)
    finally:
        listeners.log.removeHandler(handler)
    messages = [record.getMessage() for record in caplog.records if record.name == listeners.log.name]
    assert len(messages) == 2
    assert all(message.startswith("no preview of frame 2, nor word of the next: ") for message in messages)


def test_a_sampler_without_frames_can_be_closed_twice_and_without_a_start() -> None:
    screen = Screen()
    screen.sampler.close()
    started = Screen()
    started.sampler.start()
    started.sampler.close()
    started.sampler.close()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.lesson(33)
def test_other_threads_go_on_while_a_frame_is_unpacked_and_made_small(encoding: Encoding) -> None:
    """With a switch interval without end a thread goes on only when another lets go of Python's lock by itself."""
    data = np.random.default_rng(0).integers(0, 3, (3000, 3000)).astype("uint32")
    format = FrameFormat(data.shape, "uint32", encoding)
    one = Taken(Frame(series="", frame_number=0, format=format, blobs=(encode_pixels(data, encoding),)), TURN, 1)
    usual, order = sys.getswitchinterval(), list[str]()
    sys.setswitchinterval(1000.0)
    try:
        for _ in range(20):
            order.clear()
            begun = threading.Event()

            def work(begun: threading.Event = begun) -> None:
                begun.set()
                preview_of(one, WANTED)
                order.append("done")

            thread = threading.Thread(target=work)
            thread.start()
            begun.wait()
            order.append("meanwhile")
            thread.join()
            if order == ["meanwhile", "done"]:
                return
    finally:
        sys.setswitchinterval(usual)
    raise AssertionError(f"{encoding} held the lock all the time")


def test_what_a_picture_costs_decides_when_the_next_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    costs: list[float] = []
    asked = threading.Semaphore(0)

    def interval(cost_s: float) -> float:
        costs.append(cost_s)
        asked.release()
        return 3600.0

    monkeypatch.setattr(module, "interval_s", interval)
    screen = Screen()
    screen.sampler.start()
    try:
        screen.newest.begin(1, TURN)
        screen.newest.put(frame(1, Encoding.BSLZ4))
        assert asked.acquire(timeout=WAIT_S)
        screen.newest.put(frame(2))
    finally:
        screen.sampler.close()
    assert len(costs) == 1
    assert costs[0] > 0
    assert [preview.frame_number for preview in screen.previews] in ([], [1])  # it may have looked before the frame
