from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from PIL import Image

from maxdaq_tango.cli.demo_outcome import _programs, _short
from maxdaq_tango.cli.new_folder import new_folder
from maxdaq_tango.cli.preview import coloured, write_preview
from maxdaq_tango.cli.verification import Pixels, compare_with_pattern
from maxdaq_tango.client.report import report_of
from maxdaq_tango.detectors.simulation.pattern import FramePattern
from maxdaq_tango.errors import FileError, LaunchError, StateError
from maxdaq_tango.model import Verdict

SHAPE = (48, 64)
SEED = 7
DATASET = "/entry/instrument/eiger/data"


def pattern(shape: tuple[int, ...], dtype: str, seed: int = SEED) -> Pixels:
    rows, columns = shape
    return FramePattern(seed, (rows, columns), dtype).frame


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Three frames as the simulator sends them."""
    pattern = FramePattern(SEED, SHAPE, "uint16")
    path = tmp_path / "series.h5"
    with h5py.File(path, "w") as file:
        frames = np.stack([pattern.frame(number) for number in range(3)])
        file.create_dataset(DATASET, data=frames, chunks=(1, *SHAPE), **hdf5plugin.Bitshuffle())
    return path


def test_a_folder_is_made_anew_each_time(tmp_path: Path) -> None:
    made = [new_folder(tmp_path / "deep", "demo") for _ in range(4)]
    assert len(set(made)) == 4
    assert all(folder.is_dir() and folder.is_absolute() for folder in made)


def test_a_file_in_the_way_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    with pytest.raises(LaunchError, match="make a folder"):
        new_folder(tmp_path / "data", "demo")
    assert (tmp_path / "data").read_text() == "mine"


def test_paths_are_shown_relative_to_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _short(tmp_path / "data" / "x.h5") == Path("data/x.h5")
    assert _short(Path("/elsewhere/x.h5")) == Path("/elsewhere/x.h5")


def test_commands_are_shown_so_that_a_shell_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(sys.executable).parent
    monkeypatch.chdir("/")
    monkeypatch.setenv("PATH", str(folder))
    assert _programs() == ""
    monkeypatch.setenv("PATH", "/bin")
    assert _programs().endswith(f"{folder.name}/")


def test_equal_pixels_are_equal(series: Path) -> None:
    looks: list[int] = []
    comparison = compare_with_pattern(series, DATASET, pattern, 3, looks.append)
    assert (comparison.pixels, comparison.pixels_different) == (3 * 48 * 64, 0)
    assert comparison.first_difference == ""
    assert looks == [1, 2, 3]


def test_one_wrong_pixel_is_found_and_named(series: Path) -> None:
    with h5py.File(series, "r+") as file:
        right = int(file[DATASET][2, 10, 20])
        file[DATASET][2, 10, 20] = right + 1
    comparison = compare_with_pattern(series, DATASET, pattern, 3)
    assert comparison.pixels_different == 1
    assert comparison.first_difference == f"frame 2, row 10, column 20: {right + 1}, not {right}"


def test_frames_in_the_wrong_order_are_found(series: Path) -> None:
    with h5py.File(series, "r+") as file:
        data = file[DATASET]
        data[0], data[1] = data[1], data[0]
    assert compare_with_pattern(series, DATASET, pattern, 3).pixels_different > 0


def test_another_seed_is_found(series: Path) -> None:
    assert compare_with_pattern(series, DATASET, partial(pattern, seed=SEED + 1), 3).pixels_different > 100


def test_a_frame_too_few_is_an_error(series: Path) -> None:
    with pytest.raises(FileError, match=r"compare 4 frames.*shape \(3, 48, 64\)"):
        compare_with_pattern(series, DATASET, pattern, 4)


def test_a_dataset_that_is_not_there_is_an_error(series: Path) -> None:
    with pytest.raises(FileError, match="read the frames"):
        compare_with_pattern(series, "/entry/none", pattern, 3)


def test_a_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"no HDF5")
    with pytest.raises(FileError, match="read the frames"):
        compare_with_pattern(tmp_path / "x.h5", DATASET, pattern, 3)


def test_a_preview_is_a_picture_of_the_frames(series: Path, tmp_path: Path) -> None:
    assert write_preview(series, DATASET, tmp_path / "preview.png") == 3
    with Image.open(tmp_path / "preview.png") as picture:
        assert picture.size == (64, 48)
        assert picture.mode == "RGB"
        gap = picture.getpixel((5, 24))
        assert gap == (70, 74, 84)
        assert len(picture.getcolors(maxcolors=48 * 64) or []) > 5


def test_a_preview_overwrites_nothing(series: Path, tmp_path: Path) -> None:
    (tmp_path / "preview.png").write_text("mine")
    with pytest.raises(FileExistsError):
        write_preview(series, DATASET, tmp_path / "preview.png")
    assert (tmp_path / "preview.png").read_text() == "mine"


def test_colours_go_from_black_to_white_hot() -> None:
    counts = np.linspace(0, 100, 1000).reshape(10, 100)
    picture = coloured(counts, np.zeros(counts.shape, dtype=bool))
    brightness = picture.astype(int).sum(axis=2).ravel()
    assert brightness[0] < 10
    assert brightness[-1] > 600
    assert (np.diff(brightness) >= -1).all()


def test_an_empty_picture_is_black() -> None:
    assert coloured(np.zeros((4, 4)), np.zeros((4, 4), dtype=bool)).max() < 10


def test_a_report_is_read() -> None:
    text = (
        '{"run_id": "r", "verdict": "COMPLETE", "armed": true, "reasons": [],'
        ' "receipts": {"a/b/c": {"verdict": "COMPLETE", "frames_written": 3}}}'
    )
    report = report_of(text, "d")
    assert report.verdict is Verdict.COMPLETE
    assert report.receipts["a/b/c"].frames_written == 3


@pytest.mark.parametrize("text", ["", "{}", '{"verdict": "SPLENDID"}'])
def test_a_report_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(StateError, match="read LastReport"):
        report_of(text, "d")
