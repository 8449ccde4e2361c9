"""How the vendor's library is found, and how its names are, whatever this version of it calls them.

pyxsp is not public. Where its public users and the header of the C++ library below it spell a name differently, both
are tried: the first hour at a detector is spent on the one table `NAMES`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

from maxdaq_tango.errors import ConfigurationError, DetectorRefused

NAMES: dict[str, tuple[str, ...]] = {
    "number_of_frames": ("number_of_frames", "frame_count"),
    "get_frame": ("get_frame", "frame"),
    "release_frame": ("release_frame", "release"),
    "status_code": ("status_code", "status"),
    "is_busy": ("is_busy", "busy"),
    "trigger_mode": ("trigger_mode",),
    "gating_mode": ("gating_mode", "gating"),
    "number_of_modules": ("number_of_modules",),
    "TrigMode": ("TrigMode", "TriggerMode"),
}
"""What we call > what the library may call it, the likeliest first. A name that is not in here is the library's own."""


class Library(Protocol):
    """What is asked of the module itself; its enums are looked up by name."""

    System: Callable[[str], Any]


def load_library(name: str) -> ModuleType:
    """The vendor's module, or a stand-in; ConfigurationError where there is none."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: it is there, and a library below it is not
        raise ConfigurationError(
            "drive a Lambda",
            answer=f"the library {name} cannot be imported here ({error})",
            accepted="X-Spectrum's pyxsp installed beside this streamer, or another name with --library",
        ) from None


def spelling(of: Any, name: str) -> str:
    """How this version of the library spells a name; DetectorRefused where it knows none of them."""
    there = dir(of)
    for candidate in NAMES.get(name, (name,)):
        if candidate in there:
            return candidate
    raise DetectorRefused(
        f"find {name}",
        of=f"the library's {type(of).__name__}",
        answer=f"it has no {' and no '.join(NAMES.get(name, (name,)))}",
        accepted="pyxsp 3.1",
    )


def knows(of: Any, name: str) -> bool:
    """Any of its spellings. A property is not read for that: it may cost a look at the detector."""
    return not set(NAMES.get(name, (name,))).isdisjoint(dir(of))


def found(of: Any, name: str) -> Any:
    """A method, under whatever name."""
    return getattr(of, spelling(of, name))


def value(of: Any, name: str) -> Any:
    """A value, whether this version has it as a property or as a method."""
    item = found(of, name)
    return item() if callable(item) else item


def member(library: Any, kind: str, name: str) -> Any:
    """A member of one of the library's enums."""
    names = NAMES.get(kind, (kind,))
    for candidate in names:
        members = getattr(library, candidate, None)
        if members is not None and hasattr(members, name):
            return getattr(members, name)
    raise DetectorRefused(
        f"find {kind}.{name}",
        of=str(getattr(library, "__name__", "the library")),
        answer=f"it has none in {' or '.join(names)}",
        accepted="pyxsp 3.1",
    )
