from __future__ import annotations

import os
import subprocess
import sys

import pytest

from maxdaq_tango.engine.environment import PAST_CACHE, TUNABLES, engine_environment


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, f"{PAST_CACHE}=0x10000"),
        ({TUNABLES: ""}, f"{PAST_CACHE}=0x10000"),
        ({TUNABLES: "glibc.malloc.hugetlb=1"}, f"glibc.malloc.hugetlb=1:{PAST_CACHE}=0x10000"),
        ({TUNABLES: f"{PAST_CACHE}=0x40000:a.b=1"}, f"{PAST_CACHE}=0x40000:a.b=1"),
    ],
)
def test_large_copies_go_past_the_cache_unless_somebody_has_decided_that(found: dict[str, str], expected: str) -> None:
    environment = engine_environment({"HOME": "/", "OMP_NUM_THREADS": "8", **found})
    assert environment == {"HOME": "/", "OMP_NUM_THREADS": "1", TUNABLES: expected}


def test_the_c_library_takes_it_without_a_word() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "print(len(bytearray(bytes(1 << 20))))"],
        env=engine_environment(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("1048576\n", "")
