"""Profile `scan`: MAX IV's habit, `/entry/instrument/<detector>/data`, inside a proper NeXus tree.

    /entry                          NXentry, default = data
      data                          NXdata, signal = data (a link to the pixels)
      instrument                    NXinstrument
        <detector>                  NXdetector
          data                      (n, rows, columns) or (n, channels, rows, columns); chunk = one blob as it came
          sequence_number           frame number of each row
          start_time, stop_time, real_time, exposure_time     per frame, NaN where the stream does not tell
          frame_metadata            NXcollection: per frame, every number that came with it under the sender's name
          ...                       every value of the header under the sender's own name
          daq                       NXcollection: frame_valid, chunk_checksum, receive_time, receipt

Strings that C readers look at (NX_class, units, @signal ...) are fixed-length ASCII (durin fails on others).
Metadata can never stop a file: what HDF5 cannot hold is stored as JSON text, and a reserved name gets a suffix.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

import h5py
import msgspec
import numpy as np

from maxdaq_tango.errors import FileError
from maxdaq_tango.model import DEEPEST

FILE_ID = "file_id"
"""Attribute of each file: 32 random hexadecimal digits, by which what lies beside an unfinished file knows it."""

EXPECTED = "frames_expected"
"""Attribute of group `daq` where the count is known; a killed writer can tell it no more."""

FRAMES_PER_FILE = "frames_per_file"
"""Attribute of group `daq` in the master of a series in blocks."""

SPILL_FOLDER = "spill_folder"
"""Attribute of group `daq` in such a master: where data files of it may be as long as it is unfinished."""

MASTER_ID = "master_file_id"
"""Attribute of a data file of a series in blocks: FILE_ID of its master. Its name may be that of an older one."""

LARGE_ARRAY = 1 << 16
"""Bytes from which on an array is left out of the copies of a file's metadata."""

RESERVED = frozenset(
    {
        *("data", "sequence_number", "start_time", "stop_time", "real_time", "exposure_time"),
        *("frame_metadata", "daq", "NX_class"),
    }
)
"""Names that are ours inside the detector group; a header value of the same name is stored as `<name>_from_header`."""

DETECTOR_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""Without what HDF5 takes for a path; ASCII, because C readers go by this name."""

UNITS = {
    "count_time": "s", "frame_time": "s", "exptime": "s", "detector_readout_time": "s", "frame_count_time": "s",
    "photon_energy": "eV", "incident_energy": "eV", "threshold_energy": "eV", "wavelength": "angstrom",
    "incident_wavelength": "angstrom", "x_pixel_size": "m", "y_pixel_size": "m", "pixel_size_x": "m",
    "pixel_size_y": "m", "sensor_thickness": "m", "detector_distance": "m", "beam_center_x": "pixel",
    "beam_center_y": "pixel",
}  # fmt: skip
"""Units of header values whose meaning the vendor documents fix."""


def check_detector_name(detector: str) -> None:
    """FileError for what HDF5 or a C reader would misunderstand."""
    if not DETECTOR_NAME.fullmatch(detector):
        raise FileError(
            f"store the frames of a detector named {detector!r}",
            answer="not a name in a file",
            accepted="letters, digits, '_', '-' and '.', beginning with a letter, a digit or '_'",
        )


def ascii_text(text: str) -> np.bytes_:
    """A fixed-length, NUL-terminated ASCII string: the only kind that every C reader takes."""
    return np.bytes_(text.encode("ascii", "replace") + b"\0")


def make_group(parent: h5py.Group, name: str, nx_class: str) -> h5py.Group:
    """A group with its NeXus class."""
    group = parent.create_group(name)
    group.attrs["NX_class"] = ascii_text(nx_class)
    return group


def make_skeleton(file: h5py.File, detector: str, software: str) -> h5py.Group:
    """Everything above the pixels; returns the detector group."""
    file.attrs["NX_class"] = ascii_text("NXroot")
    file.attrs["default"] = ascii_text("entry")
    file.attrs["creator"] = ascii_text(software)
    file.attrs[FILE_ID] = ascii_text(uuid.uuid4().hex)
    entry = make_group(file, "entry", "NXentry")
    entry.attrs["default"] = ascii_text("data")
    instrument = make_group(entry, "instrument", "NXinstrument")
    group = make_group(instrument, detector, "NXdetector")
    make_group(group, "daq", "NXcollection")
    return group


def link_default_plot(file: h5py.File, detector: str) -> None:
    """The @default and @signal chain, so that a viewer opens the pixels by itself."""
    plot = make_group(file["entry"], "data", "NXdata")
    plot.attrs["signal"] = ascii_text("data")
    plot["data"] = h5py.SoftLink(f"/entry/instrument/{detector}/data")


def store_metadata(group: h5py.Group, values: Mapping[str, Any], levels: int = DEEPEST) -> None:
    """Store every value, nested mappings as groups; never fails on what HDF5 cannot hold. Beyond `levels` as text."""
    for key, value in values.items():
        name = _free_name(group, str(key))
        if isinstance(value, Mapping) and levels > 1:
            store_metadata(make_group(group, name, "NXcollection"), value, levels - 1)
            continue
        dataset = _store_value(group, name, value)
        unit = UNITS.get(str(key))
        if unit is not None and dataset.dtype.kind in "iuf":
            dataset.attrs["units"] = ascii_text(unit)


def store_arrays(group: h5py.Group, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Flat field, pixel mask and the like: contiguous and uncompressed, as neggia wants its mask."""
    for key, array in arrays.items():
        group.create_dataset(_free_path(group, key), data=array)


