"""A series against a camera that makes frames whenever it is looked at, so that no clock decides what happens."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from maxdaq_tango.detectors.orca import acquisition as module
from maxdaq_tango.detectors.orca.acquisition import Acquisition
from maxdaq_tango.detectors.orca.capture_reader import Series
from maxdaq_tango.detectors.orca.dcam import FrameStamp
from maxdaq_tango.detectors.orca.plan import plan_series
from maxdaq_tango.detectors.orca.protocol import CameraFormat
from maxdaq_tango.model import AcquisitionSettings, TriggerMode
from maxdaq_tango.testing.driver_contract import wait_for

FORMAT = CameraFormat(rows=4, columns=4, pixel_type="MONO16", bits=16, row_nbytes=8, frame_nbytes=32)
SLOTS = 8


class Camera:
    """`per_copy` frames come while one is copied, one comes in each wait."""

    def __init__(self, *, per_copy: int = 0, first_stamp: int = 0, free_running: bool = True) -> None:
        self.per_copy, self.first_stamp, self.free_running = per_copy, first_stamp, free_running
        self.made = self.starts = 0
        self.losses_to_tell: list[int] = []
        """LOSTFRAME is told in these waits."""
        self.waits = 0
        self._runs = False

    def start(self) -> None:
        self.made, self._runs = 0, self.free_running
        self.starts += 1

    def fire_trigger(self) -> None:
        self._runs = True

    def stop(self) -> None:
        self._runs = False

    def wait(self, events: int, timeout_ms: int) -> bool:
        self.waits += 1
        self.made += self._runs
        if not self._runs:
            threading.Event().wait(0.001)
        return self.waits in self.losses_to_tell

    def transferred(self) -> int:
        return self.made

    def _stamp_of(self, index: int) -> FrameStamp:
        return FrameStamp(index % SLOTS, 0, 8, self.first_stamp + index, 0.0)

    def newest(self) -> FrameStamp | None:
        return self._stamp_of(self.made - 1) if self.made else None

    def stamp(self, slot: int) -> FrameStamp:
        newest = self.made - 1
        return self._stamp_of(newest - (newest - slot) % SLOTS)

    def view(self, slot: int, format: CameraFormat) -> np.ndarray:
        self.made += self.per_copy * self._runs
        return np.zeros((4, 8), np.uint8)

    def release(self) -> None:
        pass

    def abort_wait(self) -> None:
        pass


class Sender:
    """Takes all frames while `is_open`."""

    def __init__(self) -> None:
        self.is_open = True
        self.numbers: list[int] = []
        self.exposures: set[float | None] = set()
        self.waiting = self.not_sent = 0

    @property
    def sent(self) -> int:
        return len(self.numbers)

    def take(self) -> np.ndarray | None:
        if self.is_open:
            return np.empty(32, np.uint8)
        threading.Event().wait(0.001)
        return None

    def give_back(self, buffer: np.ndarray) -> None:
        pass

    def put(self, number: int, format: object, buffer: np.ndarray, exposure_time_s: float | None) -> None:
        self.numbers.append(number)
        self.exposures.add(exposure_time_s)

    def begin(self, metadata: object) -> None:
        pass

    def end(self, frames: int) -> None:
        pass

    def give_up(self) -> None:
        pass

    def was_taken(self, within_s: float) -> bool:
        return True


class Bench:
    """A series that is ended with the test."""

    def __init__(self) -> None:
        self.sender = Sender()
        self._all: list[Acquisition] = []
        self._threads: list[threading.Thread] = []

    def armed(self, camera: Camera, mode: TriggerMode, frames: int, triggers: int = 1) -> Acquisition:
        settings = AcquisitionSettings(
            exposure_time_s=0.002, frames_per_trigger=frames, trigger_count=triggers, trigger_mode=mode
        )
        plan = plan_series(settings, shortest_period_s=0.002, interval_is_writable=False)
        series = Series(plan=plan, format=FORMAT, slots=SLOTS, exposure_time_s=0.002, period_s=0.002, metadata={})
        acquisition = Acquisition(camera, self.sender, series)  # type: ignore[arg-type]
        self._all.append(acquisition)
        acquisition.arm()
        return acquisition

    def trigger(self, acquisition: Acquisition) -> threading.Thread:
        thread = threading.Thread(target=acquisition.trigger, name="trigger")
        self._threads.append(thread)
        thread.start()
        return thread

    def close(self) -> None:
        for acquisition in self._all:
            acquisition.abort()
            acquisition.join()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def check_account(acquisition: Acquisition, frames: int) -> None:
    counts = acquisition.counts()
    assert counts.acquired == frames == counts.sent + counts.not_sent + counts.lost_in_ring
    assert counts.lost_in_camera == 0


def test_a_camera_faster_than_the_copy_is_stopped_when_all_frames_are_exposed(bench: Bench) -> None:
    camera = Camera(per_copy=2)
    acquisition = bench.armed(camera, TriggerMode.INTERNAL, 50)
    thread = bench.trigger(acquisition)
    thread.join(10)
    assert acquisition.hardware_done
    assert acquisition.join(10)
    assert 50 <= camera.made < 50 + SLOTS
    check_account(acquisition, 50)
    assert bench.sender.numbers == sorted(set(bench.sender.numbers))
    assert acquisition.counts().lost_in_ring > 0


def test_a_camera_faster_than_the_copy_can_be_stopped(bench: Bench) -> None:
    acquisition = bench.armed(Camera(per_copy=2), TriggerMode.INTERNAL, 1_000_000_000)
    bench.trigger(acquisition)
    wait_for("frames", lambda: acquisition.counts().acquired > 20)
    acquisition.stop()
    assert acquisition.join(10)


@pytest.mark.parametrize("first", [1, 3])
def test_a_camera_whose_stamps_do_not_begin_at_0_loses_and_shifts_nothing(bench: Bench, first: int) -> None:
    acquisition = bench.armed(Camera(first_stamp=first), TriggerMode.INTERNAL, 5)
    bench.trigger(acquisition).join(10)
    assert acquisition.join(10)
    assert bench.sender.numbers == [0, 1, 2, 3, 4]
    check_account(acquisition, 5)
    assert acquisition.counts().odd_stamps == 1


@pytest.mark.parametrize("told_in_wait", [1, 2])
def test_a_first_frame_that_the_driver_tells_as_lost_keeps_its_number(bench: Bench, told_in_wait: int) -> None:
    """It may say so before the next frame has come, or just after that was seen."""
    camera = Camera(first_stamp=1)
    camera.losses_to_tell = [told_in_wait]
    acquisition = bench.armed(camera, TriggerMode.INTERNAL, 5)
    bench.trigger(acquisition).join(10)
    assert acquisition.join(10)
    assert bench.sender.numbers == [1, 2, 3, 4]
    counts = acquisition.counts()
    assert (counts.acquired, counts.lost_in_camera, counts.odd_stamps, counts.lost_frame_events) == (4, 1, 0, 1)


def test_frames_of_a_burst_wait_in_the_ring_until_the_next_trigger(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DRAIN_S", 0.05)
    camera = Camera(free_running=False)
    acquisition = bench.armed(camera, TriggerMode.SOFTWARE, 4, triggers=2)
    bench.sender.is_open = False
    bench.trigger(acquisition).join(10)
    assert acquisition.ready_for_trigger
    threading.Event().wait(0.2)
    assert camera.starts == 1
    assert acquisition.counts().lost_in_ring == 0
    bench.sender.is_open = True
    bench.trigger(acquisition).join(10)
    assert acquisition.join(10)
    assert bench.sender.numbers == list(range(8))
    check_account(acquisition, 8)


def test_a_trigger_waits_for_the_ring_only_so_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAIN_S", 0.05)
    acquisition = bench.armed(Camera(free_running=False), TriggerMode.SOFTWARE, 4, triggers=2)
    bench.sender.is_open = False
    bench.trigger(acquisition).join(10)
    bench.trigger(acquisition).join(10)
    assert acquisition.hardware_done
    bench.sender.is_open = True
    assert acquisition.join(10)
    assert bench.sender.numbers == [4, 5, 6, 7]
    check_account(acquisition, 8)


def test_for_the_next_edge_the_camera_is_armed_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAIN_S", 0.05)
    camera = Camera(free_running=False)
    acquisition = bench.armed(camera, TriggerMode.EXTERNAL_MULTI, 4, triggers=2)
    bench.sender.is_open = False
    camera.fire_trigger()
    wait_for("the camera armed again", lambda: camera.starts == 2)
    assert acquisition.counts().lost_in_ring == 4


def test_a_stop_between_two_bursts_frees_the_camera_although_nobody_takes_their_frames(bench: Bench) -> None:
    acquisition = bench.armed(Camera(free_running=False), TriggerMode.SOFTWARE, 4, triggers=2)
    bench.sender.is_open = False
    bench.trigger(acquisition).join(10)
    acquisition.stop()
    assert acquisition.hardware_done
    bench.sender.is_open = True
    assert acquisition.join(10)
    assert bench.sender.numbers == [0, 1, 2, 3]


def test_what_an_abort_leaves_in_the_ring_is_counted_as_not_sent(bench: Bench) -> None:
    acquisition = bench.armed(Camera(), TriggerMode.INTERNAL, 5)
    bench.sender.is_open = False
    bench.trigger(acquisition).join(10)
    assert not acquisition.join(0.05)
    acquisition.abort()
    assert acquisition.join(10)
    assert acquisition.counts().not_sent == 5
    check_account(acquisition, 5)


def test_images_of_gates_do_not_tell_an_exposure(bench: Bench) -> None:
    acquisition = bench.armed(Camera(), TriggerMode.EXTERNAL_MULTI_GATE, 3)
    assert acquisition.join(10)
    assert bench.sender.exposures == {None}
