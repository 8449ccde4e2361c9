"""Our SIMPLON driver drives ALBA's eiger-simulator: API 1.6.0 and stream v1, from end to end.

What the simulator gets wrong stands in `KNOWN_LIES`; the driver's part of it is in the driver's module docstring.
"""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Iterator

import bitshuffle
import lz4.block
import numpy as np
import pytest

from counterparts.plugin import RunningCounterpart
from maxdaq_tango.detectors.contract import HardwareState, Range
from maxdaq_tango.detectors.eiger.driver import EigerDriver
from maxdaq_tango.errors import DetectorRefused
from maxdaq_tango.model import AcquisitionSettings, Encoding, TriggerMode
from maxdaq_tango.testing.stream_probe import StreamProbe

pytestmark = pytest.mark.counterpart

SHAPE = (512, 1028)
NBYTES = 512 * 1028 * 2
IMAGES = 4
KNOWN_LIES = (
    "ready for idle, from initialize on and for ever, also while acquiring",
    "bslz4 blobs without their 12-byte header",
    "header_detail all carries texts instead of arrays",
    "header_appendix is accepted and never sent",
    "disarm, cancel and abort of an armed series that was not triggered send no end message",
    "one frame may follow the end message after a cancel",
    "ntrigger is ignored: each trigger numbers from 0 and ends the series",
    "limits of 0 to 0, no key list, no check of any value",
    "frames follow each other in count_time, whatever frame_time says",
)


@pytest.fixture
def driver(eiger_simulator: RunningCounterpart) -> Iterator[EigerDriver]:
    driver = EigerDriver(
        eiger_simulator.host,
        eiger_simulator.ports["http"],
        legacy_port=eiger_simulator.ports["legacy"],
        header_detail="basic",
    )
    driver.connect()
    yield driver
    driver.abort()
    driver.close()


def burst(frames: int = 6, mode: TriggerMode = TriggerMode.SOFTWARE) -> AcquisitionSettings:
    return AcquisitionSettings(exposure_time_s=0.02, frames_per_trigger=frames, trigger_count=1, trigger_mode=mode)


def expected(frame: int) -> np.ndarray:
    """What start_eiger_simulator.py put into the data set."""
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return ((frame % IMAGES) * 1000 + rows + columns) % 65521


def with_chunk_header(blob: bytes, itemsize: int) -> bytes:
    """What a bslz4 blob that begins with its first block lacks of an HDF5 chunk."""
    block_bytes = 8192 // itemsize // 8 * 8 * itemsize  # bitshuffle's default block
    return struct.pack(">QI", NBYTES, block_bytes) + blob


def test_connect_finds_and_initialises_it(driver: EigerDriver) -> None:
    identity = driver.connect()
    assert (identity.model, identity.serial_number) == ("Dectris Eiger 9M", "E-18-0102")
    assert identity.api_version == "1.6.0"
    report = driver.report()
    assert report.state is HardwareState.IDLE
    assert report.message == "ready"
    assert not report.ready_for_trigger


def test_limits_and_parameters_are_found_without_a_key_list(driver: EigerDriver) -> None:
    limits = driver.limits()
    assert limits["exposure_time_s"] == Range(2.9e-6, 1800.0)
    assert limits["threshold_ev"] == Range()  # it states 0 to 0
    assert {"count_time", "wavelength", "stream/mode", "monitor/mode", "filewriter/mode"} <= set(driver.parameters())
    assert "flatfield" not in driver.parameters()


def test_v2_is_refused_because_it_has_none(eiger_simulator: RunningCounterpart) -> None:
    driver = EigerDriver(eiger_simulator.host, eiger_simulator.ports["http"], stream_format="dectris-v2")
    with pytest.raises(DetectorRefused, match="Accepted: dectris-v1"):
        driver.connect()


def test_settings_are_applied_checked_and_read_back(driver: EigerDriver) -> None:
    description = driver.configure(burst())
    assert description.shape == SHAPE
    assert description.dtype == "uint16"
    assert description.frame_period_s == pytest.approx(0.02001)  # its readout takes 10 us
    with pytest.raises(DetectorRefused, match=r"set detector/count_time to 2000\.0.*2\.9e-06 to 1800 s"):
        driver.configure(AcquisitionSettings(exposure_time_s=2000.0))
    assert driver.set_parameter("energy_ev", 12_000) == 12_000


