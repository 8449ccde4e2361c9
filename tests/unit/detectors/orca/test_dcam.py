"""The binding against a real shared library with DCAM's interface, which has a simulated camera behind it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from maxdaq_tango.detectors.orca import simulator as simulator_module
from maxdaq_tango.detectors.orca.dcam import (
    CYCLE_END,
    FRAME_READY,
    NEWEST,
    SNAP,
    STOPPED,
    DcamCamera,
    DcamLibrary,
)
from maxdaq_tango.detectors.orca.dcam_errors import DcamError, code_of, failure, name_of_error
from maxdaq_tango.detectors.orca.properties import NEXT, PRIOR, CaptureStatus, IdString, Kind, PixelType, Property
from maxdaq_tango.detectors.orca.simulated_library import ADDRESS_NAME, LIBRARY_NAME, place_library
from maxdaq_tango.detectors.orca.simulator_server import OrcaSimulatorServer
from maxdaq_tango.detectors.orca.simulator_wire import FrameHead
from maxdaq_tango.detectors.simulation.pattern import expected_frame
from maxdaq_tango.errors import DetectorError, DetectorOffline, DetectorRefused, DetectorTimeout
from maxdaq_tango.testing.driver_contract import wait_for

P = Property
CODES = [
    pytest.param(P.EXPOSURE_TIME, 2.0, DcamError.OUTOFRANGE, id="above the range"),
    pytest.param(P.EXPOSURE_TIME, 1e-6, DcamError.OUTOFRANGE, id="below the range"),
    pytest.param(P.EXPOSURE_TIME, float("nan"), DcamError.INVALIDVALUE, id="no number"),
    pytest.param(P.BINNING, 3, DcamError.INVALIDVALUE, id="no value of the mode"),
    pytest.param(P.SUBARRAY_HSIZE, 30, DcamError.INVALIDVALUE, id="between two steps"),
    pytest.param(P.SUBARRAY_HPOS, 4, DcamError.INVALIDSUBARRAY, id="beyond the sensor"),
    pytest.param(P.IMAGE_WIDTH, 4, DcamError.NOTWRITABLE, id="never writable"),
    pytest.param(0x00123456, 1, DcamError.INVALIDPROPERTYID, id="no property"),
]


@pytest.fixture
def library(server: OrcaSimulatorServer) -> Iterator[DcamLibrary]:
    library = DcamLibrary(str(server.library))
    yield library
    library.close()


@pytest.fixture
def camera(library: DcamLibrary) -> DcamCamera:
    return library.open(0)


@pytest.fixture
def ring(camera: DcamCamera) -> Iterator[np.ndarray]:
    """Eight attached buffers, short exposures."""
    camera.set_value(P.EXPOSURE_TIME, 0.002)
    ring = np.zeros((8, int(camera.value(P.BUFFER_FRAME_BYTES))), np.uint8)
    camera.attach([buffer.ctypes.data for buffer in ring])
    yield ring
    camera.stop()
    camera.release()


def refusal(act: Callable[[], object]) -> int:
    with pytest.raises(DetectorError) as caught:
        act()
    return code_of(caught.value)


# --- library and camera -----------------------------------------------------------------------------------------------


def test_a_camera_says_who_it_is(library: DcamLibrary, camera: DcamCamera) -> None:
    assert library.camera_count == 1
    assert camera.string(IdString.MODEL) == "C14120-20P"
    assert camera.string(IdString.SERIES_NAME) == "ORCA-Lightning"
    assert "simulated" in camera.string(IdString.CAMERA_VERSION)


def test_no_library_is_offline_and_says_which_one_would_do(tmp_path: Path) -> None:
    with pytest.raises(DetectorOffline, match=r"load the DCAM library.*Accepted: the path of Hamamatsu's libdcamapi"):
        DcamLibrary(str(tmp_path / "none.so"))


def test_another_library_is_none(library: DcamLibrary) -> None:
    with pytest.raises(DetectorOffline, match="dcamapi_init"):
        DcamLibrary("libc.so.6")


def test_a_library_without_a_camera_is_offline(server: OrcaSimulatorServer, tmp_path: Path) -> None:
    path = place_library(tmp_path / LIBRARY_NAME, f"127.0.0.1:{server.port}")
    server.close()
    with pytest.raises(DetectorOffline, match="NOCAMERA"):
        DcamLibrary(str(path))
    (tmp_path / ADDRESS_NAME).unlink()
    with pytest.raises(DetectorOffline, match="NOCAMERA"):
        DcamLibrary(str(path))


def test_the_environment_says_where_the_camera_is(
    make_server: Callable[..., OrcaSimulatorServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    lightning, quest = make_server(), make_server(model="quest")
    monkeypatch.setenv("MAXDAQ_SIMULATED_DCAM", f"127.0.0.1:{quest.port}")
    library = DcamLibrary(str(lightning.library))
    assert library.open(0).string(IdString.SERIES_NAME) == "ORCA-Quest"
    library.close()


def test_a_camera_that_is_not_there_is_refused_with_those_that_are(library: DcamLibrary) -> None:
    with pytest.raises(DetectorRefused, match=r"open camera 1.*INVALIDCAMERA.*Accepted: 0 to 0"):
        library.open(1)


def test_a_camera_is_opened_once(library: DcamLibrary, camera: DcamCamera) -> None:
    assert refusal(lambda: library.open(0)) == DcamError.BUSY
    library.close()
    again = DcamLibrary(library.path)
    assert again.open(0).status() is CaptureStatus.STABLE
    again.close()


def test_a_closed_library_is_used_no_more(library: DcamLibrary, camera: DcamCamera) -> None:
    library.close()
    library.close()
    with pytest.raises(DetectorOffline, match="UNLOADED"):
        camera.value(P.EXPOSURE_TIME)


def test_a_library_is_closed_when_all_calls_have_come_back(library: DcamLibrary, camera: DcamCamera) -> None:
    """Looks from many threads and a wait, while it is closed: each gets an answer or is refused."""
    wait, kinds, waiting = camera.wait(), set(), threading.Event()

    def look() -> None:
        try:
            while True:
                camera.value(P.EXPOSURE_TIME)
                camera.status()
                waiting.set()
        except DetectorOffline as error:
            kinds.add(code_of(error))

    threads = [threading.Thread(target=look, name="look") for _ in range(4)]
    threads.append(threading.Thread(target=lambda: wait.start(FRAME_READY, 200), name="waiting"))
    for thread in threads:
        thread.start()
    assert waiting.wait(10)
    library.close()
    for thread in threads:
        thread.join()
    assert kinds == {DcamError.UNLOADED}


def test_a_camera_that_goes_away_is_offline_everywhere(server: OrcaSimulatorServer, camera: DcamCamera) -> None:
    wait = camera.wait()
    server.close()
    assert wait.start(FRAME_READY, 5000)[0] == DcamError.FAILREADCAMERA
    for act in (camera.status, lambda: camera.value(P.EXPOSURE_TIME), lambda: camera.attach([0]), camera.stop):
        with pytest.raises(DetectorOffline):
            act()


def test_errors_have_names_and_keep_their_kind() -> None:
    assert name_of_error(-2147483390) == "BUSY (0x80000102)".replace("BUSY", "ABORT")
    assert name_of_error(0x80001234 - (1 << 32)) == "error 0x80001234"
    assert isinstance(failure("x", DcamError.TIMEOUT), DetectorTimeout)
    assert isinstance(failure("x", DcamError.NOCAMERA), DetectorOffline)
    assert isinstance(failure("x", DcamError.OUTOFRANGE), DetectorRefused)
    assert code_of(ValueError()) == 0


# --- properties -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", [{"model": "lightning"}, {"model": "quest"}], indirect=True)
def test_every_property_has_a_name_a_value_and_limits_that_hold(camera: DcamCamera) -> None:
    numbers = list(camera.property_ids())
    assert numbers == sorted(set(numbers))
    assert len({camera.name(number) for number in numbers}) == len(numbers)
    for number in numbers:
        found, value = camera.attributes(number), camera.value(number)
        if found.is_writable:
            assert found.minimum <= value <= found.maximum, camera.name(number)
            assert camera.set_value(number, value) == pytest.approx(value, rel=1e-6), camera.name(number)
        if found.kind is Kind.MODE and found.is_writable:
            assert camera.value_text(number, value), camera.name(number)


@pytest.mark.parametrize(("number", "value", "code"), CODES)
def test_what_does_not_fit_is_refused_by_name(camera: DcamCamera, number: int, value: float, code: DcamError) -> None:
    with pytest.raises(DetectorRefused, match=code.name) as caught:
        camera.set_value(number, value)
    assert code_of(caught.value) == code


def test_a_refusal_says_what_would_be_accepted(camera: DcamCamera) -> None:
    with pytest.raises(
        DetectorRefused, match=r"set property EXPOSURE_TIME to 2 .*OUTOFRANGE.*Accepted: 1.26e-05 to 1 in"
    ):
        camera.set_value(P.EXPOSURE_TIME, 2)


def test_a_value_between_two_steps_is_rounded_where_the_camera_says_so(camera: DcamCamera) -> None:
    assert camera.set_value(P.EXPOSURE_TIME, 0.01000003) == pytest.approx(0.01, abs=1e-7)


def test_values_can_be_asked_for_one_after_the_other(camera: DcamCamera) -> None:
    assert camera.query_value(P.BINNING, 1, NEXT) == 2
    assert camera.query_value(P.BINNING, 4, PRIOR) == 2
    assert camera.query_value(P.BINNING, 4, NEXT) is None
    assert camera.query_value(P.SUBARRAY_VSIZE, 8, NEXT) == 12
    assert camera.value_text(P.BINNING, 3) is None


def test_depth_pixel_type_and_shortest_exposure_go_together(camera: DcamCamera) -> None:
    camera.set_value(P.EXPOSURE_TIME, 2e-5)
    camera.set_value(P.IMAGE_PIXEL_TYPE, PixelType.MONO12P)
    assert camera.value(P.IMAGE_ROW_BYTES) == 144
    camera.set_value(P.HIGH_DYNAMIC_RANGE_MODE, 2)
    assert camera.value(P.BITS_PER_CHANNEL) == 16
    assert camera.value(P.IMAGE_PIXEL_TYPE) == PixelType.MONO16
    assert camera.value(P.EXPOSURE_TIME) == pytest.approx(5e-5)
    assert refusal(lambda: camera.set_value(P.IMAGE_PIXEL_TYPE, PixelType.MONO12P)) in (
        DcamError.OUTOFRANGE,
        DcamError.INVALIDVALUE,
    )


def test_access_follows_the_state_of_the_capture(camera: DcamCamera, ring: np.ndarray) -> None:
    assert camera.status() is CaptureStatus.READY
    for number in (P.BINNING, P.SUBARRAY_MODE, P.IMAGE_PIXEL_TYPE, P.SENSOR_MODE):
        assert refusal(lambda number=number: camera.set_value(number, 1)) == DcamError.NOTSTABLE
    camera.set_value(P.TRIGGER_POLARITY, 2)
    camera.start()
    assert camera.status() is CaptureStatus.BUSY
    assert refusal(lambda: camera.set_value(P.TRIGGER_POLARITY, 1)) == DcamError.BUSY
    camera.set_value(P.EXPOSURE_TIME, 0.003)  # may be written always
    camera.set_value(P.TRIGGER_SOURCE, 1)
    camera.stop()
    camera.set_value(P.TRIGGER_POLARITY, 1)


# --- buffers and capture ----------------------------------------------------------------------------------------------


def test_a_frame_larger_than_a_buffer_is_not_written_anywhere(server: OrcaSimulatorServer, camera: DcamCamera) -> None:
    """Its size has the highest bit set: a negative number for who does not look closely."""
    camera.set_value(P.TRIGGER_SOURCE, 3)
    ring = np.zeros((3, int(camera.value(P.BUFFER_FRAME_BYTES))), np.uint8)
    camera.attach([buffer.ctypes.data for buffer in ring])
    camera.start()
    assert server._frames is not None
    head = FrameHead(capture=1, frame_stamp=0, time_s=0.0, nbytes=1 << 31)
    server._frames.sendall(head.pack() + b"x" * ring.shape[1])
    server.close()

    def all_was_read() -> bool:
        try:
            return camera.transferred()[1] > 0
        except DetectorOffline:
            return True

    wait_for("the end of the connection", all_was_read)
    assert not ring.any()


def test_buffers_are_refused_when_nobody_says_how_large_they_are(
    server: OrcaSimulatorServer, camera: DcamCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(simulator_module, "pack_format", lambda **_: bytes(8))
        with pytest.raises(DetectorOffline, match="FAILREADCAMERA"):
            camera.allocate(2)
    camera.allocate(2)
    camera.release()


def test_frames_come_into_our_own_memory_with_their_stamps(camera: DcamCamera, ring: np.ndarray) -> None:
    """A snap, for a sequence would go on writing while we look."""
    wait = camera.wait()
    camera.start(SNAP)
    for number in range(8):
        while camera.transferred()[1] <= number:
            assert wait.start(FRAME_READY, 5000) == (1, FRAME_READY)
        stamp = camera.frame(number)
        assert (stamp.index, stamp.frame_stamp, stamp.address) == (number, number, ring[number].ctypes.data)
        found = ring[number].view("<u2").reshape(64, 96)
        assert np.array_equal(found, np.minimum(expected_frame(1, number, (64, 96)), 4095))
    assert camera.frame(NEWEST).frame_stamp == 7


def test_buffers_of_the_library_serve_as_well(camera: DcamCamera) -> None:
    camera.allocate(3)
    assert refusal(lambda: camera.allocate(3)) == DcamError.NOTSTABLE
    camera.release()
    camera.release()
    assert camera.status() is CaptureStatus.STABLE


def test_a_snap_ends_when_every_buffer_is_filled(camera: DcamCamera, ring: np.ndarray) -> None:
    wait = camera.wait()
    camera.start(SNAP)
    while camera.status() is CaptureStatus.BUSY:
        code, _ = wait.start(CYCLE_END | STOPPED, 5000)
        assert code == 1
    assert camera.transferred() == (7, 8)


def test_each_call_in_the_wrong_state_has_its_error(camera: DcamCamera) -> None:
    assert refusal(camera.start) == DcamError.NOTREADY
    assert refusal(camera.fire_trigger) == DcamError.NOTBUSY
    assert refusal(camera.transferred) == DcamError.NOTREADY
    assert refusal(lambda: camera.frame(0)) == DcamError.NOTREADY
    camera.stop()  # harmless
    camera.allocate(2)
    assert refusal(lambda: camera.frame(2)) == DcamError.INVALIDFRAMEINDEX
    assert refusal(lambda: camera.frame(NEWEST)) == DcamError.BUSY
    camera.start()
    assert refusal(camera.start) == DcamError.BUSY
    assert refusal(camera.release) == DcamError.BUSY
    camera.stop()
    camera.release()


def test_a_software_trigger_makes_one_frame(camera: DcamCamera, ring: np.ndarray) -> None:
    camera.set_value(P.TRIGGER_SOURCE, 3)
    wait = camera.wait()
    camera.start()
    assert wait.start(FRAME_READY, 50)[0] == DcamError.TIMEOUT
    for count in (1, 2):
        camera.fire_trigger()
        assert wait.start(FRAME_READY, 5000)[0] == 1
        assert camera.transferred()[1] == count


def test_a_wait_is_aborted_from_another_thread(camera: DcamCamera, ring: np.ndarray) -> None:
    camera.set_value(P.TRIGGER_SOURCE, 3)
    wait, codes = camera.wait(), []
    camera.start()
    thread = threading.Thread(target=lambda: codes.append(wait.start(FRAME_READY, 60_000)[0]), name="waiting")
    thread.start()
    while thread.is_alive():  # an abort before the wait aborts nothing
        wait.abort()
        thread.join(0.02)
    assert codes == [DcamError.ABORT]


def test_lost_frames_are_told_once_and_leave_a_gap_in_the_stamps(
    camera: DcamCamera, ring: np.ndarray, set_faults: Callable[..., None]
) -> None:
    set_faults(drop_frames=[2, 3])
    wait = camera.wait()
    camera.start(SNAP)
    codes = []
    while camera.status() is CaptureStatus.BUSY:
        codes.append(wait.start(FRAME_READY | CYCLE_END, 5000)[0])
    assert codes.count(DcamError.LOSTFRAME) >= 1
    assert set(codes) == {1, DcamError.LOSTFRAME}
    assert [camera.frame(index).frame_stamp for index in range(6)] == [0, 1, 4, 5, 6, 7]


def test_a_frame_that_is_being_made_when_it_stops_does_not_come_into_the_next_capture(
    camera: DcamCamera, ring: np.ndarray
) -> None:
    for _ in range(5):
        camera.start()
        while not camera.transferred()[1]:
            os.sched_yield()
        camera.stop()
        count = camera.transferred()[1]
        assert camera.frame((count - 1) % 8).frame_stamp == count - 1
        assert camera.transferred()[1] == count
