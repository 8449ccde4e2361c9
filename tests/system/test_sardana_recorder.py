"""Our recorder in Sardana's own Python: whatever it is given, a scan goes on, and what is not in the file was said."""

from __future__ import annotations

import json
import os
import subprocess

import h5py
import numpy as np
import pytest

from counterparts.make_environment import HERE
from sardana_site import SOURCE, sardana_bin

pytestmark = pytest.mark.counterpart


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorder")
    with h5py.File(folder / "frames.h5", "w") as file:
        file["entry/data/data"] = np.arange(12, dtype=np.uint16).reshape(3, 2, 2)
    return folder


@pytest.fixture(scope="module")
def results(folder):
    python = sardana_bin() / "python"
    done = subprocess.run(
        [str(python), str(HERE / "drive_sardana_recorder.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def entry(folder, name: str) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    with h5py.File(folder / name) as file:
        measurement = file["entry1/measurement"]
        data = {key: item[...] for key, item in measurement.items() if isinstance(item, h5py.Dataset)}
        return data, {key: int(value) for key, value in file["entry1"].attrs.items() if key.startswith("maxdaq")}


def test_a_point_that_was_skipped_is_blank_and_never_zero(results, folder):
    assert results["skipped"] == {"raised": "", "warnings": []}
    data, _ = entry(folder, "skipped.h5")
    assert list(data["n"]) == [7, 65535, 7]
    assert [set(image.flat) for image in data["image"]] == [{1}, {65535}, {1}]


@pytest.mark.parametrize(
    ("case", "name", "column", "said"),
    [
        (
            "too large",
            "large.h5",
            "n",
            "point 1 of n is not in the file: values from 70000 to 70000 do not fit into uint16",
        ),
        ("other shape", "shape.h5", "image", "point 1 of image is not in the file"),
    ],
)
def test_a_value_that_does_not_fit_is_said_and_counted_and_the_others_are_there(
    results, folder, case, name, column, said
):
    assert results[case]["raised"] == ""
    assert said in results[case]["warnings"][0]
    data, failures = entry(folder, name)
    assert failures == {f"maxdaq_failures_{column}": 1}
    assert len(data["n"]) == len(data["image"]) == 3
    assert list(data["n"][[0, 2]]) == [7, 7]
    assert set(data[column][1].flat) == {65535}  # and not 0, which looks like a measurement


def test_a_shape_that_nobody_knew_is_that_of_the_first_image(results, folder):
    assert results["unknown shape"] == {"raised": "", "warnings": []}
    assert entry(folder, "unknown.h5")[0]["image"].shape == (2, 2, 2)


def test_the_first_image_may_come_after_points_that_were_skipped(results, folder):
    assert results["unknown shape, late"] == {"raised": "", "warnings": []}
    image = entry(folder, "late.h5")[0]["image"]
    assert image.shape == (3, 2, 2)
    assert [set(one.flat) for one in image] == [{65535}, {1}, {1}]


def test_a_file_that_is_gone_raises_nothing_and_is_said(results):
    assert results["closed"]["raised"] == ""
    assert any("closed.h5 could not be" in text for text in results["closed"]["warnings"])


def test_the_interruption_of_a_macro_passes_through(results):
    assert results["interrupted"]["raised"] == "InterruptException"


def test_references_become_a_link_here_and_under_the_instrument(results, folder):
    assert results["linked"] == {"raised": "", "warnings": []}
    with h5py.File(folder / "linked.h5") as file:
        for group in ("entry1/measurement", "entry1/eiger"):
            link = file[group].get("eiger", getlink=True)
            assert (link.filename, link.path) == ("frames.h5", "/entry/data/data")
            assert file[group]["eiger"].shape == (3, 2, 2)


def test_references_that_cannot_be_linked_stay_and_it_is_said(results, folder):
    assert results["no file"]["raised"] == ""
    assert "eiger stays as references" in results["no file"]["warnings"][0]
    assert entry(folder, "no_file.h5")[0]["eiger"][0].decode().endswith("nothing.h5::entry/data/data[1]")


def test_a_point_without_a_reference_is_blank_and_said(results, folder):
    assert results["no reference"]["raised"] == ""
    assert "1 points have no frame of eiger: 1" in results["no reference"]["warnings"]
    data, failures = entry(folder, "no_reference.h5")
    assert set(data["eiger"][1].flat) == {65535}
    assert failures == {"maxdaq_failures_eiger": 1}
