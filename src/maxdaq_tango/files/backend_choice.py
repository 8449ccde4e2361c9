"""Which backend a series takes by itself, from the size of its frames and their rate."""

from __future__ import annotations

from typing import NamedTuple

from maxdaq_tango.model import FileBackend

DIRECT_FROM_BYTES = 16 << 10
"""Where the rate is not known, chunks below this are taken for slow ones."""
DIRECT_FROM_BYTES_PER_S = 50e6


class Choice(NamedTuple):
    """A backend, and why it was taken."""

    backend: FileBackend
    reason: str


def choose_backend(
    wanted: FileBackend, chunk_nbytes: int, frame_nbytes: int, period_s: float | None, *, grows: bool
) -> Choice:
    """`chunk_nbytes` as stored, `frame_nbytes` as stored (several chunks), `period_s` between frames if it is known.

    `grows`: nobody knows how many frames will come. The index of such a dataset has a form in SWMR files that neggia,
    through which XDS reads, does not know; that of format v108 is the same for all.
    """
    if wanted is not FileBackend.AUTO:
        return Choice(wanted, "asked for")
    if grows:
        return Choice(FileBackend.DIRECT, "the number of frames is not known")
    if not period_s:
        backend = FileBackend.DIRECT if chunk_nbytes >= DIRECT_FROM_BYTES else FileBackend.SWMR
        return Choice(backend, f"chunks of {chunk_nbytes} bytes at an unknown rate")
    rate = frame_nbytes / period_s
    text = f"{rate / 1e6:.3g} MB/s are expected"
    return Choice(FileBackend.DIRECT if rate >= DIRECT_FROM_BYTES_PER_S else FileBackend.SWMR, text)
