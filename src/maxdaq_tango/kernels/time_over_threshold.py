"""Time over threshold to photon energy, by a table with a row for each pixel.

A Pilatus in this mode tells for how long the signal of each pixel was over the threshold, and MAX IV's FemtoMAX turns
that into energy by a measured table: (rows, columns, counts), the array `tot_to_energy_tensor` of an npz file. A count
below 0 (a gap, a masked pixel) becomes -1, one that is beyond the table -2; so do those of maxiv-science's
streaming-receiver.

The loop is compiled by numba when it is first needed (half a second) and releases the GIL; `convert_with_numpy` is its
twin, and what it is compared with.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import FileError

ARRAY = "tot_to_energy_tensor"
NEGATIVE, BEYOND = -1.0, -2.0
"""Instead of an energy."""

Table = npt.NDArray[np.float32]
"""(pixels, counts); the energies in the precision of the result, which halves what has to be kept in memory."""


def convert(counts: npt.NDArray[np.int32], table: Table, energies: npt.NDArray[np.float32]) -> None:
    """Fill `energies`; `counts` and it have one dimension, as long as `table` has rows. ValueError when not."""
    _expect(counts, table, energies)
    _compiled()(counts, table, energies)


def convert_with_numpy(counts: npt.NDArray[np.int32], table: Table, energies: npt.NDArray[np.float32]) -> None:
    """`convert`, several times slower."""
    _expect(counts, table, energies)
    known = (counts >= 0) & (counts < table.shape[1])
    energies[...] = np.where(counts < 0, np.float32(NEGATIVE), np.float32(BEYOND))
    pixels = np.flatnonzero(known)
    energies[pixels] = table[pixels, counts[pixels]]


def load_table(path: str) -> tuple[tuple[int, int], Table]:
    """Shape of the frames that a table is for, and the table; kept while the file does not change. FileError."""
    try:
        changed_ns = Path(path).stat().st_mtime_ns
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from None
    return _load(path, changed_ns)


@lru_cache(maxsize=1)
def _load(path: str, changed_ns: int) -> tuple[tuple[int, int], Table]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            tensor = arrays[ARRAY]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        raise _unusable(path, str(error)) from None
    if tensor.ndim != 3 or not tensor.size or tensor.dtype.kind not in "fiu":
        raise _unusable(path, f"{ARRAY} is {tensor.dtype} of shape {tensor.shape}")
    rows, columns, counts = tensor.shape
    table = np.ascontiguousarray(tensor.reshape(rows * columns, counts), np.float32)
    table.flags.writeable = False
    return (rows, columns), table


def _unusable(path: str, answer: str) -> FileError:
    return FileError(
        "read a table of time over threshold", of=path, answer=answer, accepted=f"npz, {ARRAY} (rows, columns, counts)"
    )


def _expect(counts: npt.NDArray[Any], table: Table, energies: npt.NDArray[Any]) -> None:
    if not len(counts) == len(energies) == len(table):
        raise ValueError(f"{len(counts)} counts, {len(energies)} energies, a table of {len(table)} pixels")


@cache
def _compiled() -> Callable[[npt.NDArray[np.int32], Table, npt.NDArray[np.float32]], None]:
    import numba

    signatures = [
        numba.void(
            numba.types.Array(numba.int32, 1, "C", readonly=counts),
            numba.types.Array(numba.float32, 2, "C", readonly=table),
            numba.float32[::1],
        )
        for counts in (False, True)
        for table in (False, True)
    ]
    compiled: Any = numba.njit(signatures, nogil=True)(_convert)
    return compiled  # type: ignore[no-any-return]


def _convert(counts: Any, table: Any, energies: Any) -> None:
    known = table.shape[1]
    for pixel in range(counts.size):
        count = counts[pixel]
        if count < 0:
            energies[pixel] = NEGATIVE
        elif count >= known:
            energies[pixel] = BEYOND
        else:
            energies[pixel] = table[pixel, count]
