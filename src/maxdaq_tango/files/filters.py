"""Packings as HDF5 filters: what a dataset is made with, and what one that is there was made with.

The blobs are the output of the filter already; HDF5 only has to know which one it was. Source of the options of filter
32008: kiyo-masui/bitshuffle, `src/bshuf_h5filter.c`.
"""

from __future__ import annotations

from typing import Any

import h5py
import hdf5plugin
import numpy as np

from maxdaq_tango.errors import FileError
from maxdaq_tango.model import Encoding, FrameFormat

_BSHUF_OWN = 3
"""Options that filter 32008 puts before those it is given, each time: its version (2), bytes of a pixel."""
_BSHUF_COMPRESSORS = {Encoding.BSLZ4: 2, Encoding.BSZSTD: 3}
"""The second of those that it is given; the first is the block size, 0 = its own."""


def filter_of(format: FrameFormat) -> dict[str, Any]:
    """h5py's keywords for the filter whose output the blobs of a frame are. FileError when there is none."""
    encoding = format.encoding
    if encoding is Encoding.NONE:
        return {}
    if encoding in _BSHUF_COMPRESSORS:
        return {"compression": hdf5plugin.BSHUF_ID, "compression_opts": (0, _BSHUF_COMPRESSORS[encoding])}
    if encoding is Encoding.LZ4_HDF5:
        return {"compression": hdf5plugin.LZ4_ID, "compression_opts": (0,)}
    raise FileError(
        "lay out the file",
        answer=f"pixels packed as {encoding.value!r} are no HDF5 chunk",
        accepted="none, bslz4, bszstd, lz4",
    )


def framed_encoding_of(data: h5py.Dataset) -> Encoding | None:
    """The packing of a dataset whose only filter has block lengths; None for any other."""
    layout = data.id.get_create_plist()
    if layout.get_nfilters() != 1:
        return None
    number, _, options, _ = layout.get_filter(0)
    if number == hdf5plugin.LZ4_ID:
        return Encoding.LZ4_HDF5
    given = options[_BSHUF_OWN:] if number == hdf5plugin.BSHUF_ID else ()
    return next((code for code, compressor in _BSHUF_COMPRESSORS.items() if given[1:2] == (compressor,)), None)


def packed_like(data: h5py.Dataset) -> h5py.h5p.PropDCID:
    """What a dataset in a file of any format has to be made with, to hold the same chunks."""
    old, plist = made_like(data), h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk(old.get_chunk())
    plist.set_fill_value(np.array(data.fillvalue, data.dtype))
    for number in range(old.get_nfilters()):
        code, flags, options, _ = old.get_filter(number)
        plist.set_filter(code, flags, options)
    return plist


def made_like(data: h5py.Dataset) -> h5py.h5p.PropDCID:
    """What a second dataset has to be made with, to hold the same chunks."""
    plist = data.id.get_create_plist()
    for number in range(plist.get_nfilters()):
        code, flags, options, _ = plist.get_filter(number)
        if code == hdf5plugin.BSHUF_ID:
            plist.remove_filter(code)
            plist.set_filter(code, flags, options[_BSHUF_OWN:])
    return plist
