"""What is safe, and when: a frame that was written is safe within a second, or as soon as a busy disk has taken it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maxdaq_tango.files import FrameTimes, SeriesFile, recover_file, resolve_destination
from maxdaq_tango.files.ownership import owner_path
from maxdaq_tango.files.slabs import SlabWriter
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat

FORMAT = FrameFormat((64, 64), "uint16", Encoding.NONE)
NBYTES = 64 * 64 * 2
SLAB = 1 << 18
TICK_S = 0.1
"""How often the collector looks when little comes."""


Series = Callable[[FileBackend], SeriesFile]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("maxdaq_tango.files.writer.time.monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Takes nothing while it is not set."""
    gate, write = threading.Event(), SlabWriter._write

    def held(self: SlabWriter, view: memoryview, offset: int) -> None:
        assert gate.wait(30)
        write(self, view, offset)

    monkeypatch.setattr(SlabWriter, "_write", held)
    gate.set()
    yield gate
    gate.set()


@pytest.fixture
def series(tmp_path: Path, disk: threading.Event) -> Iterator[Series]:
    made: list[SeriesFile] = []

    def one(backend: FileBackend) -> SeriesFile:
        destination = resolve_destination(str(tmp_path / "a.h5"), [str(tmp_path)])
        made.append(SeriesFile(destination, detector="d", software="t", backend=backend, slab_memory_bytes=4 * SLAB))
        return made[-1]

    yield one
    disk.set()
    for file in made:
        file.abandon()


def begin(file: SeriesFile) -> None:
    file.begin(FORMAT, 5000, 65535, {}, {})


def write(file: SeriesFile, row: int) -> None:
    file.write(row, row, [bytes([row % 256]) * NBYTES], FrameTimes())


def wait_for_disk(file: SeriesFile) -> None:
    """Which is quick, but not as quick as a clock that is set."""
    pause = threading.Event()
    for _ in range(1000):
        if not file.bytes_waiting:
            return
        pause.wait(0.01)
    raise AssertionError


def readable(file: SeriesFile, elsewhere: Path) -> int:
    """Frames that a recovery finds in what is on the disk now, as if the writer were dead."""
    elsewhere.mkdir()
    part = file.destination.part
    for path in part.parent.glob(part.name + "*"):
        if path != owner_path(part):
            shutil.copy(path, elsewhere / path.name)
    found = recover_file(elsewhere / part.name)
    assert (found.problem, found.wrong) == ("", ())
    return found.frames


@pytest.mark.lesson(13)
@pytest.mark.parametrize("armed_s", [0.0, 0.5, 100.0])
@pytest.mark.parametrize("period_s", [0.03, 0.4, 0.99])
@pytest.mark.parametrize("backend", [FileBackend.SWMR, FileBackend.DIRECT])
def test_no_frame_is_unsafe_for_longer_than_a_second_from_the_first_one_on(
    tmp_path: Path, series: Series, clock: Clock, backend: FileBackend, period_s: float, armed_s: float
) -> None:
    file = series(backend)
    clock.now += armed_s
    begin(file)
    written: list[float] = []
    began = clock.now
    for tick in range(40):
        clock.now = began + tick * TICK_S
        while len(written) * period_s <= clock.now - began:
            write(file, len(written))
            written.append(began + len(written) * period_s)
        wait_for_disk(file)
        file.checkpoint_if_due(clock.now)
        old = sum(clock.now - at > 1.0 for at in written)
        assert file.frames_safe >= old, f"{clock.now - began:.1f} s after the first frame"
    assert readable(file, tmp_path / "killed") == file.frames_safe > 0


@pytest.mark.lesson(13)
@pytest.mark.parametrize("backend", [FileBackend.SWMR, FileBackend.DIRECT])
def test_in_a_fast_series_a_hundred_frames_are_enough_for_a_checkpoint(
    tmp_path: Path, series: Series, clock: Clock, backend: FileBackend
) -> None:
    file = series(backend)
    begin(file)
    least_s = file._backend.least_checkpoint_s
    for row in range(2000):
        wait_for_disk(file)
        write(file, row)
        clock.now += least_s / 99  # nobody but `write` looks at the clock
        assert row - file.frames_safe < 200
    assert readable(file, tmp_path / "killed") == file.frames_safe > 1700


@pytest.mark.lesson(13)
def test_frames_that_wait_for_a_busy_disk_are_safe_as_soon_as_it_has_taken_them(
    tmp_path: Path, series: Series, clock: Clock, disk: threading.Event
) -> None:
    file = series(FileBackend.DIRECT)
    begin(file)
    disk.clear()
    for row in range(50):  # one slab is full, and a part of the next
        write(file, row)
    file.checkpoint(wait=False)
    assert file.frames_safe == 0
    clock.now += 0.1
    file.checkpoint_if_due(clock.now)
    assert file.frames_safe == 0
    disk.set()
    wait_for_disk(file)
    file.checkpoint_if_due(clock.now)  # a checkpoint is not due for another 0.8 s
    assert file.frames_safe == 50
    assert readable(file, tmp_path / "killed") == 50


def test_a_look_costs_nothing_where_nothing_waits(series: Series, clock: Clock, disk: threading.Event) -> None:
    file = series(FileBackend.DIRECT)
    begin(file)
    for row in range(50):
        write(file, row)
    file.checkpoint()
    disk.clear()
    write(file, 50)
    clock.now += 0.1
    file.checkpoint_if_due(clock.now)  # would wait for the disk if it wrote anything
    assert file.frames_safe == 50
