"""Made-up turns."""

from __future__ import annotations

from maxdaq_tango.bench.plan import Case, Contestant
from maxdaq_tango.bench.results import Sample

SMALL = Case(wire_nbytes=200_000)


def turn(contestant: Contestant, rate: float, repeat: int = 0, *, case: Case = SMALL, cpu_s: float = 1.0) -> Sample:
    """One second at `rate`."""
    frames = int(rate)
    return Sample(
        case=case,
        contestant=contestant,
        repeat=repeat,
        frames=frames,
        nbytes=frames * case.wire_nbytes,
        seconds=1.0,
        cpu_s=cpu_s,
        sender_cpu_s=0.5,
        minor_faults=2 * frames,
        peak_rss_bytes=300_000_000,
    )
