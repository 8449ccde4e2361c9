"""The documentation says what is true: its links lead somewhere, its topologies are sound, its tutorial runs."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tango

from maxdaq_tango.cli.main import COMMANDS
from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.launcher import deployed
from maxdaq_tango.deployment.topology import built_in_topology, parse_topology
from sardana_site import SOURCE, Door, door_answers, sardana_bin

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
SCRIPTS = ROOT / "docs" / "how-to" / "script-with-deviceproxy.md"
SARDANA = ROOT / "docs" / "how-to" / "scan-with-sardana.md"
TUTORIAL = ROOT / "docs" / "tutorials" / "first-acquisition.md"

TOPOLOGIES = [
    (page, number, text)
    for page in PAGES
    for number, text in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL), 1)
    if re.match(r"(#.*\n)*name:", text)
]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    broken = [target for target in targets if not (page.parent / target).exists()]
    assert not broken


def test_every_page_can_be_found_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target).resolve() for target in LINK.findall(index.read_text())}
    assert [page.name for page in PAGES[1:] if page != index and page.resolve() not in linked] == []


@pytest.mark.parametrize(
    ("page", "number", "text"), TOPOLOGIES, ids=[f"{page.stem}-{number}" for page, number, _ in TOPOLOGIES]
)
def test_every_topology_is_sound(page: Path, number: int, text: str) -> None:
    assert list(parse_topology(text, f"{page.name}, example {number}").devices())


def test_there_are_topologies_to_check() -> None:
    assert len(TOPOLOGIES) >= 4


def test_the_command_line_page_and_the_readme_name_every_command() -> None:
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text()
    assert [name for name in COMMANDS if f"| `maxdaq {name}" not in page] == []


def run_examples(page: Path, tmp_path: Path) -> str:
    """What all Python of the page prints, one example after the other, beside the built-in topology."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    topology = parse_topology(built_in_topology(), "built in")
    interruption = Interruption()
    with deployed(topology, tmp_path, interruption=interruption) as deployment:
        assert interruption.wait_until(lambda: {row.state for row in deployment.statuses()} == {"ON"}, 30)
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "TANGO_HOST": deployment.tango_host},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(180)
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    told = run_examples(TUTORIAL, tmp_path)
    assert "ACQUIRING" in told
    assert "\nCOMPLETE\n" in told
    assert "(100, 1065, 1030) uint16" in told
    assert "frames_written 100" in told


@pytest.mark.timeout(180)
def test_the_page_about_scripts_does_what_it_says(tmp_path: Path) -> None:
    first, plain, triggered, helper, stepwise = run_examples(SCRIPTS, tmp_path).splitlines()
    assert first == "COMPLETE"
    assert plain.startswith("laptop/detector/eiger 50 frames in ")
    assert triggered == "COMPLETE"
    assert helper.startswith("COMPLETE {'laptop/detector/eiger': '")
    assert stepwise == "COMPLETE [10]"


def blocks(page: Path, language: str) -> str:
    """All code of a language in a page."""
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL))


@contextlib.contextmanager
def shell(script: str, folder: Path, environment: dict[str, str]) -> Iterator[Path]:
    """A script whose last command is a server; the path of what it says. All that it started is ended."""
    log = folder / "shell.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            ["bash", "-euc", script],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
    try:
        yield log
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.counterpart
@pytest.mark.timeout(240)
def test_the_page_about_sardana_does_what_it_says(tmp_path: Path) -> None:
    programs = sardana_bin()
    interruption, work = Interruption(), tmp_path / "work"
    work.mkdir()
    with deployed(
        parse_topology(built_in_topology(), "built in"), tmp_path / "site", interruption=interruption
    ) as site:
        assert interruption.wait_until(lambda: {row.state for row in site.statuses()} == {"ON"}, 30)
        environment = {
            **os.environ,
            "TANGO_HOST": site.tango_host,
            "TANGO_LOG_PATH": str(work),
            "HOME": str(work),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(SOURCE),
        }
        with shell(blocks(SARDANA, "sh"), work, environment) as log:
            name = f"tango://{site.tango_host}/door/laptop/1"
            assert interruption.wait_until(lambda: door_answers(name), 120), log.read_text()
            door = Door(name)
            for line in blocks(SARDANA, "spock").splitlines():
                door.must(*line.replace("[", "[ ").replace("]", " ]").split())
            door.close()
        done = subprocess.run(
            [sys.executable, "-c", blocks(SARDANA, "python")],
            env={**os.environ, "TANGO_HOST": site.tango_host},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            "(11, 1065, 1030) scan-0001_eiger.h5",
            "(21, 1065, 1030) scan-0002_eiger.h5",
        ]
        assert tango.DeviceProxy(f"tango://{site.tango_host}/laptop/daq/controller").Verdict == "COMPLETE"