def stored_rows(data: h5py.Dataset) -> set[int]:
    """Rows of the pixels that have a chunk of their own in the file."""
    rows: set[int] = set()
    data.id.chunk_iter(lambda info: rows.add(int(info.chunk_offset[0])) or None)  # type: ignore[func-returns-value]
    return rows


def large_arrays(file: h5py.File) -> list[tuple[int, int]]:
    """(first, behind the last) offset of flat fields, masks and the like: nothing ever changes them."""
    places: list[tuple[int, int]] = []

    def look(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.chunks is None and item.nbytes >= LARGE_ARRAY:
            offset = item.id.get_offset()
            if offset is not None:
                places.append((offset, offset + item.nbytes))

    file.visititems(look)
    return places


def _store_value(group: h5py.Group, name: str, value: Any) -> h5py.Dataset:
    plain = isinstance(value, bool | int | float | str) or (
        isinstance(value, list | tuple)
        and len(value) > 0
        and len({type(item) for item in value}) == 1
        and isinstance(value[0], bool | int | float)
    )
    if plain:
        try:
            return group.create_dataset(name, data=value)
        except (TypeError, ValueError, OverflowError, UnicodeError):
            # An integer beyond 64 bits, a string with NUL or lone surrogates: kept as JSON text. HDF5 may have made the
            # dataset before it refused the value.
            if name in group:
                del group[name]
    return group.create_dataset(name, data=_as_text(value))


def _as_text(value: Any) -> str:
    try:
        text = msgspec.json.encode(value).decode()
    except RecursionError:
        text = "nested too deep to be kept"
    except (TypeError, ValueError, OverflowError, UnicodeError):
        text = repr(value)
    return text.replace("\0", "\\u0000")


def free_name(key: str, taken: set[str]) -> str:
    """A name for HDF5 that is not taken yet; it is from now on."""
    name = _possible_name(key)
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _free_name(group: h5py.Group, key: str) -> str:
    name = _possible_name(key)
    if name in RESERVED:
        name += "_from_header"
    while name in group:
        name += "_"
    return name


def _possible_name(key: str) -> str:
    name = key.replace("/", "_").replace("\0", "_").strip() or "unnamed"
    if name.strip(".") == "":
        name = "unnamed"
    return name.encode("utf-8", "replace").decode()


def _free_path(group: h5py.Group, key: str) -> str:
    *folders, leaf = key.split("/")
    path = "/".join(folder for folder in folders if folder)
    parent = group.require_group(path) if path else group
    name = _free_name(parent, leaf)
    return f"{path}/{name}" if path else name
