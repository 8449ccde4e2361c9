"""LImA's words: what each trigger mode means for the detector, names of files, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.lima.words import Settings, acq_status
from maxdaq_tango.model import AcquisitionState


@pytest.mark.parametrize(
    ("mode", "ours", "triggers", "frames", "starts"),
    [
        ("INTERNAL_TRIGGER", "SOFTWARE", 1, 7, 1),
        ("INTERNAL_TRIGGER_MULTI", "SOFTWARE", 7, 1, 7),
        ("EXTERNAL_TRIGGER", "EXTERNAL_MULTI", 1, 7, 1),
        ("EXTERNAL_TRIGGER_MULTI", "EXTERNAL_MULTI", 7, 1, 1),
        ("EXTERNAL_GATE", "EXTERNAL_MULTI_GATE", 7, 1, 1),
    ],
)
def test_trigger_modes(mode: str, ours: str, triggers: int, frames: int, starts: int) -> None:
    settings = Settings(frames=7, exposure_s=0.2, latency_s=0.1)
    settings.choose("trigger_mode", "acq_trigger_mode", mode.lower())
    wanted = settings.attributes()
    assert (wanted["TriggerMode"], wanted["nTriggers"], wanted["nFramesPerTrigger"]) == (ours, triggers, frames)
    assert (wanted["ExposureTime"], wanted["LatencyTime"], wanted["DestinationFilename"]) == (0.2, 0.1, "")
    assert settings.starts == starts


def test_the_name_of_the_next_file() -> None:
    settings = Settings(prefix="scan_", suffix=".hdf5", next_number=12)
    settings.set_directory("/data/visitors/a")
    assert settings.path == ""  # MANUAL: nothing is written
    settings.choose("saving_mode", "saving_mode", "AUTO_FRAME")
    assert settings.path == "/data/visitors/a/scan_0012.hdf5"
    settings.set_index_format("%d")
    settings.choose("overwrite_policy", "saving_overwrite_policy", "OVERWRITE")
    assert settings.attributes()["DestinationFilename"] == "/data/visitors/a/scan_12.hdf5"
    assert settings.attributes()["DestinationFileOverwritable"] is True


def test_common_headers_are_names_and_values() -> None:
    settings = Settings()
    settings.set_header(["sample = A = 1", "energy=12.4"])
    assert settings.header == {"sample": "A = 1", "energy": "12.4"}


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda s: s.choose("trigger_mode", "acq_trigger_mode", "EXTERNAL_START_STOP"), "EXTERNAL_GATE"),
        (lambda s: s.choose("saving_format", "saving_format", "EDF"), "HDF5"),
        (lambda s: s.choose("overwrite_policy", "saving_overwrite_policy", "APPEND"), "ABORT, OVERWRITE"),
        (lambda s: s.set_directory("relative"), "begins with /"),
        (lambda s: s.set_part("prefix", "saving_prefix", "../x"), "part of a name"),
        (lambda s: s.set_index_format("%s"), "such as %04d"),
        (lambda s: s.set_index_format("%d%d"), "such as %04d"),
        (lambda s: s.set_header(["nothing"]), "name = value"),
        (lambda s: (s.choose("saving_mode", "saving_mode", "AUTO_FRAME"), s.attributes()), "saving_directory is empty"),
    ],
)
def test_what_is_refused(act: Callable[[Settings], object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        act(Settings())


@pytest.mark.parametrize(
    ("state", "started", "fault", "word"),
    [
        (AcquisitionState.IDLE, False, "", "Ready"),
        (AcquisitionState.IDLE, True, "disk full", "Fault"),
        (AcquisitionState.CONFIGURING, False, "", "Configuration"),
        (AcquisitionState.ARMED, False, "", "Ready"),
        (AcquisitionState.ARMED, True, "", "Running"),
        (AcquisitionState.ACQUIRING, True, "", "Running"),
        (AcquisitionState.FINALISING, True, "", "Running"),
        (AcquisitionState.FAULT, False, "", "Fault"),
    ],
)
def test_acq_status(state: AcquisitionState, started: bool, fault: str, word: str) -> None:
    assert acq_status(state, started=started, fault=fault) == word
