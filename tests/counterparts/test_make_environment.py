"""Making a counterpart's environment: idempotent, and clear about why it could not be done."""

from __future__ import annotations

from pathlib import Path

import pytest

from counterparts import make_environment as module
from counterparts.make_environment import EnvironmentUnavailable, main, make_environment

FAKE_PYTHON = """#!/bin/sh
# Called as `python -m venv FOLDER`, and as FOLDER/bin/python -m pip install ... -r REQUIREMENTS.
for last; do :; done
case "$2" in
venv) mkdir -p "$last/bin" && cp "$0" "$last/bin/python" ;;
pip) grep -q no-such-package "$last" && { echo "ERROR: no matching distribution: no-such-package" >&2; exit 1; } ;;
esac
exit 0
"""
"""Real environments take six seconds each; the counterparts' own tests make real ones."""


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(module, "ENVIRONMENTS", tmp_path / "environments")
    python = tmp_path / "fake-python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    monkeypatch.setattr(module.sys, "executable", str(python))
    return tmp_path


def test_an_unknown_counterpart_is_refused_with_those_that_exist(folders: Path) -> None:
    (folders / "one.txt").write_text("")
    with pytest.raises(EnvironmentUnavailable, match="no counterpart 'other'; there are: one"):
        make_environment("other")


def test_an_environment_is_made_once_and_again_when_its_requirements_change(folders: Path) -> None:
    requirements = folders / "empty.txt"
    requirements.write_text("")
    python = make_environment("empty")
    mark = python.parent / "mark"
    mark.touch()
    assert make_environment("empty") == python
    assert mark.exists()
    requirements.write_text("# something else\n")
    make_environment("empty")
    assert not mark.exists()


def test_an_environment_that_cannot_be_made_says_why_and_leaves_no_stamp(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders / "broken.txt").write_text("no-such-package\n")
    with pytest.raises(EnvironmentUnavailable, match=r"broken.*no-such-package"):
        make_environment("broken")
    assert not (folders / "environments" / "broken" / "stamp").exists()
    assert main(["broken"]) == 1
    assert "no-such-package" in capsys.readouterr().err
