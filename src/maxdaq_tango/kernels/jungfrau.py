"""What a charge-integrating pixel of a Jungfrau means: gain bits and ADC value to photon energy. And its dark level.

Source: PSI's Jungfrau (slsDetectorPackage 9, `docs/src`; paulscherrerinstitute/jungfrau_utils). A pixel is 16 bits:

    bits 15-14   gain: 0 = G0 (or high-gain G0), 1 = G1, 3 = G2; 2 does not exist
    bits 13-0    ADC value, ADU

    energy in keV = (adc - pedestal[gain]) / gain_adu_per_kev[gain]

with one pedestal and one gain for each pixel and each of the three gains; those of G1 and G2 are negative. Two values
stand for themselves, whatever the calibration says: 0xFFFF is a pixel whose packet never came (slsReceiver fills it in,
and so do we in place of a module), 0xC000 one that is saturated in the last gain.

What comes out:

              float32                                    int32 (rounded, half to even)
    usual     keV, or photons of the energy asked for    photons
    bad       NaN                                        -2^31
    0xC000    +infinity                                  2^31 - 1

Bad are pixels of a packet that never came, of gain 2, and those whose calibration says so (a NaN in it, or gain 0).

Compiled by numba when first needed, without the GIL, each frame by the thread that has it: a pool of threads works on
as many frames at once, and a part of a frame may be given by itself. `convert_with_numpy` and `accumulate_with_numpy`
are the twins, bit by bit the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

GAINS = 3
"""G0, G1, G2, in this order in every calibration."""
PLANE_OF_BITS = (0, 1, -1, 2)
"""Of the two gain bits."""
BITS_OF_PLANE = (0, 1, 3)
ADC_BITS = 14
ADC_MASK = (1 << ADC_BITS) - 1
NOT_RECEIVED = 0xFFFF
SATURATED = 0xC000
BAD_COUNT = -(2**31)
SATURATED_COUNT = 2**31 - 1
_TOP = float(2**31)
"""The least float32 that is no int32 any more."""

Raw = npt.NDArray[np.uint16]
Planes = npt.NDArray[np.float32]


def convert(raw: Raw, pedestal: Planes, scale: Planes, out: npt.NDArray[Any]) -> None:
    """(adc - pedestal) * scale of every pixel, see the module.

    `raw` and `out` have one dimension, `pedestal` and `scale` are (3, pixels) in C order; `out` is float32 or int32.
    `scale` is what one ADU is worth; NaN in it marks a bad pixel. ValueError where they do not fit.
    """
    _expect(raw, pedestal, scale, out)
    _compiled_convert(out.dtype.name)(_aligned(raw), pedestal, scale, out)


def convert_with_numpy(raw: Raw, pedestal: Planes, scale: Planes, out: npt.NDArray[Any]) -> None:
    """`convert`, several times slower."""
    _expect(raw, pedestal, scale, out)
    bits = raw >> ADC_BITS
    adc = (raw & ADC_MASK).astype(np.float32)
    worth = np.full(raw.shape, np.nan, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        for plane, of_plane in enumerate(BITS_OF_PLANE):
            here = bits == of_plane
            worth[here] = (adc[here] - pedestal[plane, here]) * scale[plane, here]
        worth[raw == NOT_RECEIVED] = np.nan
        good = ~np.isnan(scale[2])
        if out.dtype == np.float32:
            out[...] = worth
            out[(raw == SATURATED) & good] = np.inf
            return
        rounded = np.rint(worth)
        out[...] = np.where(np.abs(rounded) < _TOP, rounded, 0).astype(np.int32)
        out[rounded >= _TOP] = SATURATED_COUNT
        out[rounded <= -_TOP] = BAD_COUNT + 1
        out[np.isnan(rounded)] = BAD_COUNT
        out[(raw == SATURATED) & good] = SATURATED_COUNT


def accumulate(
    raw: Raw,
    plane: int,
    count: npt.NDArray[np.int64],
    total: npt.NDArray[np.int64],
    squares: npt.NDArray[np.int64],
) -> int:
    """Add one dark frame to the sums of each pixel, all of one dimension; returns how many pixels were left out.

    Only pixels in the gain of `plane` (0, 1, 2) count: one that switched by itself would spoil the mean. A pixel whose
    packet never came is left out as well, and so is a saturated one: neither is an ADC value. ValueError where they do
    not fit.
    """
    _expect_sums(raw, plane, count, total, squares)
    return int(_compiled_accumulate()(_aligned(raw), BITS_OF_PLANE[plane], count, total, squares))


def accumulate_with_numpy(
    raw: Raw,
    plane: int,
    count: npt.NDArray[np.int64],
    total: npt.NDArray[np.int64],
    squares: npt.NDArray[np.int64],
) -> int:
    """`accumulate`, several times slower."""
    _expect_sums(raw, plane, count, total, squares)
    here = (raw >> ADC_BITS == BITS_OF_PLANE[plane]) & (raw != NOT_RECEIVED) & (raw != SATURATED)
    adc = (raw[here] & ADC_MASK).astype(np.int64)
    count[here] += 1
    total[here] += adc
    squares[here] += adc * adc
    return int(len(raw) - np.count_nonzero(here))


def warm_up(dtype: str) -> None:
    """Compile now what `convert` to `dtype` needs, which takes a second, and not when the first frame comes."""
    _compiled_convert(np.dtype(dtype).name)


def _expect(raw: Raw, pedestal: Planes, scale: Planes, out: npt.NDArray[Any]) -> None:
    if raw.ndim != 1 or raw.dtype != np.uint16 or out.shape != raw.shape or out.dtype.name not in ("float32", "int32"):
        raise ValueError(
            f"{raw.dtype} pixels of shape {raw.shape} into {out.dtype} of shape {out.shape}, and not uint16 into as "
            "many float32 or int32 of one dimension"
        )
    for name, planes in (("pedestal", pedestal), ("scale", scale)):
        if planes.shape != (GAINS, len(raw)) or planes.dtype != np.float32 or not planes.flags.c_contiguous:
            raise ValueError(
                f"{name} of {planes.dtype} and shape {planes.shape}, and not float32 ({GAINS}, {len(raw)})"
            )


def _expect_sums(raw: Raw, plane: int, *sums: npt.NDArray[np.int64]) -> None:
    if plane not in range(GAINS):
        raise ValueError(f"gain {plane}, and not 0 to {GAINS - 1}")
    if raw.ndim != 1 or raw.dtype != np.uint16:
        raise ValueError(f"{raw.dtype} pixels of shape {raw.shape}, and not uint16 of one dimension")
    for one in sums:
        if one.shape != raw.shape or one.dtype != np.int64:
            raise ValueError(f"sums of {one.dtype} and shape {one.shape}, and not int64 {raw.shape}")


def _aligned(raw: Raw) -> Raw:
    """Small messages lie behind each other in ZeroMQ's memory, at odd addresses too."""
    return raw if raw.flags.aligned else raw.copy()


