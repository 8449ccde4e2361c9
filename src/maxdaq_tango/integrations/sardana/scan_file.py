"""Puts the stack of a detector into a scan file, in place of a reference for each point.

    <entry>/measurement/<channel>              external link, or virtual dataset: (points, rows, columns)
    <entry>/measurement/<channel>_reference    the references, one a point

Row i of the stack is point i. Where the points are rows 0, 1, 2 ... of one file this is an external link to its stack
(which has rows to spare if the scan was stopped); else a virtual dataset, in which a point without a frame is blank.
The file is named relative to the scan file, so both can be moved together.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from maxdaq_tango.errors import FileError
from maxdaq_tango.integrations.sardana.naming import Frame, frame_of

FILE_S = 3.0
"""Longest wait for a file that is being closed, as after a stop. A link can be made before there is a file."""


def blank(dtype: np.dtype[Any]) -> Any:
    """Of a pixel that nobody measured, as in our own files: the highest value, -1 or NaN; never 0."""
    if dtype.kind == "f":
        return np.nan
    return -1 if dtype.kind == "i" else np.iinfo(dtype).max if dtype.kind == "u" else 0


def link_stack(group: h5py.Group, name: str, references: Sequence[str]) -> str:
    """Replace the dataset `name` of references; what was made: link or virtual. FileError when nothing can be made.

    A group without any reference of ours is left as it is: "".
    """
    frames = [frame_of(text) for text in references]
    named = [frame for frame in frames if frame is not None]
    if not named:
        return ""
    scan_file = Path(group.file.filename).resolve()
    simple = frames == [Frame(named[0].path, named[0].dataset, row) for row in range(len(frames))]
    made: Any = None
    if simple:
        _wait_for(named[0].path)
        made = h5py.ExternalLink(_relative(named[0].path, scan_file), f"/{named[0].dataset.lstrip('/')}")
    else:
        layout, fill = _layout(frames, scan_file)
    group.move(name, f"{name}_reference")
    if simple:
        group[name] = made
        return "link"
    group.create_virtual_dataset(name, layout, fillvalue=fill)
    return "virtual"


def _layout(frames: Sequence[Frame | None], scan_file: Path) -> tuple[h5py.VirtualLayout, Any]:
    sources: dict[tuple[str, str], tuple[tuple[int, ...], Any]] = {}
    for frame in frames:
        if frame is not None and (frame.path, frame.dataset) not in sources:
            sources[frame.path, frame.dataset] = _described(frame)
    (shape, dtype), *others = sources.values()
    if any(other[0][1:] != shape[1:] or other[1] != dtype for other in others):
        raise FileError("join the frames of a scan", of=str(scan_file), answer="its files have frames of other shapes")
    layout = h5py.VirtualLayout((len(frames), *shape[1:]), dtype)
    for point, frame in enumerate(frames):
        if frame is None:
            continue
        of_file, of_dtype = sources[frame.path, frame.dataset]
        source = h5py.VirtualSource(_relative(frame.path, scan_file), frame.dataset, shape=of_file, dtype=of_dtype)
        layout[point] = source[frame.row]
    return layout, blank(np.dtype(dtype))


def _described(frame: Frame) -> tuple[tuple[int, ...], Any]:
    deadline = time.monotonic() + FILE_S
    while True:
        try:
            with h5py.File(frame.path) as file:
                dataset = file[frame.dataset]
                return dataset.shape, dataset.dtype
        except (OSError, KeyError) as error:
            if time.monotonic() > deadline:
                raise FileError("link the frames of a scan", of=frame.path, answer=str(error)) from None
            time.sleep(0.1)


def _wait_for(path: str) -> None:
    deadline = time.monotonic() + FILE_S
    while not os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(0.05)


def _relative(path: str, scan_file: Path) -> str:
    return os.path.relpath(Path(path).resolve(), scan_file.parent)
