"""Arrays inside SIMPLON values: pixel masks, flatfields and count-rate tables as `__darray__` objects.

Source: SIMPLON API reference 1.6, section on arrays, and a dump of a real Eiger 500K (see `encode_darray`).
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

import numpy as np

from maxdaq_tango.errors import WireError


def encode_darray(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    """An array (pixel mask, flatfield, count-rate table) as a JSON value.

    `shape` is written in numpy order, (rows, columns). The 1.6 manual says [width, height], but a dump of a real
    Eiger 500K has [514, 1030] and DECTRIS' own client calls reshape with it. The bytes are the same either way.
    """
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return {
        "__darray__": [1, 0, 0],
        "type": little.dtype.str,
        "shape": list(little.shape),
        "filters": ["base64"],
        "data": base64.b64encode(little.tobytes()).decode("ascii"),
    }


def is_darray(value: Any) -> bool:
    """True for a JSON value that holds an array."""
    return isinstance(value, dict) and "__darray__" in value


_DARRAY_TYPES = {"<u4": np.uint32, "<f4": np.float32, "<u2": np.uint16, "<i4": np.int32, "<f8": np.float64}


def decode_darray(value: Any, *, shape: tuple[int, ...] | None = None) -> np.ndarray[Any, Any]:
    """Read a darray; `shape` (rows, columns) is what the caller expects and may come in either order. Writable copy.

    Raises `WireError` when it is none, when type or filter are unknown, or when size and shape disagree.
    """
    accepted = '{"__darray__": [1,0,0], "type": "<u4" or "<f4", "shape": [n, m], "filters": ["base64"], "data": ...}'
    if not is_darray(value):
        raise WireError("an array", answer="the value holds no __darray__", accepted=accepted)
    if value.get("filters") != ["base64"]:
        raise WireError("an array", answer=f"filters {value.get('filters')!r}", accepted=accepted)
    dtype = _DARRAY_TYPES.get(str(value.get("type")))
    if dtype is None:
        raise WireError("an array", answer=f"type {value.get('type')!r}", accepted=accepted)
    stated = value.get("shape")
    if not isinstance(stated, list | tuple) or not all(isinstance(n, int) and n > 0 for n in stated):
        raise WireError("an array", answer=f"shape {stated!r}", accepted=accepted)
    try:
        data = base64.b64decode(value.get("data", ""), validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise WireError("an array", answer=f"data is no base64 ({error})", accepted=accepted) from error
    if len(data) != math.prod(stated) * np.dtype(dtype).itemsize:
        raise WireError("an array", answer=f"{len(data)} bytes for shape {list(stated)}", accepted=accepted)
    final = tuple(stated)
    if shape is not None and final != shape:
        if final[::-1] != shape:
            raise WireError("an array", answer=f"shape {list(stated)}", accepted=f"shape {list(shape)}")
        final = shape
    return np.frombuffer(data, dtype=np.dtype(dtype).newbyteorder("<")).astype(dtype).reshape(final)
