"""Compiled kernels, from second copies of their modules: numba takes no code that is instrumented as the others are."""

from __future__ import annotations

import importlib.util
from typing import Any

from maxdaq_tango.kernels import byte_offset, framing, mono12p


def as_it_is(module: Any) -> Any:
    """A second copy of a module."""
    specification = importlib.util.spec_from_file_location(f"{module.__name__}_as_it_is", module.__file__)
    assert specification is not None
    assert specification.loader is not None
    copy = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(copy)
    return copy


FRAMING = as_it_is(framing)
FRAMING.compile_kernels()
for kernel in (byte_offset, mono12p):
    kernel._compiled = as_it_is(kernel)._compiled
