"""The one place that touches the vendor's library: before the stand-in, and before libraries that spell otherwise."""

from __future__ import annotations

import enum
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maxdaq_tango.detectors.xspectrum_lambda import simulated_pyxsp
from maxdaq_tango.detectors.xspectrum_lambda.adapter import LambdaSystem
from maxdaq_tango.detectors.xspectrum_lambda.geometry import ModulePlace
from maxdaq_tango.detectors.xspectrum_lambda.library import load_library, member
from maxdaq_tango.detectors.xspectrum_lambda.protocol import Change
from maxdaq_tango.detectors.xspectrum_lambda.simulator import SimulatorOptions
from maxdaq_tango.detectors.xspectrum_lambda.simulator_server import LambdaSimulatorServer
from maxdaq_tango.detectors.xspectrum_lambda.words import BitDepth, CounterMode, Switch, XspTrigger
from maxdaq_tango.errors import ConfigurationError, DetectorOffline, DetectorRefused
from maxdaq_tango.testing.driver_contract import wait_for

OPTIONS = SimulatorOptions(modules=4, rows=8, columns=24, settle_s=0.0, allocate_s=0.0)


@pytest.fixture
def server() -> Iterator[LambdaSimulatorServer]:
    with LambdaSimulatorServer(OPTIONS) as server:
        yield server


@pytest.fixture
def system(server: LambdaSimulatorServer) -> Iterator[LambdaSystem]:
    system = LambdaSystem(simulated_pyxsp, server.url)
    system.initialise()
    yield system
    system.close()


def unreleased(server: LambdaSimulatorServer) -> int:
    with server.lock:
        return sum(len(memory.taken) for memory in server.simulator.memories)


def started(system: LambdaSystem, frames: int = 3) -> None:
    system.apply(Change(thresholds_ev=(7000.0,)))
    system.prepare(0.001, frames, XspTrigger.SOFTWARE, 1)
    system.start()


def test_a_missing_library_is_one_clear_sentence() -> None:
    with pytest.raises(ConfigurationError) as error:
        load_library("pyxsp_that_nobody_has")
    told = str(error.value)
    assert told.startswith("drive a Lambda: the library pyxsp_that_nobody_has cannot be imported here")
    assert "Accepted: X-Spectrum's pyxsp installed beside this streamer" in told
    assert "\n" not in told


def test_a_library_that_is_broken_is_told_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyxsp_without_its_libxsp.py").write_text(
        "raise OSError('libxsp.so.2: cannot open shared object file')"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"libxsp.so.2: cannot open"):
        load_library("pyxsp_without_its_libxsp")


def test_a_system_that_the_library_does_not_make_is_offline() -> None:
    with pytest.raises(DetectorOffline, match="made none of it"):
        LambdaSystem(simulated_pyxsp, "/opt/xsp/config/system.yml")


def test_who_it_is_and_where_its_modules_lie(system: LambdaSystem) -> None:
    identity = system.identity()
    assert (identity.modules, identity.serial_number, identity.firmware) == (4, "W100_A", "2.1.0")
    assert "simulated" in identity.model
    assert [module.place() for module in system.modules] == [
        ModulePlace(0, 0, 0), ModulePlace(28, 0, 90), ModulePlace(12, 28, 180), ModulePlace(0, 12, 270),
    ]  # fmt: skip
    assert [module.shape() for module in system.modules] == [(8, 24)] * 4


def test_the_library_gets_ms_and_kev_and_we_get_s_and_ev(system: LambdaSystem, server: LambdaSimulatorServer) -> None:
    settings = system.apply(Change(thresholds_ev=(6000.0, 9500.0), energy_ev=12398.0, gating=Switch.ON))
    assert system.prepare(0.25, 7, XspTrigger.EXT_SEQUENCE, 1) == 0.25
    inside = server.simulator.settings
    assert (inside.thresholds, inside.beam_energy, inside.shutter_time) == ([6.0, 9.5], 12.398, 250.0)
    assert (inside.number_of_frames, inside.trigger_mode, inside.gating_mode) == (7, "EXT_SEQUENCE", "ON")
    assert (settings.thresholds_ev, settings.energy_ev) == ((6000.0, 9500.0), pytest.approx(12398.0))
    assert settings.gating is Switch.ON


def test_settings_are_changed_in_an_order_in_which_no_step_contradicts_another(system: LambdaSystem) -> None:
    assert system.apply(Change(counter_mode=CounterMode.DUAL)).counter_mode is CounterMode.DUAL
    assert system.apply(Change(bit_depth=BitDepth.DEPTH_6)).counter_mode is CounterMode.DUAL
    with pytest.raises(DetectorRefused, match="both counters of a pixel"):
        system.apply(Change(bit_depth=BitDepth.DEPTH_24))
    changed = system.apply(Change(bit_depth=BitDepth.DEPTH_24, counter_mode=CounterMode.SINGLE))
    assert (changed.bit_depth, changed.counter_mode) == (BitDepth.DEPTH_24, CounterMode.SINGLE)


