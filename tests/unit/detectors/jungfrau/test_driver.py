"""The driver against a simulated Jungfrau in another process: the contract of all drivers, and what is its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec
import pytest

from maxdaq_tango.detectors.contract import HardwareState
from maxdaq_tango.detectors.jungfrau.driver import JungfrauDriver
from maxdaq_tango.detectors.jungfrau.parameters import JungfrauParameters, sources_of
from maxdaq_tango.errors import DetectorError, DetectorOffline, DetectorRefused
from maxdaq_tango.model import AcquisitionSettings, StreamFormat, TriggerMode
from maxdaq_tango.model.conversion import Conversion, ConvertTo
from maxdaq_tango.testing.driver_contract import DriverContract, wait_for

SIMULATED = "maxdaq_tango.detectors.jungfrau.simulated_slsdet"


def connected(simulator: Any, **how: Any) -> JungfrauDriver:
    driver = JungfrauDriver(simulator.host, library=SIMULATED, **how)
    driver.connect()
    driver.abort()
    driver.set_parameter("powerchip", True)
    return driver


@pytest.fixture
def driver(simulated: Any) -> Iterator[JungfrauDriver]:
    simulated.post("faults")
    driver = connected(simulated)
    yield driver
    simulated.post("faults")
    driver.connect()
    driver.abort()
    driver.close()


class TestContract(DriverContract):
    """Two interfaces of one module."""

    modes: ClassVar = (TriggerMode.INTERNAL, TriggerMode.SOFTWARE, TriggerMode.EXTERNAL_MULTI)
    excessive_exposure_s: ClassVar[float | None] = None  # the package states no limit

    @pytest.fixture
    def driver(self, driver: JungfrauDriver) -> JungfrauDriver:
        return driver

    @pytest.fixture
    def absent_driver(self) -> Iterator[JungfrauDriver]:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            driver = JungfrauDriver(f"127.0.0.1:{unused.getsockname()[1]}", library=SIMULATED)
            yield driver
            driver.close()


def settings(**how: Any) -> AcquisitionSettings:
    return AcquisitionSettings(**{"exposure_time_s": 0.005, "trigger_mode": TriggerMode.SOFTWARE} | how)


def test_the_stream_is_described_with_every_port_and_the_shape_of_its_frames(
    driver: JungfrauDriver, simulated: Any
) -> None:
    described = driver.configure(settings(frames_per_trigger=3, trigger_count=2))
    assert described.sources == tuple(f"tcp://127.0.0.1:{simulated.stream_port + n}" for n in range(2))
    assert (described.stream_format, described.shape, described.dtype) == (StreamFormat.SLS_JSON, (2, 16, 48), "uint16")
    assert described.metadata["gainmode"] == "DYNAMIC"
    assert (described.metadata["rx_zmqfreq"], described.metadata["frames"]) == (1, 3)


@pytest.mark.parametrize(
    ("told", "ports", "shape"),
    [
        ({"rx_zmqport": 30001, "numinterfaces": 2, "nmod": 1, "detsize": [1024, 512], "module_geometry": [1, 1]},
         [30001, 30002], (2, 256, 1024)),
        ({"rx_zmqport": [30001, 30005], "numinterfaces": 1, "nmod": 2, "detsize": [1024, 1024],
          "module_geometry": [1, 2]}, [30001, 30005], (2, 512, 1024)),
        ({"rx_zmqport": 30001, "numinterfaces": 2, "nmod": 2, "detsize": [2048, 512], "module_geometry": [2, 1]},
         [30001, 30002, 30003, 30004], (4, 256, 1024)),
        ({"rx_zmqport": 30001}, [30001], ()),
        ({"rx_zmqport": 30001, "detsize": [0, 0], "module_geometry": [1, 1]}, [30001], ()),
    ],
)  # fmt: skip
def test_ports_follow_from_what_the_package_tells(
    told: dict[str, Any], ports: list[int], shape: tuple[int, ...]
) -> None:
    sources, found = sources_of({**told, "rx_hostname": "daq-pc:1954"}, "", "jungfrau")
    assert sources == tuple(f"tcp://daq-pc:{port}" for port in ports)
    assert found == shape
    assert sources_of(told, "stream-pc", "jungfrau")[0][0].startswith("tcp://stream-pc:")
    assert sources_of(told, "", "jungfrau:1952+other")[0][0].startswith("tcp://jungfrau:")


def test_modules_with_different_numbers_of_interfaces_are_refused() -> None:
    with pytest.raises(DetectorRefused, match="alike"):
        sources_of({"rx_zmqport": [30001, 30002], "nmod": 2, "numinterfaces": [1, 2]}, "", "jungfrau")


def test_several_modules_each_have_their_ports(start: Any) -> None:
    simulator = start("--modules", "2", "--interfaces", "2")
    driver = connected(simulator)
    described = driver.configure(settings())
    assert (len(set(described.sources)), described.shape) == (4, (4, 16, 48))
    assert described.metadata["nmod"] == 2
    driver.close()


class Several:
    """An adapter of two modules that differ."""

    host = "two modules"
    is_connected = True

    def __init__(self, **values: Any) -> None:
        self.values: dict[str, Any] = {"powerchip": True, "temp_event": 0, **values}

    def get(self, name: str, timeout_s: float = 0.0) -> Any:
        return self.values[name]


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (["IDLE", "RUNNING"], HardwareState.ACQUIRING),
        (["WAITING", "IDLE"], HardwareState.ACQUIRING),
        (["RUNNING", "ERROR"], HardwareState.ERROR),
        (["IDLE", "STOPPED"], HardwareState.IDLE),
    ],
)
def test_of_modules_that_differ_the_busiest_counts(words: list[str], state: HardwareState) -> None:
    driver = JungfrauDriver("x", library=SIMULATED)
    driver._adapter = Several(status=words)
    assert driver.report().state is state


def test_a_module_without_power_is_enough_to_refuse_arm() -> None:
    with pytest.raises(DetectorRefused, match="not powered"):
        JungfrauParameters(Several(powerchip=[True, False])).must_be_ready()


def test_one_module_in_fix_g0_is_enough_to_refuse() -> None:
    with pytest.raises(DetectorRefused, match="damage"):
        JungfrauParameters(Several(gainmode=["DYNAMIC", "FIX_G0"])).must_be_harmless()
    JungfrauParameters(Several(gainmode=["DYNAMIC", "FIX_G1"])).must_be_harmless()


def test_fix_g0_is_refused_unless_it_was_allowed(driver: JungfrauDriver, simulated: Any) -> None:
    with pytest.raises(DetectorRefused) as refusal:
        driver.set_parameter("gainmode", "FIX_G0")
    assert "damage" in refusal.value.answer
    assert "AllowFixG0" in refusal.value.accepted
    assert driver.parameter("gainmode") == "DYNAMIC"
    brave = connected(simulated, allow_fix_g0=True)
    assert brave.set_parameter("gainmode", "FIX_G0") == "FIX_G0"
    try:
        with pytest.raises(DetectorRefused, match="damage"):  # whoever has set it
            driver.configure(settings())
        brave.configure(settings())
    finally:
        brave.set_parameter("gainmode", "DYNAMIC")
        brave.close()


def test_gain_mode_that_was_changed_behind_our_back_is_noticed_at_arm(driver: JungfrauDriver, simulated: Any) -> None:
    brave = connected(simulated, allow_fix_g0=True)
    driver.configure(settings())
    brave.set_parameter("gainmode", "FIX_G0")
    try:
        with pytest.raises(DetectorRefused, match="damage"):
            driver.arm()
    finally:
        brave.set_parameter("gainmode", "DYNAMIC")
        brave.close()


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("gainmode", "FIX_G7", "FORCE_SWITCH_G1"),
        ("settings", "STANDARD", "HIGHGAIN0"),
        ("highvoltage", 10, "60 to 200"),
        ("highvoltage", 300, "60 to 200"),
        ("hostname", "elsewhere", "gainmode"),
    ],
)
def test_settings_that_do_not_exist_are_refused_with_those_that_do(
    driver: JungfrauDriver, name: str, value: Any, accepted: str
) -> None:
    with pytest.raises(DetectorRefused) as refusal:
        driver.set_parameter(name, value)
    assert accepted in refusal.value.accepted


def test_settings_are_set_and_read_back(driver: JungfrauDriver) -> None:
    for name, values in {
        "gainmode": ["FORCE_SWITCH_G1", "FORCE_SWITCH_G2", "FIX_G1", "FIX_G2", "DYNAMIC"],
        "settings": ["HIGHGAIN0", "GAIN0"],
        "highvoltage": [180, 0],
        "readoutspeed": ["FULL_SPEED", "HALF_SPEED"],
    }.items():
        for value in values:
            assert driver.set_parameter(name, value) == value


def test_a_high_voltage_that_fails_is_told_and_a_series_can_still_be_taken(
    driver: JungfrauDriver, simulated: Any
) -> None:
    simulated.post("faults", high_voltage_fails=True)
    with pytest.raises(DetectorRefused, match="Could not set high voltage"):
        driver.set_parameter("highvoltage", 100)
    driver.configure(settings())
    driver.arm()
    driver.trigger()


def test_without_power_arm_is_refused(driver: JungfrauDriver) -> None:
    driver.configure(settings())
    driver.set_parameter("powerchip", False)
    with pytest.raises(DetectorRefused, match="not powered"):
        driver.arm()
    driver.set_parameter("powerchip", True)
    driver.arm()
    driver.abort()


def test_the_chip_is_powered_at_connect_where_that_is_wanted_and_not_after_heat(start: Any) -> None:
    simulator = start()
    driver = JungfrauDriver(simulator.host, library=SIMULATED, power_at_connect=True)
    driver.connect()
    assert driver.parameter("powerchip") is True
    driver.set_parameter("powerchip", False)
    driver.connect()  # it was connected: whoever has switched it off meant it
    assert driver.parameter("powerchip") is False
    driver.close()
    simulator.post("faults", overheated=True)
    driver.connect()
    assert driver.parameter("powerchip") is False
    driver.close()


def test_heat_is_an_error_until_it_is_cleared(driver: JungfrauDriver, simulated: Any) -> None:
    driver.configure(settings())
    simulated.post("faults", overheated=True)
    driver.watch()
    report = driver.report()
    assert (report.state, "temperature event" in report.message) == (HardwareState.ERROR, True)
    with pytest.raises(DetectorRefused, match="temperature event"):
        driver.arm()
    driver.clear_temperature_event()
    assert driver.report().state is HardwareState.IDLE
    with pytest.raises(DetectorRefused, match="not powered"):
        driver.arm()
    driver.set_parameter("powerchip", True)
    driver.arm()
    driver.abort()


def test_an_external_series_ends_by_itself_when_its_last_trigger_was_exposed(
    driver: JungfrauDriver, simulated: Any
) -> None:
    driver.configure(settings(trigger_mode=TriggerMode.EXTERNAL_MULTI, frames_per_trigger=2, trigger_count=3))
    driver.arm()
    assert driver.report().state is HardwareState.ARMED
    series = simulated.get("status")["series"]
    for burst in range(3):
        wait_for("WAITING", lambda: simulated.get("status")["status"] == 2)
        assert simulated.post("edge?count=1") == {"taken": 1}, burst
    wait_for("IDLE", lambda: driver.report().state is HardwareState.IDLE)
    wait_for("the end", lambda: simulated.get(f"account?series={series}")["ends"] == 1)
    assert simulated.get(f"account?series={series}")["frames_made"] == 6
    assert driver.frames_caught == [6]  # both ports alike: the package tells one number
    with pytest.raises(DetectorRefused):
        driver.trigger()


def test_stop_before_the_first_frame_sends_the_end_all_the_same(driver: JungfrauDriver, simulated: Any) -> None:
    driver.configure(settings())
    driver.arm()
    series = simulated.get("status")["series"]
    driver.stop()
    account = simulated.get(f"account?series={series}")
    assert (account["frames_made"], account["ends"], account["finished"]) == (0, 1, True)


def test_lost_packets_of_each_port_are_told_after_the_series(driver: JungfrauDriver, simulated: Any) -> None:
    simulated.post("faults", packet_loss_frames=[0, 2], packet_loss_port=1, packet_loss_count=8)
    driver.configure(settings(frames_per_trigger=3))
    driver.arm()
    driver.trigger()
    assert driver.packets_missing == [0, 16]


@pytest.mark.parametrize(
    ("faults", "step", "answer"),
    [
        ({"refuse_arm": "no UDP socket"}, "arm", "no UDP socket"),
        ({"error_state": "power supply"}, "arm", "ERROR"),
        ({"failing_keys": ["exptime"]}, "configure", "exptime"),
        ({"failing_keys": ["start"]}, "trigger", "start"),
    ],
)
def test_faults_of_the_control_are_refusals_and_the_next_series_is_taken(
    driver: JungfrauDriver, simulated: Any, faults: dict[str, Any], step: str, answer: str
) -> None:
    if step == "arm":
        driver.configure(settings())
    simulated.post("faults", **faults)

    def series() -> None:
        driver.configure(settings())
        driver.arm()
        driver.trigger()

    with pytest.raises(DetectorRefused, match=answer):
        series()
    if "error_state" in faults:
        assert driver.report().state is HardwareState.ERROR
    simulated.post("faults")
    driver.abort()
    series()


def test_a_detector_that_makes_no_frames_is_stopped(driver: JungfrauDriver, simulated: Any) -> None:
    simulated.post("faults", never_start=True)
    import threading

    driver.configure(settings())
    driver.arm()
    thread = threading.Thread(target=driver.trigger, name="trigger")
    thread.start()
    wait_for("ACQUIRING", lambda: driver.report().state is HardwareState.ACQUIRING)
    driver.stop()
    thread.join(5)
    assert not thread.is_alive()


def test_a_conversion_that_cannot_work_is_refused_at_configure(driver: JungfrauDriver) -> None:
    driver.conversion = Conversion(to=ConvertTo.COUNTS, calibration="/c.h5")
    with pytest.raises(DetectorRefused, match="photon energy"):
        driver.configure(settings())
    driver.conversion = msgspec.structs.replace(driver.conversion, photon_energy_ev=12400.0)
    assert driver.configure(settings()).conversion == driver.conversion


def test_a_detector_that_is_gone_in_the_middle_is_offline_and_nothing_hangs(start: Any) -> None:
    simulator = start()
    driver = connected(simulator)
    driver.configure(settings(frames_per_trigger=20_000))
    driver.arm()
    errors: list[DetectorError] = []
    import threading

    def trigger() -> None:
        try:
            driver.trigger()
        except DetectorError as error:
            errors.append(error)

    thread = threading.Thread(target=trigger, name="trigger")
    thread.start()
    wait_for("ACQUIRING", lambda: driver.report().state is HardwareState.ACQUIRING)
    simulator.kill()
    thread.join(10)
    assert [type(error) for error in errors] == [DetectorOffline]
    assert driver.report().state is HardwareState.OFFLINE
    with pytest.raises(DetectorOffline):
        driver.abort()
    driver.close()


def test_each_trigger_sets_the_exposure_that_it_brings(driver: JungfrauDriver, simulated: Any) -> None:
    settings = AcquisitionSettings(
        exposure_time_s=0.01, trigger_count=3, trigger_mode=TriggerMode.SOFTWARE, exposure_per_trigger=True
    )
    driver.configure(settings)
    driver.arm()
    for seconds in (0.02, 0.2, 0.005):
        driver.trigger(seconds)
        assert driver.parameter("exptime") == pytest.approx(seconds)
        assert driver.parameter("period") >= seconds
    assert driver.report().state is HardwareState.IDLE


def test_an_exposure_that_the_detector_does_not_take_is_no_series(driver: JungfrauDriver, simulated: Any) -> None:
    driver.configure(AcquisitionSettings(trigger_mode=TriggerMode.SOFTWARE, exposure_per_trigger=True))
    driver.arm()
    simulated.post("faults", failing_keys=["exptime"])
    with pytest.raises(DetectorRefused, match="exptime"):
        driver.trigger(0.02)
    driver.abort()
    assert driver.report().state is HardwareState.IDLE
