"""EigerDectrisFacade, driven as MXCuBE drives an EigerDectris device: what it polls, writes, awaits and calls.

The order is that of mxcubecore's MAXIV/EigerDetector.py and of the collections that use it.
"""

from __future__ import annotations

import json
import time
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import pytest
import tango
from tango import DevState

NAMES = iter(range(1000))
EXACT = ("FilenamePattern", "HeaderDetail", "HeaderAppendix", "ImageAppendix", "TriggerMode", "RoiMode", "MonitorMode",
         "FileWriterMode")  # fmt: skip
"""Read-back must be equal; of all other attributes it must be close."""


class Mxcube:
    """The client's side: no call of ours, only what it does with a DeviceProxy."""

    def __init__(self, device: Any, wait: Any) -> None:
        self.device, self._wait = device, wait

    @property
    def status(self) -> str:
        return str(self.device.Status().split("\n")[0])

    def wait_for(self, *words: str) -> None:
        self._wait(lambda: self.status in words, 20, f"{' or '.join(words)}, now {self.status}")

    def set(self, name: str, value: Any) -> None:
        """Write, then poll until the read-back agrees."""
        self.device.write_attribute(name, value)

        def agrees() -> bool:
            read = self.device.read_attribute(name).value
            return read == value if name in EXACT else abs(read - value) <= 1e-4 * max(abs(read), abs(value))

        self._wait(agrees, 10, f"{name} reading {value}")

    def set_monitor(self) -> None:
        self.set("MonitorMode", "enabled")
        self.set("DiscardNew", False)

    def prepare(self, config: dict[str, Any]) -> None:
        self.set_monitor()
        if self.status != "idle":
            self.stop()
        self.wait_for("idle")
        energy = config["PhotonEnergy"]
        if abs(self.device.PhotonEnergy - energy) > 20:
            self.set("PhotonEnergy", energy)
        self.set("CountTime", config["CountTime"])
        self.set("FrameTime", config["CountTime"] + self.device.ReadoutTime)
        for name, value in config.items():
            if name not in ("PhotonEnergy", "CountTime") and self.device.read_attribute(name).value != value:
                self.set(name, value)

    def arm(self) -> None:
        assert self.status == "idle"
        self.device.Arm()
        self.wait_for("ready")

    def stop(self) -> None:
        self.wait_for("ready", "idle")
        self.device.Cancel()
        self.device.Disarm()


@pytest.fixture(scope="module")
def clients(site, make_clients, wait_on) -> Any:
    site.simulate("eiger")
    receiver = site.receiver("eiger", Grace=0.5)
    detector = site.eiger("eiger", receiver)
    facade = site.device_name("mx", "eiger")
    misled = site.device_name("mx", "misled")
    devices = {facade: {"Target": detector, "Root": str(site.data)}, misled: {"Target": receiver}}
    site.serve("maxdaq_tango.eigerdectris.device", "EigerDectrisFacade", devices)
    made = make_clients(site, facade=facade, misled=misled, detector=detector, receiver=receiver)
    wait_on(made.detector, made.receiver, made.facade)
    return made


@pytest.fixture
def mx(clients, wait, wait_on) -> Any:
    mx = Mxcube(clients.facade, wait)
    wait(lambda: mx.device.read_attribute("MonitorMode").value is not None, 10, "all settings of the detector")
    mx.device.FileWriterMode, mx.device.ImagesPerFile, mx.device.CollectionUUID = "enabled", 0, ""
    yield mx
    clients.site.simulators["eiger"].faults()
    mx.device.Abort()
    wait_on(clients.detector, clients.receiver)
    mx.wait_for("idle")


def config(**changes: Any) -> dict[str, Any]:
    return {
        "OmegaStart": 12.5,
        "OmegaIncrement": 0.1,
        "BeamCenterX": 20.0,
        "BeamCenterY": 30.0,
        "DetectorDistance": 0.25,
        "CountTime": 0.005,
        "NbImages": 10,
        "NbTriggers": 1,
        "ImagesPerFile": 1000,
        "RoiMode": "disabled",
        "HeaderDetail": "all",
        "FilenamePattern": f"/visitors/sample_{next(NAMES)}",
        "PhotonEnergy": 12400.0,
        "TriggerMode": "exts",
        **changes,
    }


def master(clients: Any, settings: dict[str, Any]) -> str:
    return f"{clients.site.data}{settings['FilenamePattern']}_master.h5"


def rows(path: str) -> int:
    with h5py.File(path) as file:
        data = file["/entry/instrument/eiger/data"][...]
    assert len({frame.tobytes() for frame in data}) == len(data)
    return len(data)


def edges(clients: Any, count: int = 1) -> None:
    clients.site.simulators["eiger"].post(f"edge?count={count}&period_s=0.1")


