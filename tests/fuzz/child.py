"""The process that is fuzzed: it may crash, hang or be killed, and libFuzzer keeps the input that did it.

python child.py TARGET [what libFuzzer takes]
"""

from __future__ import annotations

import os
import random
import resource
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before bitshuffle is imported; libFuzzer's timers and OpenMP's threads apart
sys.path.insert(0, str(Path(__file__).parents[1]))

import atheris

INSTRUMENTED = ["maxdaq_tango.wire", "maxdaq_tango.model", "maxdaq_tango.kernels"]
"""Whose branches lead the fuzzer: our own Python code."""
MOST_GROWTH_NBYTES = 256 << 20
"""Of the address space over what the process has at the beginning. An input has some kilobytes, and the system refuses
whatever asks for more, be it touched or not: a MemoryError, which is a finding, also as the cause of a WireError."""


def main() -> None:
    """Does not return: libFuzzer ends the process."""
    with atheris.instrument_imports(include=INSTRUMENTED):
        from fuzz.targets import target

        chosen = target(sys.argv[1])
    for data in chosen.seeds().values():
        chosen.one(data)  # what is made once, such as tables of libraries, is no input's fault
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + MOST_GROWTH_NBYTES, most))

    def mutator(data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.25:
            return bytes(atheris.Mutate(data, most))
        return chosen.mutated(data, most, chance, plain)[:most]

    atheris.Setup([sys.argv[0], *sys.argv[2:]], chosen.one, custom_mutator=mutator)
    atheris.Fuzz()


def plain(data: bytes, most: int) -> bytes:
    """libFuzzer's own mutation."""
    return bytes(atheris.Mutate(data[:most], max(1, most)))


if __name__ == "__main__":
    main()