def test_a_frame_goes_back_whatever_happens_to_it(system: LambdaSystem, server: LambdaSimulatorServer) -> None:
    started(system)
    module = system.modules[0]
    with module.frame(5.0) as frame:
        assert frame is not None
        assert (frame.nr, frame.is_whole, frame.pixels.shape, frame.pixels.dtype) == (1, True, (192,), np.uint16)
        assert unreleased(server) == 1
    assert unreleased(server) == 0
    with pytest.raises(ZeroDivisionError), module.frame(5.0):
        raise ZeroDivisionError
    assert unreleased(server) == 0


def test_no_frame_in_time_is_none(system: LambdaSystem) -> None:
    with system.modules[0].frame(0.0) as frame:
        assert frame is None


def test_what_an_earlier_acquisition_left_can_be_given_back(
    system: LambdaSystem, server: LambdaSimulatorServer
) -> None:
    started(system)
    wait_for("the end", lambda: not system.is_busy())
    system.discard_frames()
    with system.modules[3].frame(0.0) as frame:
        assert frame is None
    assert unreleased(server) == 0


def test_what_the_detector_refuses_comes_with_its_words(system: LambdaSystem) -> None:
    with pytest.raises(DetectorRefused, match=r"set shutter_time to 1000.*BAD_ARG_OUT_OF_RANGE"):
        system.prepare(1e7, 1, XspTrigger.SOFTWARE, 1)


def test_a_detector_that_cannot_be_reached_is_offline(system: LambdaSystem, server: LambdaSimulatorServer) -> None:
    with server.lock:
        server.simulator.power_cycle()
    with pytest.raises(DetectorOffline, match="NOT_CONNECTED"):
        system.settings()
    server.close()
    with pytest.raises(DetectorOffline, match="COMMUNICATION"):
        system.is_busy()
    system.close = lambda: None  # type: ignore[method-assign]  # the fixture has nobody left to close


# --- other spellings --------------------------------------------------------------------------------------------------


class OldFrame:
    nr, subframe, status = 1, 0, "FRAME_OK"
    data = memoryview(np.arange(6, dtype=np.uint16))


class OldReceiver:
    """As the header of the C++ library calls things, and with methods where others have properties."""

    released = 0

    def frame_height(self) -> int:
        return 2

    def frame_width(self) -> int:
        return 3

    def ram_allocated(self) -> bool:
        return True

    def frame(self, timeout_ms: float) -> OldFrame:
        return OldFrame()

    def release(self, frame: OldFrame) -> None:
        self.released += 1


class OldDetector:
    frame_count = 1
    shutter_time = 10.0
    trigger_mode: Any = None

    def busy(self) -> bool:
        return False

    def voltage_settled(self, module: int) -> bool:
        return True


class OldSystem:
    def __init__(self, path: str) -> None:
        self.detector, self.receiver = OldDetector(), OldReceiver()

    def list_detectors(self) -> list[str]:
        return ["lambda"]

    def list_receivers(self) -> list[str]:
        return ["lambda/1"]

    def open_detector(self, name: str) -> OldDetector:
        return self.detector

    def open_receiver(self, name: str) -> OldReceiver:
        return self.receiver

    def connect(self) -> None: ...


def old_library() -> types.ModuleType:
    library = types.ModuleType("old_pyxsp")
    library.System = OldSystem  # type: ignore[attr-defined]
    library.TriggerMode = enum.Enum("TriggerMode", ["SOFTWARE", "EXT_SEQUENCE", "EXT_FRAMES"])  # type: ignore[attr-defined]
    return library


def test_the_spelling_of_the_header_is_understood_as_well() -> None:
    library = old_library()
    system = LambdaSystem(library, "system.yml")
    assert system.prepare(0.02, 5, XspTrigger.EXT_FRAMES, 1) == 0.02
    detector = system._detector
    assert (detector.frame_count, detector.trigger_mode) == (5, library.TriggerMode.EXT_FRAMES)
    assert (system.is_ready(), system.is_busy()) == (True, False)
    module = system.modules[0]
    with module.frame(0.1) as frame:
        assert frame is not None
        assert (frame.status, frame.pixels.tolist()) == ("FRAME_OK", [0, 1, 2, 3, 4, 5])
    assert module._receiver.released == 1
    assert (module.shape(), module.place(), module.compresses()) == ((2, 3), None, False)


def test_what_an_old_library_cannot_do_is_refused() -> None:
    system = LambdaSystem(old_library(), "system.yml")
    with pytest.raises(DetectorRefused, match=r"no frames_per_trigger.*Accepted: nFramesPerTrigger 1"):
        system.prepare(0.02, 6, XspTrigger.EXT_FRAMES, 3)


def test_a_name_that_is_not_there_is_told_with_all_that_was_tried() -> None:
    library = old_library()
    del library.TriggerMode
    with pytest.raises(DetectorRefused, match="TrigMode or TriggerMode"):
        member(library, "TrigMode", "SOFTWARE")
    system = LambdaSystem(old_library(), "system.yml")
    with pytest.raises(DetectorRefused, match="bit_depth"):
        system.settings()
