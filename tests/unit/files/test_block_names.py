"""Names of a master and its data files: what is chosen, what is in the way, nothing is replaced."""

from __future__ import annotations

from pathlib import Path

import hdf5plugin  # noqa: F401
import pytest

from block_series import BACKENDS, FORMAT, Series, plain
from maxdaq_tango.errors import FileError
from maxdaq_tango.files import (
    blocks,
    check_file,
)
from maxdaq_tango.files.block_names import BlockNames, choose_block_rows
from maxdaq_tango.model import FileBackend


@pytest.fixture(params=BACKENDS, autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FileBackend:
    """Every test of this module runs with both."""
    monkeypatch.setattr(Series, "backend", request.param)
    return FileBackend(request.param)


class TestNames:
    @pytest.mark.parametrize(
        ("final", "data"),
        [
            ("/d/x_master.h5", "x_data_000001.h5"),
            ("/d/x.nxs", "x_data_000001.nxs"),
            ("/d/x.y.h5", "x.y_data_000001.h5"),
            ("/d/_master.h5", "_master_data_000001.h5"),
        ],
    )
    def test_data_files_are_called_after_the_master(self, final: str, data: str) -> None:
        names = BlockNames.of(Path(final))
        assert names.name(0) == data
        assert names.master == Path(final)
        assert names.destination(0).part == Path("/d") / f".{data}.part"

    def test_with_a_number_the_master_keeps_its_ending(self) -> None:
        names = BlockNames.of(Path("/d/x_master.h5")).other(3)
        assert (names.master, names.name(9)) == (Path("/d/x_3_master.h5"), "x_3_data_000010.h5")

    def test_the_numbers_have_six_digits(self, tmp_path: Path) -> None:
        with pytest.raises(FileError, match=r"999999 data files at most.*FramesPerFile"):
            BlockNames.of(Path("/d/x.h5")).name(999_999)
        file = Series({}, [], modulus=1_000_001, block_rows=1).reserved(tmp_path / "a.h5")
        with pytest.raises(FileError, match="999999 data files at most"):
            file.begin(FORMAT, 1_000_001, 65535, {}, {})
        file.abandon()
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("frame", "rows", "ahead", "writers", "chosen"),
        [
            (27_000, None, 128 << 20, 2, 5000),
            (200_000, None, 128 << 20, 2, 1000),
            (2_000_000, None, 128 << 20, 2, 100),
            (20_000_000, None, 128 << 20, 2, 10),
            (200_000_000, None, 128 << 20, 2, 10),
            (200_000, None, 85 << 20, 3, 500),
            (100, None, 1 << 40, 2, 100_000),
            (2_000_000, 1_000_000, 128 << 20, 2, 2000),
            (20_000_000, 100_000, 128 << 20, 2, 200),
            (20_000_000, 1 << 24, 128 << 20, 16, 50_000),
            (0, 1, 0, 1, 10),
        ],
    )
    def test_a_good_number_of_frames_a_file(
        self, frame: int, rows: int | None, ahead: int, writers: int, chosen: int
    ) -> None:
        count, reason = choose_block_rows(frame, rows, ahead, writers)
        assert count == chosen
        told = "500 files at most" if rows is not None and frame > 1_000_000 else "work at the same time"
        assert ("the least that is worth a file" if frame == 200_000_000 else told) in reason
        if rows is not None:
            assert -(-rows // count) <= 500


class TestExisting:
    def put(self, folder: Path, name: str) -> Path:
        (folder / name).write_text("somebody's")
        return folder / name

    @pytest.mark.parametrize("name", ["a_data_000001.h5", "a_data_000003.h5"])
    def test_a_data_file_is_refused_when_the_name_is_reserved(self, tmp_path: Path, name: str) -> None:
        path = self.put(tmp_path, name)
        with pytest.raises(FileError, match=rf"{name}.*the data file exists.*--overwrite"):
            plain(10).reserved(tmp_path / "a_master.h5")
        assert [p.name for p in tmp_path.iterdir()] == [name]
        assert path.read_text() == "somebody's"

    def test_one_that_the_series_does_not_need_is_nobodys_business(self, tmp_path: Path) -> None:
        for name in ("a_data_000004.h5", "a_data_01.h5", "ab_data_000001.h5", "a_data_000001.hdf5", "a.h5.txt"):
            self.put(tmp_path, name)
        assert check_file(plain(10).finished(tmp_path / "a.h5")).ok

    def test_without_a_count_any_is_in_the_way(self, tmp_path: Path) -> None:
        self.put(tmp_path, "a_data_000400.h5")
        with pytest.raises(FileError, match="the data file exists"):
            Series({}, [], modulus=None).reserved(tmp_path / "a.h5")

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_an_unfinished_data_file_is_refused(self, tmp_path: Path, overwrite: bool) -> None:
        self.put(tmp_path, ".a_data_000002.h5.part")
        with pytest.raises(FileError, match="unfinished data file"):
            plain(10).reserved(tmp_path / "a.h5", overwrite=overwrite)

    def test_an_unfinished_master_is_refused(self, tmp_path: Path) -> None:
        self.put(tmp_path, ".a.h5.part")
        with pytest.raises(FileError, match="unfinished file"):
            plain(10).reserved(tmp_path / "a.h5")
        assert (tmp_path / ".a.h5.part").read_text() == "somebody's"

    @pytest.mark.parametrize("name", ["a_master.h5", "a_data_000002.h5"])
    def test_a_name_taken_during_the_run_is_not_replaced(self, tmp_path: Path, name: str) -> None:
        series = plain(10, 4)
        file = series.written(tmp_path / "a_master.h5")
        self.put(tmp_path, name)
        final = series.finish(file)
        assert final == tmp_path / "a_1_master.h5"
        assert check_file(final).problems == []
        assert (tmp_path / name).read_text() == "somebody's"
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
            [name, "a_1_master.h5", *(f"a_1_data_{number:06d}.h5" for number in (1, 2, 3))]
        )

    def test_overwriting_moves_the_old_files_aside_together_so_that_they_can_be_read(self, tmp_path: Path) -> None:
        plain(10, 4).finished(tmp_path / "a_master.h5")
        new = Series({row: row + 50 for row in range(3)}, [True] * 3, 50, 0, 3, 2)
        for version in (1, 2):
            final = new.finished(tmp_path / "a_master.h5", overwrite=True)
            assert check_file(final).problems == []
            aside = tmp_path / f"a.old{version}"
            assert check_file(aside / "a_master.h5").problems == []
        assert check_file(tmp_path / "a.old1" / "a_master.h5").rows == 10
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
            ["a_master.h5", "a_data_000001.h5", "a_data_000002.h5", "a.old1", "a.old2"]
        )

    def test_publishing_is_all_or_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        series, give_name = plain(10, 4), blocks.give_name
        file = series.written(tmp_path / "a.h5")

        def refuse(path: Path, name: Path) -> None:
            if name.name == "a_data_000003.h5":
                raise OSError(28, "No space left on device")
            give_name(path, name)

        monkeypatch.setattr(blocks, "give_name", refuse)
        with pytest.raises(FileError, match=r"publish .*No space left on device \(errno 28\)"):
            series.finish(file)
        file.abandon()
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
            [".a.h5.part", ".a.h5.part.state", *(f".a_data_{number:06d}.h5.part" for number in (1, 2, 3))]
        )

    def test_a_name_that_is_too_long_for_data_files_is_refused_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(FileError, match="name that the file system takes"):
            plain(10).reserved(tmp_path / f"{'x' * 230}.h5")
        assert list(tmp_path.iterdir()) == []

    def test_a_detector_name_that_is_a_path_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(FileError, match="not a name in a file"):
            plain(10).reserved(tmp_path / "a.h5", detector="a/b")
        assert list(tmp_path.iterdir()) == []
