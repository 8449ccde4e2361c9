"""CBOR values as JSON values, so that metadata can travel and be stored anywhere.

CBOR knows more than JSON: dates, rationals, byte strings, sets, maps with any key, references that make cycles. Each
becomes the nearest JSON value. Every value of a message takes at least one byte of it, so a message of n bytes may
yield n values and no more: that bounds what shared references can blow up to.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import cbor2
import numpy.typing as npt

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import Encoding
from maxdaq_tango.wire.cbor_arrays import WireArray

_DEEPEST = 32
_LONGEST_INT_BITS = 63
_SMALL_ARRAY = 64
"""Typed arrays without a shape and with at most so many elements are lists in the metadata, not arrays beside it."""


class PlainValues:
    """Makes one message's values plain; collects the arrays it meets on the way."""

    def __init__(self, message_nbytes: int) -> None:
        self._left = message_nbytes
        self.arrays: dict[str, npt.NDArray[Any]] = {}
        """By path, e.g. `flatfield/threshold_1`."""

    def mapping(self, value: Mapping[Any, Any], path: str = "", depth: int = 0) -> dict[str, Any]:
        """A map as a dict with text keys; arrays are moved to `arrays`, maps of arrays alone leave no trace."""
        result: dict[str, Any] = {}
        for key, item in value.items():
            name = key if isinstance(key, str) else repr(self.plain(key, "", depth + 1))
            where = f"{path}/{name}" if path else name
            if isinstance(item, WireArray) and not _is_list_like(item):
                note = self._keep(item, where)
                if note is not None:
                    result[name] = note
                continue
            made = self.plain(item, where, depth + 1)
            if made == {} and item:
                continue
            result[name] = made
        return result

    def plain(self, value: Any, path: str = "", depth: int = 0) -> Any:
        """One value as a JSON value."""
        self._left -= 1
        if depth > _DEEPEST or self._left < 0:
            raise WireError(
                "read CBOR values", answer="nested too deep, or more values than bytes", accepted=f"depth {_DEEPEST}"
            )
        if value is None or isinstance(value, (bool, str, float)):
            return value
        if isinstance(value, int):
            return value if value.bit_length() <= _LONGEST_INT_BITS else str(value)
        if isinstance(value, Mapping):
            return self.mapping(value, path, depth)
        if isinstance(value, WireArray):
            if _is_list_like(value):
                return value.to_numpy().tolist()
            return self._keep(value, path) or f"array {path}"
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.plain(item, f"{path}/{index}", depth + 1) for index, item in enumerate(value)]
        if isinstance(value, (datetime.datetime, datetime.date)):
            return value.isoformat()
        if isinstance(value, (Fraction, Decimal)):
            return float(value)
        if isinstance(value, bytes):
            return value.hex()
        if isinstance(value, cbor2.CBORTag):
            return {"tag": value.tag, "value": self.plain(value.value, path, depth + 1)}
        return str(value)

    def _keep(self, array: WireArray, path: str) -> dict[str, Any] | None:
        """Store an array. A compressed one stays packed, its bytes as a row of uint8, with a note how to unpack it."""
        if array.encoding is Encoding.NONE:
            self.arrays[path] = array.to_numpy()
            return None
        name = f"{path}.{array.encoding}"
        packed = WireArray((len(array.blob),), "uint8", "|", Encoding.NONE, array.blob)
        self.arrays[name] = packed.to_numpy()
        return {"packed_in": name, "encoding": array.encoding.value, "shape": list(array.shape), "dtype": array.dtype}


def _is_list_like(array: WireArray) -> bool:
    return array.encoding is Encoding.NONE and len(array.shape) == 1 and array.shape[0] <= _SMALL_ARRAY
