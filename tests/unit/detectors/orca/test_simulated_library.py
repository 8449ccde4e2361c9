"""The simulated DCAM library is compiled on first use, once, and put where it is wanted."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from maxdaq_tango.detectors.orca.simulated_library import (
    ADDRESS_NAME,
    LIBRARY_NAME,
    cache_folder,
    compiled_library,
    find_compiler,
    place_library,
)
from maxdaq_tango.errors import ConfigurationError

pytestmark = pytest.mark.usefixtures("_compiler")
COMPILE = (
    "import sys; from maxdaq_tango.detectors.orca.simulated_library import compiled_library; print(compiled_library())"
)


def environment(cache: Path, **more: str) -> dict[str, str]:
    import os

    return {**os.environ, "XDG_CACHE_HOME": str(cache), **more}


def test_it_is_made_once_and_has_every_name(tmp_path: Path) -> None:
    first = compiled_library(tmp_path)
    made = first.stat()
    assert compiled_library(tmp_path, {"PATH": "/nowhere"}) == first  # no compiler is needed any more
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    library = ctypes.CDLL(str(first))
    for name in ("dcamapi_init", "dcamprop_setgetvalue", "dcambuf_attach", "dcamwait_abort", "dcamrec_openA"):
        assert getattr(library, name)


def test_two_processes_at_once_get_the_same_whole_library(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", COMPILE], env=environment(tmp_path), stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    paths = {process.communicate(timeout=100)[0].strip() for process in processes}
    (path,) = paths
    assert {process.returncode for process in processes} == {0}
    assert ctypes.CDLL(path)
    assert [item.name for item in Path(path).parent.iterdir()] == [Path(path).name]  # no scraps


def test_no_compiler_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no C compiler: looked for cc, gcc, clang.*apt install gcc"):
        compiled_library(tmp_path, {"PATH": "/nowhere"})
    with pytest.raises(ConfigurationError, match="looked for my-cc"):
        find_compiler({"PATH": "/nowhere", "CC": "my-cc"})


def test_the_simulator_says_so_when_it_is_started_without_a_compiler(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "maxdaq_tango.detectors.orca.simulator_server", "--rows", "64", "--columns", "64"],
        env=environment(tmp_path, PATH="/nowhere", CC=""),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "there is no C compiler" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_compiler_that_fails_is_quoted(tmp_path: Path) -> None:
    broken = tmp_path / "broken-cc"
    broken.write_text("#!/bin/sh\necho 'no headers here' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(ConfigurationError, match=r"no headers here.*libc6-dev"):
        compiled_library(tmp_path / "cache", {"CC": str(broken), "PATH": "/nowhere"})
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"keep the simulated DCAM library.*XDG_CACHE_HOME"):
        compiled_library(tmp_path / "file" / "cache")


def test_the_cache_is_where_caches_are() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/maxdaq-tango")
    assert cache_folder({"HOME": "/home/me"}) == Path("/home/me/.cache/maxdaq-tango")


def test_every_camera_has_a_library_of_its_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        path = place_library(tmp_path / name / LIBRARY_NAME, f"127.0.0.1:{ord(name)}")
        place_library(path, f"127.0.0.1:{ord(name)}")  # again, as after a restart
        assert (path.parent / ADDRESS_NAME).read_text() == f"127.0.0.1:{ord(name)}\n"
        assert sorted(item.name for item in path.parent.iterdir()) == [ADDRESS_NAME, LIBRARY_NAME]
    inodes = {(tmp_path / name / LIBRARY_NAME).stat().st_ino for name in ("a", "b")}
    assert len(inodes) == 2  # two names of one file would be one library for the loader
