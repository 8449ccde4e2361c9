"""The simulated `libdcamapi.so.4`: compiled from our own source on first use, and put where a program shall find it.

The compiled library lies in a cache folder under a name made of its source and compiler, so that it is made once. Two
processes that do so at the same time each make their own and the last one stays: they are equal.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from maxdaq_tango.errors import ConfigurationError

LIBRARY_NAME = "libdcamapi.so.4"
ADDRESS_NAME = "camera"
"""File beside the library with the address of its camera."""
ADDRESS_VARIABLE = "MAXDAQ_SIMULATED_DCAM"
"""Environment variable with the address; counts more than the file."""
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=gnu11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra")
LIBRARIES = ("-lpthread", "-ldl")
COMPILE_TIMEOUT_S = 120.0


def source() -> str:
    """The C source."""
    return (resources.files("maxdaq_tango.detectors.orca") / "simulated_dcam.c").read_text()


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where compiled libraries are kept: under $XDG_CACHE_HOME, else in ~/.cache."""
    base = environment.get("XDG_CACHE_HOME") or os.path.join(environment.get("HOME", tempfile.gettempdir()), ".cache")
    return Path(base) / "maxdaq-tango"


def find_compiler(environment: Mapping[str, str] = os.environ) -> str:
    """Path of a C compiler: $CC, cc, gcc or clang. ConfigurationError where there is none."""
    names = (environment["CC"],) if environment.get("CC") else COMPILERS
    for name in names:
        found = shutil.which(name, path=environment.get("PATH", os.defpath))
        if found:
            return found
    raise ConfigurationError(
        "compile the simulated DCAM library",
        answer=f"there is no C compiler: looked for {', '.join(names)}",
        accepted="a C compiler on the PATH (Debian: apt install gcc libc6-dev), or its name in the variable CC; "
        "it is needed once, and by the simulated camera alone",
    )


def compiled_library(folder: Path | None = None, environment: Mapping[str, str] = os.environ) -> Path:
    """The compiled library in the cache; made when it is not there. ConfigurationError when it cannot be."""
    folder = folder or cache_folder(environment)
    text = source()
    recipe = "\0".join((text, *FLAGS, *LIBRARIES, os.uname().machine))
    path = folder / f"dcam-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.so"
    if path.exists():
        return path
    compiler = find_compiler(environment)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="dcam-") as workplace:
            made = Path(workplace) / "made.so"
            _compile(compiler, text, made, environment)
            os.replace(made, path)
    except OSError as error:
        raise ConfigurationError(
            "keep the simulated DCAM library",
            of=str(folder),
            answer=str(error),
            accepted="a folder to write in: set XDG_CACHE_HOME",
        ) from None
    return path


def _compile(compiler: str, text: str, made: Path, environment: Mapping[str, str]) -> None:
    command = [compiler, *FLAGS, "-x", "c", "-", "-o", str(made), *LIBRARIES]
    asked = "compile the simulated DCAM library"
    try:
        done = subprocess.run(
            command, input=text.encode(), capture_output=True, timeout=COMPILE_TIMEOUT_S, env=dict(environment)
        )
    except subprocess.TimeoutExpired:
        raise ConfigurationError(asked, of=compiler, answer=f"not done in {COMPILE_TIMEOUT_S:g} s") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-500:]
        raise ConfigurationError(asked, of=compiler, answer=said, accepted="a C compiler with its headers (libc6-dev)")


def place_library(path: Path, address: str, compiled: Path | None = None) -> Path:
    """Put the library at `path`, to be loaded from there for the camera at `address` (HOST:PORT).

    A copy and not a link: the loader takes two names of one file for one library.
    """
    compiled = compiled or compiled_library()
    path.parent.mkdir(parents=True, exist_ok=True)
    for target, content in ((path, compiled.read_bytes()), (path.parent / ADDRESS_NAME, f"{address}\n".encode())):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".placing-")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o755 if target is path else 0o644)
        os.replace(name, target)
    return path