def test_a_collection_from_connect_to_the_file(mx, clients, wait) -> None:
    device = mx.device
    device.Compression = "bslz4"  # as it is connected
    wait(lambda: device.get_attribute_config("PhotonEnergy").max_value != "Not specified", 10, "limits")
    limits = device.get_attribute_config("PhotonEnergy")
    assert float(limits.min_value) < 12400 < float(limits.max_value)
    assert 0 < float(device.get_attribute_config("FrameTime").min_value) < 0.001
    device.CollectionUUID = "1b2c"
    clients.detector.Metadata = json.dumps({"sample": "Ω 漢"})
    settings = config()
    mx.set("FileWriterMode", "enabled")
    device.EnableStream()
    mx.prepare(settings)
    assert (device.EnergyThreshold, round(device.Wavelength, 4)) == (6200.0, 0.9999)
    dozor = {name: device.read_attribute(name).value for name in
             ("CountrateCorrectionCountCutoff", "XPixelsDetector", "YPixelsDetector", "XPixelSize")}  # fmt: skip
    assert dozor["CountrateCorrectionCountCutoff"] > 0
    assert (dozor["XPixelsDetector"], dozor["YPixelsDetector"], round(dozor["XPixelSize"], 6)) == (48, 64, 7.5e-5)
    mx.set("HeaderAppendix", json.dumps({"dozor_dict": dozor}))
    assert device.BufferFree > 0
    assert device.NbImages * device.FrameTime - device.ReadoutTime == pytest.approx(0.05, rel=1e-3)
    mx.arm()
    assert device.State() == DevState.RUNNING
    edges(clients)
    mx.wait_for("idle")
    mx.stop()  # as at the end of each collection: harmless
    assert (mx.status, device.nFramesReceived, device.Error) == ("idle", 10, "")
    path = master(clients, settings)
    assert rows(path) == 10
    receipt = json.loads(clients.detector.LastReceipt)
    assert receipt["verdict"] == "COMPLETE"
    report = json.dumps(receipt)
    with h5py.File(path) as file:
        stored = "".join(str(value) for value in _texts(file))
    assert "1b2c" in stored + report
    assert receipt["settings"]["metadata"]["sample"] == "Ω 漢"
    assert "dozor_dict" in stored + report
    assert '"omega_start": 12.5' in stored or '"omega_start":12.5' in stored


def _texts(file: h5py.File) -> list[Any]:
    found: list[Any] = []

    def keep(_: str, item: Any) -> None:
        found.extend(str(value) for value in item.attrs.values())
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "O" and item.shape == ():
            found.append(item.asstr()[()])

    file.visititems(keep)
    return found


def test_images_per_file_are_data_files_beside_the_master(mx, clients) -> None:
    settings = config(ImagesPerFile=4)
    mx.prepare(settings)
    mx.arm()
    edges(clients)
    mx.wait_for("idle")
    path = master(clients, settings)
    assert rows(path) == 10
    folder, stem = clients.site.data / "visitors", settings["FilenamePattern"].rpartition("/")[2]
    assert [file.name for file in sorted(folder.glob(f"{stem}_data_*.h5"))] == [
        f"{stem}_data_{number:06d}.h5" for number in (1, 2, 3)
    ]


def test_a_file_that_exists_refuses_arm_before_anything_is_armed(mx, clients, wait) -> None:
    settings = config(NbImages=2)
    mx.prepare(settings)
    mx.arm()
    edges(clients)
    mx.wait_for("idle")
    mx.prepare(settings)
    with pytest.raises(tango.DevFailed, match="exist"):
        mx.device.Arm()
    mx.wait_for("idle")
    assert "exist" in mx.device.Error
    assert "exist" in mx.device.Status().split("\n", 1)[1]
    assert rows(master(clients, settings)) == 2
    mx.prepare(config(NbImages=2))  # needs no reset
    mx.arm()
    mx.stop()
    mx.wait_for("idle")


def test_each_trigger_of_ints_takes_its_images(mx, clients) -> None:
    settings = config(TriggerMode="ints", NbImages=3, NbTriggers=2)
    mx.prepare(settings)
    with pytest.raises(tango.DevFailed, match="Arm first"):
        mx.device.Trigger()
    mx.arm()
    for _ in range(2):
        mx.wait_for("ready")
        mx.device.Trigger()
    mx.wait_for("idle")
    assert rows(master(clients, settings)) == 6


def test_each_trigger_of_inte_has_its_own_count_time(mx, clients, wait) -> None:
    settings = config(TriggerMode="inte", NbImages=1, NbTriggers=3)
    mx.prepare(settings)
    mx.arm()
    for number, seconds in enumerate((0.02, 0.25, 0.0)):
        mx.wait_for("ready")
        mx.device.CountTimeInte = seconds
        began = time.monotonic()
        mx.device.Trigger()
        assert mx.device.CountTime == pytest.approx(0.005)
        wait(lambda number=number: mx.device.nFramesAcquired > number, 5, f"image {number}")
        assert time.monotonic() - began >= (seconds or 0.005)
    mx.wait_for("idle")
    path = master(clients, settings)
    assert rows(path) == 3
    with h5py.File(path) as file:
        told = file["/entry/instrument/eiger/real_time"][...]
    assert list(told) == pytest.approx([0.02, 0.25, 0.005], abs=1e-6)


