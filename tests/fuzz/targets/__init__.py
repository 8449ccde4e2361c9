"""What is fuzzed: each module has `one` (what must hold of an input), `mutated` and `seeds`."""

from __future__ import annotations

import random
from typing import Protocol, cast

from fuzz.mutation import Plain

NAMES = ("stins", "dectris_v1", "dectris_v2", "lambda_modules", "sls_json", "packed", "capture")


class Target(Protocol):
    """One decoder."""

    def one(self, data: bytes) -> None: ...

    def mutated(self, data: bytes, most: int, chance: random.Random, plain: Plain) -> bytes: ...

    def seeds(self) -> dict[str, bytes]: ...


def target(name: str) -> Target:
    """By its name; imported only now, so that it can be instrumented."""
    import importlib

    importlib.import_module("fuzz.compiled")
    return cast(Target, importlib.import_module(f"fuzz.targets.{name}"))
