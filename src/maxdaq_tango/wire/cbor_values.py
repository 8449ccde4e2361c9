"""One CBOR message as values, and its values as JSON values.

Sources: RFC 8949 and the IANA registry of tags. Of the two dozen tags that cbor2 knows by itself a detector needs
none: dates stay the text they were sent as, rationals stay pairs of numbers, and references, which could make a
hundred bytes unfold into gigabytes, are refused. So what a message can cost is bounded by its length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import cbor2
import numpy.typing as npt

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import Buffer, Encoding
from maxdaq_tango.wire.cbor_arrays import ARRAY_DECODERS, TAG_SELF_DESCRIBE, WireArray

MAP_TYPES = (dict, cbor2.frozendict)
"""What cbor2 makes of a map; asking for these is five times faster than asking for a Mapping."""

_DEEPEST = 64
_BIGNUM_NBYTES = 16
_JSON_INT_BITS = 63
_SMALL_ARRAY = 64
"""Typed arrays without a shape and with at most so many elements are lists in the metadata, not arrays beside it."""


def _as_it_is(value: Any, immutable: bool) -> Any:
    return value


def _refused(number: int, value: Any, immutable: bool) -> Any:
    raise WireError("read a CBOR message", answer=f"a reference (tag {number})", accepted="values only")


def _kept(number: int, value: Any, immutable: bool) -> cbor2.CBORTag:
    return cbor2.CBORTag(number, value)


def _bignum(sign: int, value: Any, immutable: bool) -> Any:
    if type(value) is bytes and len(value) <= _BIGNUM_NBYTES:
        return int.from_bytes(value, "big") if sign > 0 else -1 - int.from_bytes(value, "big")
    return value


_DECODERS: dict[int, Callable[[Any, bool], Any]] = {
    **dict.fromkeys((0, 1, 30, 100, 1004, TAG_SELF_DESCRIBE), _as_it_is),  # dates, rationals
    2: partial(_bignum, 1),
    3: partial(_bignum, -1),
    **{number: partial(_refused, number) for number in (25, 28, 29, 256)},
    **{number: partial(_kept, number) for number in (4, 5, 35, 36, 37, 52, 54, 258, 260, 261, 43000)},
    **ARRAY_DECODERS,
}
"""Every tag that cbor2 would otherwise decode in its own way, and the arrays; all others become CBORTag."""


def load_map(part: Buffer) -> Mapping[Any, Any]:
    """The CBOR map in `part`; anything else, damaged or not, is a WireError."""
    try:
        # DECTRIS and Jungfraujoch nest four deep; the bound keeps hostile nesting off the C stack.
        message = cbor2.loads(part, semantic_decoders=_DECODERS, max_depth=_DEEPEST)
    except Exception as error:
        # Everything, on purpose: no list of what a CBOR library may raise on any bytes would stay complete.
        cause = error.__cause__ or error
        if isinstance(cause, WireError):
            raise cause from None
        raise WireError("read a CBOR message", answer=f"{error}", accepted="one CBOR map") from error
    if not isinstance(message, MAP_TYPES):
        raise WireError("read a CBOR message", answer=f"CBOR {type(message).__name__}", accepted="one CBOR map")
    return message


LONGEST_ODD_KEY = 200
"""Characters of a key that is no text. One that is a map of maps would double with each level, for the quotes in it."""


class PlainValues:
    """Makes a message's values plain; collects the arrays it meets on the way."""

    def __init__(self) -> None:
        self.arrays: dict[str, npt.NDArray[Any]] = {}
        """By path, e.g. `flatfield/threshold_1`."""

    def mapping(self, value: Mapping[Any, Any], path: str = "") -> dict[str, Any]:
        """A map as a dict with text keys; arrays are moved to `arrays`, and maps of nothing but arrays vanish."""
        result: dict[str, Any] = {}
        for key, item in value.items():
            name = key if isinstance(key, str) else str(self.plain(key, path))[:LONGEST_ODD_KEY]
            made = self.plain(item, f"{path}/{name}" if path else name)
            moved = made is None and item is not None
            if not moved and not (made == {} and item):
                result[name] = made
        return result

    def plain(self, value: Any, path: str = "") -> Any:
        """One value as a JSON value; None for an array that went into `arrays`."""
        if value is None or isinstance(value, (bool, str, float)):
            return value
        if isinstance(value, int):
            return value if value.bit_length() <= _JSON_INT_BITS else hex(value)
        if isinstance(value, MAP_TYPES):
            return self.mapping(value, path)
        if isinstance(value, WireArray):
            return self._array(value, path)
        if isinstance(value, (list, tuple)):
            return [self.plain(item, f"{path}/{index}") for index, item in enumerate(value)]
        if isinstance(value, bytes):
            return value.hex()
        if isinstance(value, cbor2.CBORTag):
            return {"tag": value.tag, "value": self.plain(value.value, path)}
        return str(value)

    def _array(self, array: WireArray, path: str) -> Any:
        """A compressed array stays packed, its bytes as a row of uint8, with a note how to unpack it."""
        if array.encoding is not Encoding.NONE:
            name = f"{path}.{array.encoding}"
            packed = WireArray((len(array.blob),), "uint8", "|", Encoding.NONE, array.blob)
            self.arrays[name] = packed.to_numpy()
            return {
                "packed_in": name,
                "encoding": array.encoding.value,
                "shape": list(array.shape),
                "dtype": array.dtype,
            }
        if len(array.shape) == 1 and array.shape[0] <= _SMALL_ARRAY:
            return array.to_numpy().tolist()
        self.arrays[path] = array.to_numpy()
        return None
