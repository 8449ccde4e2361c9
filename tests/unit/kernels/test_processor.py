"""A processor for which bitshuffle was not compiled is told before anything is imported that would kill the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.kernels import processor

OLD = "processor\t: 0\nmodel name\t: an old one\nflags\t\t: fpu sse2 ssse3 avx\n\n"
NEW = OLD.replace("avx\n", "avx avx2\n")


@pytest.fixture
def cpu_info(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "CPU_INFO", path)
    monkeypatch.delenv(processor.BUILT_HERE, raising=False)
    return path


@pytest.mark.lesson(43)
def test_an_old_processor_is_refused_with_the_way_out(cpu_info: Path) -> None:
    cpu_info.write_text(OLD)
    with pytest.raises(ConfigurationError, match=r"no AVX2.*--no-binary bitshuffle.*MAXDAQ_BITSHUFFLE_BUILT_HERE=1"):
        processor.check_processor("x86_64")


@pytest.mark.parametrize(
    ("machine", "text"), [("x86_64", NEW), ("aarch64", OLD), ("x86_64", "nothing known\n"), ("x86_64", None)]
)
def test_all_others_pass(cpu_info: Path, machine: str, text: str | None) -> None:
    if text is not None:
        cpu_info.write_text(text)
    processor.check_processor(machine)


def test_who_has_compiled_it_here_passes(cpu_info: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_info.write_text(OLD)
    monkeypatch.setenv(processor.BUILT_HERE, "1")
    processor.check_processor("x86_64")


@pytest.mark.lesson(43)
@pytest.mark.parametrize("module", ["maxdaq_tango.kernels.compression", "maxdaq_tango.kernels.packing"])
def test_it_is_looked_at_before_bitshuffle_is_imported(tmp_path: Path, module: str) -> None:
    (tmp_path / "cpuinfo").write_text(OLD)
    program = (
        "import pathlib, sys, importlib\n"
        "from maxdaq_tango.errors import ConfigurationError\n"
        "from maxdaq_tango.kernels import processor\n"
        f"processor.CPU_INFO = pathlib.Path({str(tmp_path / 'cpuinfo')!r})\n"
        "processor.platform.machine = lambda: 'x86_64'\n"
        f"try: importlib.import_module({module!r})\n"
        "except ConfigurationError: print('bitshuffle' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
