"""The module in the place of `slsdet`: compared with the published wheel, and with a simulator in another process."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from maxdaq_tango.detectors.jungfrau import simulated_slsdet
from maxdaq_tango.detectors.jungfrau.protocol import ENUM_OF, ENUMS, METHODS, READ_ONLY, WRITABLE


@pytest.fixture(scope="module")
def slsdet() -> Any:
    return pytest.importorskip("slsdet", reason="the published wheel is not installed: pip install slsdet")


@pytest.mark.parametrize("name", sorted(ENUMS))
def test_every_member_of_our_enums_is_one_of_the_wheel_with_the_same_value(slsdet: Any, name: str) -> None:
    theirs = getattr(slsdet, name).__members__
    for member in ENUMS[name]:
        assert int(theirs[member.name].value) == member.value, member.name
    assert getattr(simulated_slsdet, name) is ENUMS[name]


@pytest.mark.parametrize("name", ["runStatus", "gainMode"])
def test_these_enums_are_whole(slsdet: Any, name: str) -> None:
    assert set(getattr(slsdet, name).__members__) == {member.name for member in ENUMS[name]}


@pytest.mark.parametrize("name", WRITABLE)
def test_every_attribute_that_we_write_can_be_written_in_the_wheel(slsdet: Any, name: str) -> None:
    theirs = inspect.getattr_static(slsdet.Jungfrau, name)
    assert isinstance(theirs, property)
    assert theirs.fset is not None


@pytest.mark.parametrize("name", READ_ONLY)
def test_every_attribute_that_we_read_is_read_only_in_the_wheel(slsdet: Any, name: str) -> None:
    theirs = inspect.getattr_static(slsdet.Jungfrau, name)
    assert isinstance(theirs, property)
    assert theirs.fset is None


@pytest.mark.parametrize("name", METHODS)
def test_every_method_that_we_call_is_one_of_the_wheel(slsdet: Any, name: str) -> None:
    assert callable(getattr(slsdet.Jungfrau, name))
    assert callable(getattr(simulated_slsdet.Jungfrau, name))
    assert callable(slsdet.freeSharedMemory)


def test_both_know_nobody_before_a_hostname_and_refuse_what_they_do_not_have(
    slsdet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLSDETNAME", "maxdaq_test")
    for library in (slsdet, simulated_slsdet):
        library.freeSharedMemory(997)
        detector = library.Jungfrau(997)
        try:
            for read in ("exptime", "status"):
                with pytest.raises(RuntimeError, match="No modules added"):
                    getattr(detector, read)
            with pytest.raises(AttributeError, match=r"frozen. Cannot set exposure = 1"):
                detector.exposure = 1
            with pytest.raises(RuntimeError, match="Cannot connect"):
                detector.hostname = "127.0.0.1:1"
        finally:
            library.freeSharedMemory(997)


@pytest.fixture
def detector(simulated: Any) -> simulated_slsdet.Jungfrau:
    detector = simulated_slsdet.Jungfrau(3)
    detector.hostname = simulated.host
    return detector


def test_settings_of_a_detector_are_read_back(detector: Any, simulated: Any) -> None:
    detector.exptime, detector.frames = 0.125, 17
    detector.gainmode = simulated_slsdet.gainMode.FORCE_SWITCH_G1
    assert (detector.exptime, detector.frames) == (0.125, 17)
    assert detector.gainmode is simulated_slsdet.gainMode.FORCE_SWITCH_G1
    assert detector.status is simulated_slsdet.runStatus.IDLE
    assert detector.type.name == "JUNGFRAU"
    assert (detector.nmod, detector.numinterfaces, detector.rx_zmqport) == (1, 2, simulated.stream_port)
    assert (detector.detsize.x, detector.detsize.y) == (48, 32)
    detector.gainmode = simulated_slsdet.gainMode.DYNAMIC


def test_refusals_are_runtime_errors_in_the_words_of_the_package(detector: Any) -> None:
    with pytest.raises(RuntimeError, match="Detector returned: Invalid high voltage 10"):
        detector.highvoltage = 10
    with pytest.raises(TypeError, match="GainMode expected"):
        detector.gainmode = 3.5
    with pytest.raises(AttributeError, match="no setter"):
        detector.status = 1
    with pytest.raises(AttributeError):
        _ = detector.colour
    assert set(ENUM_OF) <= {*WRITABLE, *READ_ONLY}


def test_a_server_of_another_major_version_is_refused(start: Any) -> None:
    old = start("--server-version", "9.2.0")
    detector = simulated_slsdet.Jungfrau()
    with pytest.raises(RuntimeError, match=r"9\.2\.0 is incompatible with client version 10"):
        detector.hostname = old.host
    with pytest.raises(RuntimeError, match="No modules"):
        _ = detector.status


def test_a_configuration_file_names_the_host(simulated: Any, tmp_path: Path) -> None:
    file = tmp_path / "detector.config"
    file.write_text(f"# a detector\nhostname {simulated.host}\nrx_hostname localhost\n")
    detector = simulated_slsdet.Jungfrau()
    detector.config = str(file)
    assert detector.hostname == simulated.host
    for wrong, answer in ((tmp_path / "absent", "Could not open"), (tmp_path / "empty", "No hostname")):
        (tmp_path / "empty").write_text("")
        with pytest.raises(RuntimeError, match=answer):
            detector.config = str(wrong)