def test_a_series_arrives_whole_pixel_for_pixel(driver: EigerDriver) -> None:
    compression = driver.parameter("compression").value
    with StreamProbe(driver.configure(burst())) as probe:
        armed = driver.arm()
        assert driver.report().state is HardwareState.ARMED
        driver.trigger()
        assert driver.report().state is HardwareState.IDLE
        if compression == "lz4":
            start, frames, end = probe.series()
            assert armed.series == start.series == end.series
            assert start.frame_count == armed.frame_count == 6
            assert [frame.frame_number for frame in frames] == list(range(6))
            for frame in frames:
                assert frame.format.encoding is Encoding.LZ4_BLOCK
                pixels = lz4.block.decompress(bytes(frame.blobs[0]), uncompressed_size=NBYTES)
                np.testing.assert_array_equal(np.frombuffer(pixels, "<u2").reshape(SHAPE), expected(frame.frame_number))
            return
        # The decoder may refuse these blobs, so the messages are taken as they come.
        messages = [probe.message() for _ in range(8)]
    assert json.loads(messages[0][0])["series"] == json.loads(messages[-1][0])["series"] == int(armed.series or -1)
    for number, (part0, part1, blob, _) in enumerate(messages[1:-1]):
        assert json.loads(part0)["frame"] == number
        assert json.loads(part1)["encoding"] == "bs16-lz4<"
        assert struct.unpack_from(">Q", blob)[0] != NBYTES
        assert last_block_end(blob) == len(blob)
        chunk = np.frombuffer(with_chunk_header(blob, 2), "uint8")
        pixels = bitshuffle.decompress_lz4(chunk[12:], SHAPE, np.dtype("uint16"), 4096)
        np.testing.assert_array_equal(pixels, expected(number))


def last_block_end(blob: bytes) -> int:
    """Where the blocks end when they are walked from the first byte: 4 bytes of length, then that many bytes."""
    full, rest = divmod(NBYTES, 8192)
    blocks = full + bool(rest // 16)  # a last, shorter block holds a multiple of 8 pixels
    offset = 0
    for _ in range(blocks):
        offset += 4 + struct.unpack_from(">I", blob, offset)[0]
    return offset + rest % 16  # what does not fill 8 pixels follows unpacked


def test_the_lies_that_we_work_around_are_still_told(driver: EigerDriver) -> None:
    """When this fails the simulator has been mended: shorten the list."""
    driver.set_parameter("stream/header_appendix", {"filename": ""})
    described = driver.configure(burst(frames=1))
    driver.set_parameter("stream/header_detail", "all")  # configure puts its own back
    with StreamProbe(described, timeout_s=0.5) as probe:
        driver.arm()
        parts = probe.message()
        assert len(parts) == 8  # no appendix
        assert parts[3] == b"flatfield-data-blob-here"
        driver.abort()
        with pytest.raises(TimeoutError):  # no end message either
            probe.message()


@pytest.mark.parametrize("ending", ["stop", "abort"])
def test_a_running_series_is_ended_and_the_next_one_is_whole(driver: EigerDriver, ending: str) -> None:
    with StreamProbe(driver.configure(burst(frames=1000))) as probe:
        driver.arm()
        trigger = threading.Thread(target=driver.trigger, name="trigger")
        trigger.start()
        while json.loads(probe.message()[0])["htype"] != "dimage-1.0":  # it says 'ready' even while acquiring
            pass
        assert not driver.report().ready_for_trigger
        with pytest.raises(DetectorRefused, match="a trigger is running"):
            driver.configure(burst())
        started = time.monotonic()
        getattr(driver, ending)()
        trigger.join(5)
        assert not trigger.is_alive()
        assert time.monotonic() - started < 1
        while json.loads(probe.message()[0])["htype"] != "dseries_end-1.0":
            pass

        armed_late = threading.Event()
        armed_late.wait(0.1)  # the frame that it sends after its end message
        driver.configure(burst(frames=2, mode=TriggerMode.INTERNAL))
        armed = driver.arm()
        driver.trigger()
        seen = []
        while (part0 := json.loads(probe.message()[0]))["htype"] != "dseries_end-1.0":
            seen.append((part0["htype"], part0["series"], part0.get("frame")))
    series = int(armed.series or -1)
    expected_messages = [("dheader-1.0", series, None), ("dimage-1.0", series, 0), ("dimage-1.0", series, 1)]
    assert [message for message in seen if message[1] == series] == expected_messages


@pytest.mark.parametrize("ending", ["stop", "abort"])
def test_ending_is_harmless_when_there_is_nothing_to_end(driver: EigerDriver, ending: str) -> None:
    driver.configure(burst())
    for _ in range(2):
        getattr(driver, ending)()
        assert driver.report().state is HardwareState.IDLE
    driver.arm()
    with pytest.raises(DetectorRefused):
        driver.arm()
    getattr(driver, ending)()
    assert driver.report().state is HardwareState.IDLE
    with pytest.raises(DetectorRefused):
        driver.trigger()


def test_a_second_driver_finds_it_initialised_and_sees_through_its_ready(eiger_simulator: RunningCounterpart) -> None:
    ports = eiger_simulator.ports
    for _ in range(2):
        driver = EigerDriver(eiger_simulator.host, ports["http"], legacy_port=ports["legacy"], header_detail="basic")
        driver.connect()
        driver.configure(burst())
        assert driver.report().state is HardwareState.IDLE
        driver.close()
