"""The simulated Jungfrau on a clock that tests turn by hand: what it makes, streams, counts and refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maxdaq_tango.detectors.jungfrau.protocol import GainMode, RunStatus, TimingMode
from maxdaq_tango.detectors.jungfrau.simulator import DetectorSaysNo, JungfrauSimulator
from maxdaq_tango.detectors.jungfrau.simulator_pixels import MOST_G0, NOISE_ADU, PHOTON_EV, JungfrauPixels
from maxdaq_tango.detectors.jungfrau.simulator_stream import (
    MEANINGLESS,
    OWN,
    JungfrauOptions,
    Outgoing,
    ReceiverFaults,
    parse_faults,
)
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.errors import ConfigurationError, WireError
from maxdaq_tango.files.calibration import Calibration
from maxdaq_tango.kernels.jungfrau import convert_with_numpy
from maxdaq_tango.model import ModuleEnd, ModuleFrame
from maxdaq_tango.wire.marked import mark
from maxdaq_tango.wire.sls_json import SlsJsonDecoder

ROWS, COLUMNS = 16, 24


class Bench:
    """A simulator with power, its clock and its messages."""

    def __init__(self, own: ReceiverFaults | None = None, options: dict[str, Any] | None = None, **faults: Any) -> None:
        settings = {"rows": ROWS, "columns": COLUMNS, "interfaces": 2} | (options or {})
        self.simulator = JungfrauSimulator(JungfrauOptions(**settings), Faults(**faults), own or ReceiverFaults())
        self.now = 100.0
        for name, value in {"powerchip": True, "rx_zmqstream": True, "rx_zmqfreq": 1}.items():
            self.simulator.set(name, value)
        self.sent: list[Outgoing] = []

    def call(self, name: str) -> None:
        self.simulator.call(name, self.now)
        self.send()

    def send(self) -> None:
        """As the server does."""
        accounts = self.simulator.accounts
        while self.simulator.work:
            number, messages = self.simulator.work.popleft()()
            for message in messages:
                accounts.offered(number)
                accounts.sent(number, message.delivery)
            self.sent += messages

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.simulator.advance(self.now)
        self.send()

    def series(self, frames: int) -> None:
        self.simulator.set("frames", frames)
        self.call("rx_start")
        self.call("start")
        self.wait(1.0)
        self.call("rx_stop")

    def events(self, port: int) -> list[Any]:
        """What our own decoder makes of the messages of a port; the text of an error for one that it refuses."""
        decoder, events = SlsJsonDecoder(), []
        for message in self.sent:
            if port in message.parts:
                try:
                    events.append(decoder.decode([mark(port), *message.parts[port]]))
                except WireError as error:
                    events.append(str(error))
        return events

    def frames(self, port: int = 0) -> list[ModuleFrame]:
        return [event for event in self.events(port) if isinstance(event, ModuleFrame)]


def test_a_series_comes_over_every_port_and_each_ends() -> None:
    bench = Bench()
    bench.simulator.set("exptime", 2e-3)
    bench.series(3)
    for port in (0, 1):
        *frames, end = bench.events(port)
        assert isinstance(end, ModuleEnd)
        assert [frame.frame_number for frame in frames] == [1, 2, 3]
        assert [frame.first_number for frame in frames] == [1, 1, 1]
        assert {(frame.module, frame.module_count, frame.packets, frame.is_whole) for frame in frames} == {
            (port, 2, 64, True)
        }
        assert [frame.exposure_time_s for frame in frames] == pytest.approx([2e-3] * 3)
        for index, frame in enumerate(frames):
            wanted = bench.simulator.pixels.frame(index)[port * 8 : (port + 1) * 8]
            np.testing.assert_array_equal(np.frombuffer(frame.blob, np.uint16).reshape(8, COLUMNS), wanted)
    account = bench.simulator.accounts.read(1)
    assert (account.frames_made, account.intact, account.ends) == (3, ((0, 2),), 1)


def test_frames_end_one_period_after_the_other_and_the_status_tells() -> None:
    bench = Bench()
    for name, value in {"exptime": 0.01, "period": 0.1, "frames": 2}.items():
        bench.simulator.set(name, value)
    bench.call("rx_start")
    bench.call("start")
    assert bench.simulator.get("status") is RunStatus.RUNNING
    bench.wait(0.009)
    assert bench.frames() == []
    bench.wait(0.002)
    assert len(bench.frames()) == 1
    bench.wait(0.098)
    assert len(bench.frames()) == 1
    bench.wait(0.002)
    assert len(bench.frames()) == 2
    assert bench.simulator.get("status") is RunStatus.IDLE


def test_frames_that_nobody_catches_are_counted_on_by_the_detector_alone() -> None:
    bench = Bench()
    bench.simulator.set("frames", 7)
    bench.call("start")
    bench.wait(1.0)
    assert bench.sent == []
    bench.series(2)
    assert [frame.frame_number for frame in bench.frames()] == [8, 9]
    assert [frame.first_number for frame in bench.frames()] == [8, 8]


def test_edges_begin_bursts_and_others_are_ignored() -> None:
    bench = Bench()
    assert bench.simulator.edges(1, bench.now) == 0
    for name, value in {"timing": TimingMode.TRIGGER_EXPOSURE, "frames": 2, "triggers": 2}.items():
        bench.simulator.set(name, value)
    bench.call("rx_start")
    bench.call("start")
    bench.wait(1.0)
    assert bench.simulator.get("status") is RunStatus.WAITING
    for burst in (1, 2):
        assert bench.simulator.edges(2, bench.now) == 1  # the second comes while it exposes
        bench.wait(0.1)
        assert len(bench.frames()) == 2 * burst
    assert bench.simulator.get("status") is RunStatus.IDLE


def test_stop_ends_the_exposures_and_the_receiver_goes_on_until_it_is_stopped() -> None:
    bench = Bench()
    bench.simulator.set("frames", 1000)
    bench.call("rx_start")
    bench.call("start")
    bench.wait(0.01)
    bench.call("stop")
    made = len(bench.frames())
    assert 0 < made < 1000
    assert (bench.simulator.get("status"), bench.simulator.get("rx_status")) == (RunStatus.STOPPED, RunStatus.RUNNING)
    bench.wait(1.0)
    assert len(bench.frames()) == made
    bench.call("rx_stop")
    assert isinstance(bench.events(0)[-1], ModuleEnd)


def test_frames_are_streamed_as_often_as_the_frequency_says() -> None:
    bench = Bench()
    bench.simulator.set("rx_zmqfreq", 3)
    bench.series(7)
    assert [frame.frame_number for frame in bench.frames()] == [1, 4, 7]
    silent = Bench()
    silent.simulator.set("rx_zmqstream", False)
    silent.series(3)
    assert silent.events(0) == []


@pytest.mark.parametrize(
    ("name", "value", "answer"),
    [
        ("highvoltage", 10, "60 - 200"),
        ("highvoltage", 201, "60 - 200"),
        ("frames", 0, "Invalid frames"),
        ("exptime", -1.0, "Invalid exptime"),
        ("timing", 2, "not implemented"),
        ("settings", 0, "not defined"),
        ("temp_event", 1, "needs to be 0"),
        ("numinterfaces", 1, "fixed"),
    ],
)
def test_values_that_the_detector_refuses_are_refused_and_change_nothing(name: str, value: Any, answer: str) -> None:
    simulator = Bench().simulator
    before = simulator.get(name)
    with pytest.raises(DetectorSaysNo, match=answer):
        simulator.set(name, value)
    assert simulator.get(name) == before


def test_no_exposure_without_power_nor_while_one_lasts() -> None:
    bench = Bench()
    bench.simulator.set("powerchip", False)
    with pytest.raises(DetectorSaysNo, match="powered"):
        bench.call("start")
    bench.simulator.set("powerchip", True)
    bench.simulator.set("frames", 100)
    bench.call("start")
    for act in (lambda: bench.call("start"), lambda: bench.simulator.set("exptime", 1.0)):
        with pytest.raises(DetectorSaysNo, match="running"):
            act()
    bench.call("rx_start")
    with pytest.raises(DetectorSaysNo, match="already running"):
        bench.call("rx_start")


def test_a_temperature_event_switches_the_chip_off_until_it_is_cleared() -> None:
    bench = Bench()
    bench.simulator.own = ReceiverFaults(overheated=True)
    assert (bench.simulator.get("powerchip"), bench.simulator.get("temp_event")) == (False, 1)
    with pytest.raises(DetectorSaysNo, match="temperature event"):
        bench.simulator.set("powerchip", True)
    bench.simulator.set("temp_event", 0)
    assert (bench.simulator.get("powerchip"), bench.simulator.get("temp_event")) == (False, 0)
    bench.simulator.set("powerchip", True)
    assert bench.simulator.get("powerchip")


def test_lost_packets_are_told_and_filled_with_ones() -> None:
    bench = Bench(ReceiverFaults(packet_loss_frames=(1,), packet_loss_port=1, packet_loss_count=32))
    bench.series(3)
    assert [frame.is_whole for frame in bench.frames(0)] == [True] * 3
    assert [(frame.is_whole, frame.packets) for frame in bench.frames(1)] == [(True, 64), (False, 32), (True, 64)]
    pixels = np.frombuffer(bench.frames(1)[1].blob, np.uint16).reshape(8, COLUMNS)
    assert (pixels[:4] == 0xFFFF).all()
    np.testing.assert_array_equal(pixels[4:], bench.simulator.pixels.frame(1)[12:])
    assert bench.simulator.get("rx_missingpackets") == [0, 32]


def test_a_silent_port_sends_nothing_at_all() -> None:
    bench = Bench(ReceiverFaults(silent_port=1))
    bench.series(2)
    assert (len(bench.events(0)), bench.events(1)) == (3, [])
    assert bench.simulator.get("rx_framescaught") == [2, 0]


@pytest.mark.parametrize(
    ("faults", "numbers"),
    [
        ({"drop_frames": (1,)}, [1, 3, 4]),
        ({"duplicate_frames": (1,)}, [1, 2, 2, 3, 4]),
        ({"reorder_frames": (1,)}, [1, 3, 2, 4]),
        ({"stop_after": 2}, [1, 2]),
        ({"number_at": 1, "number_sent": 90}, [1, 91, 3, 4]),
        ({"restart_at": 2}, [1, 2, 1, 2]),
        ({"wrong_series_frames": (1,)}, [1, 1002, 3, 4]),
        ({"never_start": True}, []),
    ],
)
def test_what_the_delivery_of_all_simulators_can_do_this_one_does(faults: dict[str, Any], numbers: list[int]) -> None:
    bench = Bench(**faults)
    bench.series(4)
    assert [frame.frame_number for frame in bench.frames()] == numbers


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ({"truncate_frames": (1,)}, "bytes"),
        ({"wrong_size_frames": (1,)}, "bytes"),
        ({"bomb_at": 1, "bomb_depth": 100_000}, "recursion"),
    ],
)
def test_damage_is_seen_by_a_decoder(fault: dict[str, Any], seen: str) -> None:
    bench = Bench(**fault)
    bench.series(3)
    event = bench.events(0)[1]
    assert seen in (event.trouble if isinstance(event, ModuleFrame) else event)


def test_damage_inside_pixels_is_seen_by_nobody_but_the_account() -> None:
    bench = Bench(corrupt_frames=(1,), block_length_frames=(2,))
    bench.series(4)
    assert [frame.trouble for frame in bench.frames()] == [""] * 4
    assert bench.simulator.accounts.read(1).damaged == ((1, 2),)


def test_ends_can_be_missing_and_doubled_and_formats_can_change() -> None:
    missing, twice, other = Bench(missing_end=True), Bench(duplicate_end=True), Bench(dtype_at=1, shape_at=1)
    for bench in (missing, twice, other):
        bench.series(2)
    assert [sum(isinstance(e, ModuleEnd) for e in bench.events(0)) for bench in (missing, twice)] == [0, 2]
    assert [frame.format.dtype for frame in other.frames()] == ["uint16", "uint32"]


def test_faults_of_the_control_are_answers() -> None:
    for faults, act in (
        ({"refuse_arm": "no UDP"}, lambda bench: bench.call("rx_start")),
        ({"error_state": "power"}, lambda bench: bench.call("start")),
        ({"failing_keys": ("exptime",)}, lambda bench: bench.simulator.set("exptime", 1.0)),
    ):
        bench = Bench()
        bench.simulator.faults = Faults(**faults)
        with pytest.raises(DetectorSaysNo):
            act(bench)
    assert Bench(error_state="power").simulator.get("status") is RunStatus.ERROR
    with pytest.raises(DetectorSaysNo, match="high voltage"):
        Bench(ReceiverFaults(high_voltage_fails=True)).simulator.set("highvoltage", 100)


def test_every_fault_is_common_our_own_or_meaningless_with_a_reason() -> None:
    assert set(MEANINGLESS) <= set(Faults.__struct_fields__)
    assert not OWN & set(Faults.__struct_fields__)
    common, own = parse_faults(["drop=0.25", "silent_port=1", "packet_loss_frames=3,5-6"])
    assert (common.drop_fraction, own.silent_port, own.packet_loss_frames) == (0.25, 1, (3, 5, 6))
    for name in ("missing_header", "thief=3"):
        with pytest.raises(ConfigurationError, match="Jungfrau"):
            parse_faults([name])


def test_light_converts_back_to_the_photons_that_fell() -> None:
    pixels = JungfrauPixels(4, (ROWS, COLUMNS))
    calibration = Calibration(pixels.pedestal[:, None], pixels.gain[:, None], np.zeros((1, ROWS, COLUMNS), bool))
    for number in range(20):
        out = np.zeros(ROWS * COLUMNS, np.int32)
        planes = [plane.reshape(3, -1) for plane in (calibration.pedestal, calibration.scale(PHOTON_EV / 1000))]
        convert_with_numpy(pixels.frame(number).reshape(-1), *planes, out)
        photons = pixels.photons(number).reshape(-1)
        low = photons <= 900  # one ADU of G2 is more than a photon
        np.testing.assert_array_equal(out[low], photons[low])


def test_bright_pixels_switch_their_gain_and_forced_ones_obey() -> None:
    pixels = JungfrauPixels(4, (64, 64))
    bits = {int(value) >> 14 for number in range(16) for value in pixels.frame(number).reshape(-1)}
    assert {0, 1} <= bits <= {0, 1, 3}
    assert pixels.photons(0).max() > MOST_G0
    for mode, plane in ((GainMode.FORCE_SWITCH_G1, 1), (GainMode.FIX_G2, 3), (GainMode.FIX_G0, 0)):
        assert {int(value) >> 14 for value in pixels.frame(0, mode, beam=False).reshape(-1)} == {plane}


def test_the_mean_of_seven_dark_frames_is_the_pedestal() -> None:
    pixels = JungfrauPixels(4, (ROWS, COLUMNS))
    for plane, mode in enumerate((GainMode.DYNAMIC, GainMode.FORCE_SWITCH_G1, GainMode.FORCE_SWITCH_G2)):
        frames = [pixels.frame(number, mode, beam=False) & 0x3FFF for number in range(3, 10)]
        np.testing.assert_array_equal(np.mean(frames, axis=0), pixels.pedestal[plane])
        assert np.ptp(frames, axis=0).max() == 2 * NOISE_ADU


@pytest.mark.parametrize("wrong", [{"modules": 0}, {"interfaces": 3}, {"rows": 15}, {"columns": 0}])
def test_detectors_that_do_not_exist_are_not_simulated(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        JungfrauOptions(**{"interfaces": 2, "rows": 16} | wrong)
