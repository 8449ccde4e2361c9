"""How fast the arithmetic on pixels is on one core, beside the same in numpy or Python, and what two threads do: twice
as much, on two cores, where a kernel does not hold the lock of the interpreter.

All are given one frame again and again, in memory that is used again: the arithmetic is measured, not fresh pages.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np

from maxdaq_tango.detectors.jungfrau.simulator_pixels import JungfrauPixels
from maxdaq_tango.detectors.simulation.pattern import FramePattern
from maxdaq_tango.kernels import jungfrau, time_over_threshold
from maxdaq_tango.kernels.byte_offset import pack_byte_offset, unpack_byte_offset, unpack_in_python
from maxdaq_tango.kernels.compression import decode_pixels, encode_pixels
from maxdaq_tango.kernels.framing import compile_kernels
from maxdaq_tango.kernels.mono12p import (
    pack_mono12,
    pack_mono12p,
    unpack_mono12,
    unpack_mono12_with_numpy,
    unpack_mono12p,
    unpack_with_numpy,
)
from maxdaq_tango.kernels.packing import pack_into, packed_room
from maxdaq_tango.kernels.preview import reduced
from maxdaq_tango.kernels.stitching import place_module, place_with_numpy
from maxdaq_tango.model import Encoding, FrameFormat, PreviewMethod

SHAPE = (1065, 1030)
THREADS = 2
TOT_COUNTS = 16
"""Of the table, which has a row of so many energies for each pixel: as much as a cache line holds."""
Work = Callable[[], object]


class Case(NamedTuple):
    """One kernel, ready to work."""

    name: str
    nbytes: int
    """Of unpacked pixels that one call makes or takes."""
    make: Callable[[], Work]
    """A worker with memory of its own."""
    twin: Work | None = None
    """The same without compiled code."""


class KernelResult(msgspec.Struct, frozen=True, kw_only=True):
    """One line."""

    name: str
    gbytes_s: float
    """Of unpacked pixels, one thread; the median of the turns."""
    spread: float
    """Slowest to fastest turn, as a part of the median."""
    twin_gbytes_s: float | None
    """Without compiled code; None where there is no such twin."""
    threads_ratio: float
    """What two threads do to what one does."""


def cases() -> Iterator[Case]:
    """Every kernel, on frames of 1065 x 1030 pixels as simulated detectors make them, or two modules of a Jungfrau."""
    compile_kernels()
    frame = FramePattern(1, SHAPE, "int32").frame(0)
    packed = np.frombuffer(pack_byte_offset(frame), np.uint8)
    pixels = np.empty(frame.size, np.int32)
    yield Case(
        "CBF byte offset, unpack",
        frame.nbytes,
        lambda: _call(unpack_byte_offset, packed, np.empty(frame.size, np.int32)),
        _call(unpack_in_python, packed[:], pixels),
    )
    clipped = np.minimum(frame.reshape(-1), TOT_COUNTS - 1)
    table = np.random.default_rng(1).random((frame.size, TOT_COUNTS), np.float32)
    yield Case(
        "time over threshold, convert",
        4 * frame.size,
        lambda: _call(time_over_threshold.convert, clipped, table, np.empty(frame.size, np.float32)),
        _call(time_over_threshold.convert_with_numpy, clipped, table, np.empty(frame.size, np.float32)),
    )
    counts = FramePattern(1, SHAPE, "uint16").frame(0)
    twelve = np.frombuffer(pack_mono12p(counts), np.uint8)
    into = np.empty(counts.size, np.uint16)
    yield Case(
        "Mono12p, unpack",
        counts.nbytes,
        lambda: _call(unpack_mono12p, twelve, np.empty(counts.size, np.uint16)),
        _call(unpack_with_numpy, twelve, into),
    )
    other = np.frombuffer(pack_mono12(counts), np.uint8)
    yield Case(
        "Mono12, unpack",
        counts.nbytes,
        lambda: _call(unpack_mono12, other, np.empty(counts.size, np.uint16)),
        _call(unpack_mono12_with_numpy, other, into),
    )
    for encoding in (Encoding.BSLZ4, Encoding.BSZSTD):
        format = FrameFormat(SHAPE, "uint16", encoding)
        blob = encode_pixels(counts, encoding)
        room = packed_room(counts.nbytes, counts.itemsize, encoding)
        yield Case(
            f"{encoding.value}, pack",
            counts.nbytes,
            lambda encoding=encoding, room=room: _call(  # type: ignore[misc]  # mypy cannot infer defaults of a lambda
                pack_into, counts.data.cast("B"), counts.itemsize, encoding, memoryview(bytearray(room))
            ),
        )
        yield Case(
            f"{encoding.value}, unpack",
            counts.nbytes,
            lambda format=format, blob=blob: _call(decode_pixels, format, (blob,)),  # type: ignore[misc]
        )
    simulated = JungfrauPixels(1, (1024, 1024))
    raw = simulated.frame(0).reshape(-1)
    planes = [plane.reshape(3, -1) for plane in (simulated.pedestal, (1 / simulated.gain).astype(np.float32))]
    for dtype in (np.float32, np.int32):
        yield Case(
            f"Jungfrau to {np.dtype(dtype).name}",
            raw.nbytes,
            lambda dtype=dtype: _call(jungfrau.convert, raw, *planes, np.empty(raw.size, dtype)),  # type: ignore[misc]
            _call(jungfrau.convert_with_numpy, raw, *planes, np.empty(raw.size, dtype)),
        )
    canvas = np.empty(SHAPE[::-1], np.uint16)
    yield Case(
        "module into a picture, turned",
        counts.nbytes,
        lambda: _call(place_module, counts, np.empty(SHAPE[::-1], np.uint16), 0, 0, 1),
        _call(place_with_numpy, counts, canvas, 0, 0, 1),
    )
    yield Case("preview, largest of 5 x 5", counts.nbytes, lambda: _call(reduced, counts, 5, PreviewMethod.MAX))


def measure(case: Case, seconds: float, turns: int) -> KernelResult:
    """One line; one thread and two take turns."""
    alone, together = [], []
    workers = [case.make() for _ in range(THREADS)]
    for worker in workers:
        worker()  # compiles, and touches its memory
    for _ in range(turns):
        alone.append(_rate(workers[:1], seconds / turns) * case.nbytes / 1e9)
        together.append(_rate(workers, seconds / turns) * case.nbytes / 1e9)
    median = float(np.median(alone))
    twin = None if case.twin is None else _rate([case.twin], seconds / turns) * case.nbytes / 1e9
    return KernelResult(
        name=case.name,
        gbytes_s=median,
        spread=(max(alone) - min(alone)) / median,
        twin_gbytes_s=twin,
        threads_ratio=float(np.median(together)) / median,
    )


def _call(function: Callable[..., object], *arguments: Any) -> Work:
    return lambda: function(*arguments)


def _rate(workers: list[Work], seconds: float) -> float:
    """Calls a second of all together; at least one of each."""
    done = [0] * len(workers)
    elapsed = [0.0] * len(workers)
    ready = threading.Barrier(len(workers))

    def work(index: int) -> None:
        worker = workers[index]
        ready.wait()
        begin = time.perf_counter()
        while elapsed[index] < seconds:
            worker()
            done[index] += 1
            elapsed[index] = time.perf_counter() - begin

    threads = [threading.Thread(target=work, args=(index,), name=f"kernel {index}") for index in range(len(workers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(count / time_s for count, time_s in zip(done, elapsed, strict=True))
