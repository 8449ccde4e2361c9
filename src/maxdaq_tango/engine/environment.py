"""What the process of an engine, and those that it starts, must find in the environment when it begins."""

from __future__ import annotations

from collections.abc import Mapping

TUNABLES = "GLIBC_TUNABLES"
PAST_CACHE = "glibc.cpu.x86_non_temporal_threshold"
PAST_CACHE_NBYTES = 64 << 10
"""A copy of so many bytes goes past the processor's cache: what a slab gets is read next by the disk, and to fetch its
old content first is half of the work. With the checksum, 200 kB take 20 us instead of 34, and 100 kB 12 instead of 17;
smaller ones do not care. The C library begins at a share of the cache, which on large machines is hundreds of MB."""


def engine_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Of an engine whose owner has the environment `ours`. What is said there of PAST_CACHE stays."""
    tunables = ours.get(TUNABLES, "")
    if PAST_CACHE not in tunables:
        tunables = ":".join(filter(None, (tunables, f"{PAST_CACHE}={PAST_CACHE_NBYTES:#x}")))
    # Its packers are threads already: one that made threads of its own would take the cores of the others.
    return {**ours, "OMP_NUM_THREADS": "1", TUNABLES: tunables}
