"""What the files of one acquisition hold: their receipts, which frames are there, and whether their pixels are true."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import h5py
import msgspec
import numpy as np
import numpy.typing as npt

from maxdaq_tango.files import CheckResult, Recovered, check_file, find_parts, recover_found
from maxdaq_tango.files.receipt import find_detector
from maxdaq_tango.model import Receipt

Pixels = Callable[[tuple[int, ...], str], Callable[[int], npt.NDArray[Any]]]
"""Shape and type of a frame in a file > exposure > its pixels."""

LOOKED_AT = 12
"""Frames of a file whose pixels are compared, beside all that a fault has met."""


class FileEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """One file."""

    file: str
    receipt: Receipt | None
    """None: a data file of a series in blocks, whose account is in the master."""
    numbers: frozenset[int]
    """Frames that are flagged as there."""
    problems: tuple[str, ...] = ()


def look_at(
    path: Path, pixels: Pixels, truth: Mapping[int, int], untrue: frozenset[int], looks: Random
) -> FileEvidence:
    """Compare the file with itself (`maxdaq check`) and frames with what was sent.

    `truth` is number > exposure of frames that must have true pixels; of `untrue` they are known to be wrong.
    """
    checked = check_file(path)
    problems = [f"{path.name}: {problem}" for problem in _real_problems(checked, path, untrue)]
    there: frozenset[int] = frozenset()
    try:
        with h5py.File(path, "r", locking=False) as file:
            group = find_detector(file)
            if "data" in group:
                there = _numbers(group)
                problems += [f"{path.name}: {one}" for one in _wrong_pixels(group, pixels, truth, untrue, looks)]
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        problems.append(f"{path.name}: cannot be read: {error}")
    return FileEvidence(file=str(path), receipt=checked.receipt, numbers=there, problems=tuple(problems))


def recovered(folder: Path) -> list[Recovered]:
    """Recover what a kill has left in a folder, as `maxdaq recover FOLDER` does."""
    return list(recover_found(list(find_parts(folder))))


def _real_problems(checked: CheckResult, path: Path, untrue: frozenset[int]) -> Iterator[str]:
    """Without frames of which a bit was turned on the way: they may be impossible to unpack, and nobody could know."""
    for problem in checked.problems:
        if not any(f"(frame {number})" in problem for number in untrue):
            yield problem


def _numbers(group: h5py.Group) -> frozenset[int]:
    valid = np.flatnonzero(group["daq/frame_valid"][...])
    return frozenset(map(int, group["sequence_number"][...][valid]))


def _wrong_pixels(
    group: h5py.Group, pixels: Pixels, truth: Mapping[int, int], untrue: frozenset[int], looks: Random
) -> Iterator[str]:
    data = group["data"]
    sent_as = pixels(tuple(data.shape[1:]), data.dtype.name)
    valid = group["daq/frame_valid"][...].astype(bool)
    rows = {int(number): row for row, number in enumerate(group["sequence_number"][...]) if valid[row]}
    candidates = sorted(rows.keys() - untrue)
    moved = [number for number in candidates if truth.get(number, number) != number]
    for number in {
        *looks.sample(candidates, min(LOOKED_AT, len(candidates))),
        *candidates[:1],
        *candidates[-1:],
        *moved,
    }:
        if number not in truth:
            continue  # that it is there at all is the complaint
        found, sent = data[rows[number]], sent_as(truth[number])
        if not np.array_equal(found, sent):
            differ = int((found != sent).sum())
            yield f"frame {number}: {differ} of {sent.size} pixels are not those of exposure {truth[number]}"
