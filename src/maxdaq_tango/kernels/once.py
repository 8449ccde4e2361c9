"""Kernels are compiled when they are first needed, and once, however many threads need one at that moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from functools import wraps
from typing import Any, TypeVar

Make = TypeVar("Make", bound=Callable[..., Any])


def compiled_once(make: Make) -> Make:
    """`functools.cache` whose callers wait for each other: compiling takes half a second of the processor."""
    lock, kept = threading.Lock(), dict[tuple[Hashable, ...], Any]()

    @wraps(make)
    def get(*key: Hashable) -> Any:
        found = kept.get(key)
        if found is None:
            with lock:
                found = kept.get(key)
                if found is None:
                    found = kept[key] = make(*key)
        return found

    return get  # type: ignore[return-value]