@cache
def _compiled_convert(dtype: str) -> Callable[[Raw, Planes, Planes, npt.NDArray[Any]], None]:
    import numba

    kinds = (False, True)
    raws = [numba.types.Array(numba.uint16, 1, "C", readonly=readonly) for readonly in kinds]
    planes = [numba.types.Array(numba.float32, 2, "C", readonly=readonly) for readonly in kinds]
    loop, item = (_to_float, numba.float32) if dtype == "float32" else (_to_counts, numba.int32)
    signatures = [numba.void(raw, plane, plane, item[::1]) for raw in raws for plane in planes]
    compiled: Any = numba.njit(signatures, nogil=True)(loop)
    return compiled  # type: ignore[no-any-return]


def _to_float(raw: Any, pedestal: Any, scale: Any, out: Any) -> None:
    for at in range(raw.size):
        value = np.int64(raw[at])
        bits = value >> 14
        if value == 0xFFFF or bits == 2:
            out[at] = np.float32(np.nan)
        elif value == 0xC000 and scale[2, at] == scale[2, at]:
            out[at] = np.float32(np.inf)
        else:
            plane = 2 if bits == 3 else bits
            out[at] = (np.float32(value & 0x3FFF) - pedestal[plane, at]) * scale[plane, at]


def _to_counts(raw: Any, pedestal: Any, scale: Any, out: Any) -> None:
    top, whole = np.float32(2147483648.0), np.float32(8388608.0)  # from `whole` on a float32 has no fraction
    for at in range(raw.size):
        value = np.int64(raw[at])
        bits = value >> 14
        if value == 0xFFFF or bits == 2:
            out[at] = -2147483648
        elif value == 0xC000 and scale[2, at] == scale[2, at]:
            out[at] = 2147483647
        else:
            plane = 2 if bits == 3 else bits
            worth = (np.float32(value & 0x3FFF) - pedestal[plane, at]) * scale[plane, at]
            if -whole < worth < whole:  # rint by hand: numba's is a call for each pixel, and made this ten times slower
                shift = whole if worth >= 0 else -whole
                worth = (worth + shift) - shift
            if worth != worth:
                out[at] = -2147483648
            elif worth >= top:
                out[at] = 2147483647
            elif worth <= -top:
                out[at] = -2147483647
            else:
                out[at] = np.int32(worth)


@cache
def _compiled_accumulate() -> Callable[..., int]:
    import numba

    raws = [numba.types.Array(numba.uint16, 1, "C", readonly=readonly) for readonly in (False, True)]
    sums = numba.int64[::1]
    compiled: Any = numba.njit([numba.int64(raw, numba.int64, sums, sums, sums) for raw in raws], nogil=True)(_add)
    return compiled  # type: ignore[no-any-return]


def _add(raw: Any, bits: Any, count: Any, total: Any, squares: Any) -> int:
    left_out = 0
    for at in range(raw.size):
        value = np.int64(raw[at])
        if value >> 14 != bits or value == 0xFFFF or value == 0xC000:
            left_out += 1
        else:
            adc = np.int64(value & 0x3FFF)
            count[at] += 1
            total[at] += adc
            squares[at] += adc * adc
    return left_out