def test_gates_of_exte(mx, clients) -> None:
    settings = config(TriggerMode="exte", NbImages=1, NbTriggers=3)
    mx.prepare(settings)
    mx.arm()
    clients.site.simulators["eiger"].post("gate", b'{"width_s": 0.01, "count": 3, "period_s": 0.03}')
    mx.wait_for("idle")
    assert rows(master(clients, settings)) == 3


@pytest.mark.parametrize("command", ["Cancel", "Disarm", "Abort"])
def test_a_series_that_is_ended_keeps_its_images(mx, clients, wait, command: str) -> None:
    settings = config(NbImages=10_000)
    mx.prepare(settings)
    mx.arm()
    edges(clients)
    wait(lambda: mx.device.nFramesReceived > 3, 10, "some images")
    assert mx.status == "acquire"
    assert mx.device.FileWriterState == "acquire"
    with pytest.raises(tango.DevFailed, match="an acquisition is under way"):
        mx.device.BeamCenterX = 1.0
    with pytest.raises(tango.DevFailed, match="idle; Disarm or Abort first"):
        mx.device.Arm()
    mx.device.command_inout(command)
    mx.wait_for("idle")
    assert json.loads(clients.detector.LastReceipt)["verdict"] == "ABORTED"
    assert 3 < mx.device.nFramesReceived < 10_000


def test_without_the_file_writer_there_is_no_file(mx, clients) -> None:
    settings = config(NbImages=2)
    mx.prepare(settings)
    mx.set("FileWriterMode", "disabled")
    assert mx.device.FileWriterState == "disabled"
    before = set((clients.site.data / "visitors").iterdir())
    mx.arm()
    edges(clients)
    mx.wait_for("idle")
    assert mx.device.nFramesReceived == 2
    assert set((clients.site.data / "visitors").iterdir()) == before


def test_images_that_are_missing_are_told(mx, clients) -> None:
    clients.site.simulators["eiger"].faults(drop_frames=[3])
    mx.prepare(config())
    mx.arm()
    edges(clients)
    mx.wait_for("idle")
    assert "1 of 10 frames never came" in mx.device.Error


def test_times_follow_each_other(mx) -> None:
    device = mx.device
    mx.set("CountTime", 0.01)
    mx.set("FrameTime", 0.02)
    mx.set("CountTime", 0.05)
    assert device.FrameTime == pytest.approx(0.05 + device.ReadoutTime)
    mx.set("FrameTime", 0.02)
    assert device.CountTime == pytest.approx(0.02 - device.ReadoutTime)


def test_the_stream_is_off_until_the_next_arm(mx, clients, wait) -> None:
    mx.device.DisableStream()
    assert clients.detector.StreamMode == "disabled"
    mx.prepare(config(NbImages=1))
    mx.arm()
    edges(clients)
    mx.wait_for("idle")
    assert mx.device.nFramesReceived == 1


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("TriggerMode", "extg", "ints, inte, exts, exte"),
        ("FilenamePattern", "series_$id", "not known before Arm"),
        ("FileWriterMode", "auto", "enabled, disabled"),
        ("ImageNbStart", 0, "counted from 1"),
        ("MonitorMode", "sometimes", "'enabled', 'disabled'"),
        ("PhotonEnergy", 900_000.0, "above the maximum"),
        ("HeaderDetail", "much", "'all', 'basic', 'none'"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(mx, attribute: str, value: Any, said: str) -> None:
    with pytest.raises(tango.DevFailed, match=said):
        mx.device.write_attribute(attribute, value)


@pytest.mark.parametrize(
    ("command", "argument"),
    [("ClearBuffer", None), ("DeleteFileFromBuffer", "a.h5"), ("DownloadFilesFromBuffer", ["a"])],
)
def test_the_buffer_of_the_detector_is_no_silent_lie(mx, command: str, argument: Any) -> None:
    assert not mx.device.FilesInBuffer
    with pytest.raises(tango.DevFailed, match="no file is in the detector's buffer"):
        mx.device.command_inout(command, *([] if argument is None else [argument]))


def test_a_device_behind_that_is_no_eiger_is_told(clients, wait) -> None:
    device = clients.misled
    wait(lambda: "EigerDetector" in device.Status(), 10, "that it says so")
    assert device.State() == DevState.UNKNOWN
    assert device.Status().split("\n")[0] == "UNKNOWN"
    assert device.read_attribute("FileWriterState").quality == tango.AttrQuality.ATTR_INVALID
    for call in (device.Arm, device.Trigger, lambda: device.write_attribute("CountTime", 0.1)):
        with pytest.raises(tango.DevFailed, match="name of an EigerDetector"):
            call()
