"""Names of files."""

from __future__ import annotations

import pytest

from maxdaq_tango.controller.destinations import Destinations
from maxdaq_tango.errors import ConfigurationError

TWO = ("b311a/dia/eiger", "b311a/dia/pilatus")


def test_directory_pattern_and_scan_number_make_one_file_a_detector():
    made = Destinations(scan_number=42)
    made.set_directory("/data/raw")
    assert made.of(TWO) == {TWO[0]: "/data/raw/000042_eiger.h5", TWO[1]: "/data/raw/000042_pilatus.h5"}


@pytest.mark.parametrize(
    ("pattern", "master", "files"),
    [
        ("scan_{scan:06d}_{detector}.hdf5", "{scan:06d}.h5", ["scan_003187_eiger.hdf5", "003187.h5"]),  # contrast
        ("scan-{scan:04d}_{detector}.h5", "scan-{scan:04d}.h5", ["scan-3187_eiger.h5", "scan-3187.h5"]),  # Sardana
        ("scan_{scan:06d}_{detector}/0001.h5", "", ["scan_003187_eiger/0001.h5", ""]),  # a folder for each burst
    ],
)
def test_the_names_of_max_iv_can_be_made(pattern, master, files):
    made = Destinations(scan_number=3187)
    made.set_directory("/data/raw")
    made.set_pattern(pattern)
    made.set_master_pattern(master)
    paths = made.of(TWO)
    assert [paths[TWO[0]], made.master(paths)] == [f"/data/raw/{name}" if name else "" for name in files]


def test_nothing_set_or_an_empty_directory_is_live_only():
    made = Destinations()
    assert set(made.of(TWO).values()) == {""}
    made.set_directory("/data")
    made.set_directory("")
    assert set(made.of(TWO).values()) == {""}


def test_one_path_is_for_the_first_detector_and_the_others_stand_beside_it():
    made = Destinations()
    made.set_directory("/data/old")
    made.set_filename("/data/scan_7.hdf5")
    assert list(made.of(TWO).values()) == ["/data/scan_7.hdf5", "/data/scan_7_pilatus.hdf5"]
    made.set_filename("")
    assert set(made.of(TWO).values()) == {""}


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        ("{scan:06d}_{detectr}.h5", "detectr"),
        ("{scan:06", "unmatched"),
        ("../{scan}.h5", "leads out"),
        ("/x.h5", "leads out"),
        ("{scan:0999999999d}.h5", "no width"),
        ("{scan:{scan}}.h5", "no width"),
        ("{detector.__class__}.h5", "no field"),
        ("", "leads out"),
    ],
)
def test_a_bad_pattern_is_refused_when_it_is_set(pattern, part):
    made = Destinations()
    with pytest.raises(ConfigurationError, match=part):
        made.set_pattern(pattern)
    assert made.pattern == "{scan:06d}_{detector}.h5"


def test_two_detectors_in_one_file_are_refused():
    made = Destinations()
    made.set_directory("/data")
    made.set_pattern("{scan}.h5")
    with pytest.raises(ConfigurationError, match="cannot share a file"):
        made.of(TWO)
    with pytest.raises(ConfigurationError, match="cannot share a file"):
        Destinations(directory="/data", by_directory=True).of(("a/b/eiger", "c/d/eiger"))


def test_detectors_of_one_name_are_told_apart_by_device():
    made = Destinations(scan_number=3)
    made.set_directory("/data")
    made.set_pattern("{device}/{scan:04d}.h5")
    assert list(made.of(("a/b/eiger", "c/d/eiger")).values()) == ["/data/a-b-eiger/0003.h5", "/data/c-d-eiger/0003.h5"]


def test_a_relative_directory_is_refused():
    with pytest.raises(ConfigurationError, match="not an absolute path"):
        Destinations().set_directory("raw")


@pytest.mark.parametrize(
    "names",
    [
        ("a/b/eiger", "a/b/eiger_master"),  # their data files would have the same names
        ("a/b/eiger", "a/b/eiger_data_000001"),
    ],
)
def test_files_that_cannot_stand_beside_each_other_are_refused(names):
    made = Destinations(directory="/data", by_directory=True, pattern="{detector}.h5")
    with pytest.raises(ConfigurationError, match="cannot share a file"):
        made.of(names)


def test_one_file_by_two_ways_is_one_file():
    made = Destinations(directory="/data", by_directory=True, pattern="{detector}/./x.h5")
    with pytest.raises(ConfigurationError, match="cannot share a file"):
        made.of((".", "x/y/."))


def test_there_is_no_scan_master_unless_it_is_asked_for():
    made = Destinations(scan_number=42)
    made.set_directory("/data/raw")
    assert made.master(made.of(TWO)) == ""
    made.set_master_pattern("scan-{scan:04d}.h5")
    assert made.master(made.of(TWO)) == "/data/raw/scan-0042.h5"
    made.set_directory("")  # live only
    assert made.master(made.of(TWO)) == ""
    made.set_filename("/data/other/x.h5")
    assert made.master(made.of(TWO)) == "/data/other/scan-0042.h5"
    made.set_master_pattern("")
    assert made.master(made.of(TWO)) == ""


@pytest.mark.parametrize("pattern", ["{scan:06d}_eiger.h5", "{scan:06d}_eiger_master.h5", "{scan:06d}_eiger.nxs"])
def test_a_scan_master_that_is_a_detectors_file_is_refused(pattern):
    made = Destinations(scan_number=42)
    made.set_directory("/data")
    made.set_master_pattern(pattern)
    with pytest.raises(ConfigurationError, match="a detector writes there"):
        made.master(made.of(TWO))


@pytest.mark.parametrize("pattern", ["{detector}.h5", "../scan.h5", "{scan:06"])
def test_a_bad_master_pattern_is_refused_when_it_is_set(pattern):
    made = Destinations(master_pattern="m.h5")
    with pytest.raises(ConfigurationError, match="set MasterPattern"):
        made.set_master_pattern(pattern)
    assert made.master_pattern == "m.h5"
