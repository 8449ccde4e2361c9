"""EigerDectris' words: the first line of Status, trigger modes, coupled times, file names, and what is refused."""

from __future__ import annotations

import pytest

from maxdaq_tango.eigerdectris import words
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import AcquisitionState, TriggerMode
from maxdaq_tango.model.hardware import HardwareState

S, H = AcquisitionState, HardwareState


@pytest.mark.parametrize(
    ("state", "hardware", "word"),
    [
        (S.IDLE, H.IDLE, "idle"),
        (S.FAULT, H.IDLE, "idle"),  # the last run failed, and Arm works
        (S.CONFIGURING, H.ARMED, "configure"),  # armed, but the receiver does not know yet what will come
        (S.ARMED, H.IDLE, "ready"),  # a look from before it was armed
        (S.ARMED, H.ARMED, "ready"),
        (S.ACQUIRING, H.ACQUIRING, "acquire"),
        (S.ACQUIRING, H.ARMED, "ready"),  # between two triggers
        (S.ACQUIRING, H.IDLE, "busy"),
        (S.DRAINING, H.IDLE, "busy"),
        (S.FINALISING, H.IDLE, "busy"),
        (S.IDLE, H.CONFIGURING, "initialize"),
        (S.IDLE, H.NOT_INITIALISED, "na"),
        (S.FAULT, H.ERROR, "error"),
        (S.ACQUIRING, H.ERROR, "error"),
        (S.ARMED, H.OFFLINE, "UNKNOWN"),
    ],
)
def test_the_first_line_of_status(state: S, hardware: H, word: str) -> None:
    assert words.state_word(state, hardware, "initialize") == word


def test_ready_is_said_only_of_what_takes_a_trigger() -> None:
    for state, hardware in ((S.ARMED, H.ARMED), (S.ACQUIRING, H.ARMED)):
        assert words.state_word(state, hardware, "ready", triggerable=False) == "acquire"


def test_idle_is_said_of_nothing_that_cannot_be_armed() -> None:
    for state in set(S) - {S.IDLE, S.FAULT}:
        for hardware in H:
            assert words.state_word(state, hardware, "idle") != "idle"


@pytest.mark.parametrize("word", ["ints", "inte", "exts", "exte"])
def test_trigger_modes_there_and_back(word: str) -> None:
    mode, per_trigger = words.trigger_mode(word.upper())
    assert words.trigger_word(mode.value, per_trigger) == word


def test_a_detector_that_starts_by_itself_is_ints() -> None:
    assert words.trigger_word(TriggerMode.INTERNAL.value, False) == "ints"


@pytest.mark.parametrize("word", ["extg", "eies", "INTERNAL", ""])
def test_other_trigger_modes_are_refused_with_those_there_are(word: str) -> None:
    with pytest.raises(ConfigurationError, match="ints, inte, exts, exte"):
        words.trigger_mode(word)


def test_times_follow_each_other_as_simplon_does_it() -> None:
    assert words.raised_frame_time(0.1, 0.05, 0.001) == pytest.approx(0.101)
    assert words.raised_frame_time(0.1, 0.101, 0.001) is None
    assert words.lowered_count_time(0.1, 0.05, 0.001) == pytest.approx(0.049)
    assert words.lowered_count_time(0.1, 0.1 + 0.001, 0.001) is None
    with pytest.raises(ConfigurationError, match="more than the readout time"):
        words.lowered_count_time(0.1, 0.001, 0.001)


@pytest.mark.parametrize(
    ("root", "pattern", "path"),
    [
        ("", "/data/raw/x_1", "/data/raw/x_1_master.h5"),
        ("/data", "/data/raw/x_1", "/data/raw/x_1_master.h5"),
        ("/data", "/raw/x_1", "/data/raw/x_1_master.h5"),  # MXCuBE takes /data away at some beamlines
        ("/data/", "raw/x_1", "/data/raw/x_1_master.h5"),
        ("/data", "/database/x_1", "/data/database/x_1_master.h5"),
        ("/data", "", ""),
    ],
)
def test_where_a_pattern_leads(root: str, pattern: str, path: str) -> None:
    file = words.FileSettings(root=root)
    file.set_pattern(pattern)
    assert (file.pattern, file.path) == (pattern, path)
    file.set_mode("disabled")
    assert (file.mode, file.path) == ("disabled", "")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [("series_$id", "not known before Arm"), ("raw/x", "property Root is empty"), ("/raw/", "a folder")],
)
def test_patterns_that_cannot_be_are_refused(pattern: str, said: str) -> None:
    file = words.FileSettings(pattern="/before")
    with pytest.raises(ConfigurationError, match=said):
        file.set_pattern(pattern)
    assert file.pattern == "/before"


def test_a_file_writer_has_two_modes() -> None:
    with pytest.raises(ConfigurationError, match="enabled, disabled"):
        words.FileSettings().set_mode("on")


@pytest.mark.parametrize(
    ("state", "verdict", "writes", "word"),
    [
        (S.IDLE, "COMPLETE", True, "ready"),
        (S.IDLE, "COMPLETE", False, "disabled"),
        (S.DRAINING, "", True, "acquire"),
        (S.FAULT, "FAILED", True, "error"),
        (S.IDLE, "INCOMPLETE", True, "ready"),
    ],
)
def test_the_state_of_the_file_writer(state: S, verdict: str, writes: bool, word: str) -> None:
    assert words.writer_state(state, verdict, writes=writes) == word


def test_a_collection_uuid_leaves_other_metadata_alone() -> None:
    assert words.with_uuid({"sample": "A1"}, "u") == {"sample": "A1", "collection_uuid": "u"}
    assert words.with_uuid({"sample": "A1", "collection_uuid": "old"}, "") == {"sample": "A1"}
