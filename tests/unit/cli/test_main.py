from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from maxdaq_tango.cli import main as main_module
from maxdaq_tango.cli.main import COMMANDS, Command, main
from maxdaq_tango.errors import ConfigurationError, LaunchError


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    code = ended.value.code
    assert isinstance(code, int)
    return code


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """`maxdaq fail` raises whatever the test puts into this list."""
    errors: list[BaseException] = []

    def fail() -> None:
        """Fail."""
        raise errors[0]

    monkeypatch.setitem(COMMANDS, "fail", Command("Run", "Fail."))
    monkeypatch.setitem(sys.modules, "maxdaq_tango.cli.fail", SimpleNamespace(fail=fail, __spec__=object()))
    return errors


def test_help_names_every_command_that_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    for name in ("demo", "up", "simulate"):
        assert f" {name} " in shown
        assert COMMANDS[name].summary[:30] in shown


def test_a_command_that_is_not_installed_is_not_promised(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(COMMANDS, "levitate", Command("Run", "Lift the detector."))
    run("--help")
    assert "levitate" not in capsys.readouterr().out
    assert run("levitate") == 2


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from maxdaq_tango.cli.main import main
try:
    main(["--help"])
except SystemExit:
    pass
heavy = {"tango", "numpy", "h5py", "numba", "zmq", "httpx", "yaml", "PIL"}
print("heavy:", sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_installed_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if main_module.importlib.util.find_spec(f"maxdaq_tango.cli.{name}") is None:
        assert run(name) == 2
        return
    assert run(name, "--help") == 0
    assert "Usage: maxdaq " + name in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from maxdaq_tango import __version__

    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == f"maxdaq {__version__}"


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    run()
    shown = capsys.readouterr()
    assert "maxdaq demo" in shown.out + shown.err


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (LaunchError("start it", of="here", answer="no"), 1, "maxdaq: start it (of here): no\n"),
        (ConfigurationError("read it", accepted="a or b"), 2, "maxdaq: read it. Accepted: a or b\n"),
        (ValueError("odd"), 1, "maxdaq: unexpected ValueError: odd. `--debug` shows where\n"),
    ],
)
def test_an_error_is_one_sentence(
    fails: list[BaseException], error: Exception, status: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fails.append(error)
    assert run("fail") == status
    shown = capsys.readouterr()
    assert shown.err == sentence
    assert shown.out == ""


@pytest.mark.parametrize("words", [("--debug", "fail"), ("fail", "--debug")])
def test_debug_shows_where_an_error_arose(
    fails: list[BaseException], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    fails.append(LaunchError("start it"))
    assert run(*words) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith("maxdaq: start it\n")


def test_ctrl_c_is_no_traceback(fails: list[BaseException], capsys: pytest.CaptureFixture[str]) -> None:
    fails.append(KeyboardInterrupt())
    assert run("fail") == 130
    assert "Traceback" not in capsys.readouterr().err


def test_an_error_of_a_program_is_an_object_for_programs(
    capsys: pytest.CaptureFixture[str], tmp_path: pytest.TempPathFactory
) -> None:
    assert run("up", f"{tmp_path}/none.yaml", "--json") == 2
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert told["kind"] == "ConfigurationError"
    assert told["error"] in shown.err


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("lift") == 2
    assert "No such command" in capsys.readouterr().err


def test_a_shell_can_complete_options(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from maxdaq_tango.cli.main import main; main()"],
        env={"_MAXDAQ_COMPLETE": "complete_bash", "COMP_WORDS": "maxdaq demo --fr", "COMP_CWORD": "2", "PATH": "/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == ["--frames"]


def test_the_built_in_topology_is_shown_and_checked(capsys: pytest.CaptureFixture[str]) -> None:
    from maxdaq_tango.deployment.topology import built_in_topology

    assert run("up", "--show") == 0
    assert capsys.readouterr().out.strip() == built_in_topology().strip()
    assert run("up", "--check") == 0
    assert "is sound: 3 devices" in capsys.readouterr().out


def test_receive_sets_the_threads_of_openmp_before_anything_reads_them() -> None:
    script = (
        "import sys, maxdaq_tango.cli.receive as r, maxdaq_tango.cli.receipt_table, maxdaq_tango.cli.terminal, os\n"
        "assert not {'bitshuffle', 'bitshuffle.ext'} & set(sys.modules)\n"
        "from maxdaq_tango.errors import MaxdaqError\n"
        "from maxdaq_tango.model import StreamFormat\n"
        "try: r.receive(['nonsense'], StreamFormat.STINS)\n"
        "except MaxdaqError: pass\n"
        "assert os.environ['OMP_NUM_THREADS'] == '1' and 'bitshuffle' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
