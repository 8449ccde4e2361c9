"""Names of the files of a scan, and the references in it."""

from __future__ import annotations

import pytest

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.integrations.sardana.naming import Files, Frame, files_of, frame_of, free_files, reference


def test_the_default_names_are_those_of_max_iv_beside_the_scan_file():
    files = files_of("", scan=42, directory="/data/raw/")
    assert files == Files("/data/raw", "scan-{scan:04d}_{detector}.h5", 42)
    assert files.path("b311a/dia/eiger") == "/data/raw/scan-0042_eiger.h5"


def test_every_field_can_be_used_and_the_folder_may_have_the_number():
    files = files_of("h5file://{directory}/scan_{scan:06d}/{device}_{scan}_{detector}.h5", scan=7, directory="/d")
    assert files.path("a/b/c") == "/d/scan_000007/a-b-c_7_c.h5"


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("file:///a.h5", "does not begin with h5file://"),
        ("h5file:///a.h5::data", "the dataset is not yours to choose"),
        ("h5file:///{index}.h5", "no field {index}. Accepted: the fields {directory}, {scan}, {detector}, {device}"),
        ("h5file:///{scan:04d", "a pattern such as"),
        ("h5file:///{scan:zz}.h5", "a pattern such as"),
        ("h5file:///{detector}/a.h5", "'detector' cannot be in the folder"),
        ("h5file://a/b.h5", "no absolute path"),
        ("h5file:///folder/", "no absolute path"),
    ],
)
def test_what_cannot_be_a_name_is_refused(pattern, told):
    with pytest.raises(ConfigurationError, match="use the value_ref_pattern") as caught:
        files_of(pattern, scan=1, directory="/data")
    assert told in str(caught.value)


def test_a_directory_that_nobody_has_told_is_an_error_that_says_who_tells_it():
    with pytest.raises(ConfigurationError, match="defgh maxdaq_scan pre-scan"):
        files_of("", scan=1, directory="")
    assert files_of("h5file:///data/{scan}.h5", scan=1, directory="").directory == "/data"


def test_a_name_that_one_detector_has_already_gets_a_number_for_all():
    there = {"/d/scan-0001_b.h5", "/d/scan-0001_a_2.h5"}
    files = free_files(files_of("", scan=1, directory="/d"), ["x/y/a", "x/y/b"], there.__contains__)
    assert [files.path(name) for name in ("x/y/a", "x/y/b")] == ["/d/scan-0001_a_3.h5", "/d/scan-0001_b_3.h5"]


def test_a_reference_names_a_row_and_is_read_again():
    text = reference("/data/scan-0042_eiger.h5", 7)
    assert text == "h5file:///data/scan-0042_eiger.h5::entry/data/data[7]"
    assert frame_of(text) == Frame("/data/scan-0042_eiger.h5", "entry/data/data", 7)


@pytest.mark.parametrize(
    "text", ["", "nan", "h5file:///a.h5", "h5file:///a.h5::data", "file:///a.tiff", "h5file:///a.h5::d[-1]"]
)
def test_other_texts_are_no_references_of_ours(text):
    assert frame_of(text) is None
