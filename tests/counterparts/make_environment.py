"""Make the virtual environment of one counterpart: a published simulator or client that somebody else wrote.

    python tests/counterparts/make_environment.py NAME [NAME ...]

NAME is the stem of a requirements file in this folder; the environment becomes `.counterparts/NAME` in the project's
root, apart from our own because counterparts want other versions of the same libraries (tickit-devices needs cbor2 5).
Running it again costs nothing: a stamp holds the hash of the requirements and the Python version. Two at once are kept
apart by a lock file. Exit status 1 and the installer's own words when a package cannot be had.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parent.parent / ".counterparts"
INSTALL_TIMEOUT_S = 600
PIP = ("--quiet", "--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout", "20")


class EnvironmentUnavailable(Exception):
    """The environment could not be made here; the text says why (most often: no package registry)."""


def names() -> tuple[str, ...]:
    """Every counterpart that has a requirements file."""
    return tuple(sorted(path.stem for path in HERE.glob("*.txt")))


def make_environment(name: str) -> Path:
    """Path of the environment's Python, made first if need be. Raises `EnvironmentUnavailable`."""
    requirements = HERE / f"{name}.txt"
    if not requirements.is_file():
        raise EnvironmentUnavailable(f"no counterpart {name!r}; there are: {', '.join(names())}")
    wanted = _stamp(requirements)
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    stamp = folder / "stamp"
    ENVIRONMENTS.mkdir(exist_ok=True)
    with (ENVIRONMENTS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if python.exists() and stamp.is_file() and stamp.read_text() == wanted:
            return python
        if folder.exists():
            shutil.rmtree(folder)
        _run(name, sys.executable, "-m", "venv", str(folder))
        _run(name, str(python), "-m", "pip", "install", *PIP, "-r", str(requirements))
        stamp.write_text(wanted)
    return python


def _stamp(requirements: Path) -> str:
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    return f"{digest} python {sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}\n"


def _run(name: str, *command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentUnavailable(f"environment of {name}: {error}") from error
    if done.returncode:
        tail = " | ".join(done.stderr.strip().splitlines()[-3:])
        raise EnvironmentUnavailable(f"environment of {name}: {Path(command[0]).name} said: {tail}")


def main(arguments: list[str]) -> int:
    """Make the named environments, all of them when none is named."""
    for name in arguments or names():
        try:
            print(f"{name}: {make_environment(name)}")
        except EnvironmentUnavailable as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
