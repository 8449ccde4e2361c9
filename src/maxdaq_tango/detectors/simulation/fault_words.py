"""Faults as people type them: `drop=0.01`, `reorder=8`, `drop_frames=3,7-9`, `missing_end`.

Works on any frozen Struct of plain fields; which words stand for which fields comes in as an argument.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from maxdaq_tango.errors import ConfigurationError

T = TypeVar("T", bound=msgspec.Struct)

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
MOST_LISTED = 1_000_000
"""Frame numbers that one list may name; `0-999999999999` shall not cost the memory of the machine."""


def parse_words(kind: type[T], words: Iterable[str], short: Mapping[str, str]) -> T:
    """A `kind` from NAME=VALUE words; `short` maps further names to fields. A name alone is true where that can be.

    A ConfigurationError names the word that is wrong and lists what there is. The last of two values counts.
    """
    hints = typing.get_type_hints(kind)
    fields = [field.name for field in msgspec.structs.fields(kind)]
    given: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().replace("-", "_")
        field = short.get(name, name)
        if field not in fields:
            known = [*short, *(known for known in fields if known not in short)]
            near = difflib.get_close_matches(name, known, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ConfigurationError(
                f"switch on the fault {word!r}", answer=f"there is no {name!r}{hint}", accepted=", ".join(known)
            )
        wanted, accepted = _reading(hints[field])
        try:
            if not equals and wanted is not bool:
                raise ValueError("it has no value")
            given[field] = _value(wanted, text.strip()) if equals else True
        except ValueError as error:
            raise ConfigurationError(
                f"switch on the fault {word!r}", answer=str(error), accepted=f"{name}=VALUE, {accepted}"
            ) from None
    return kind(**given)


def _reading(hint: Any) -> tuple[Any, str]:
    """The type of a field without its None, and what may stand there, for errors."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        hint = next(item for item in typing.get_args(hint) if item is not type(None))
        origin = typing.get_origin(hint)
    if origin is tuple:
        item = typing.get_args(hint)[0]
        return (tuple, item), "numbers and ranges such as 3,7-9" if item is int else "names with commas between them"
    return hint, {bool: "true or false", int: "a whole number", float: "a number"}.get(hint, "text")


def _value(wanted: Any, text: str) -> Any:
    if wanted == (tuple, int):
        return tuple(number for item in text.split(",") if item.strip() for number in _numbers(item.strip()))
    if wanted == (tuple, str):
        return tuple(item.strip() for item in text.split(",") if item.strip())
    if wanted is bool:
        if text.lower() not in (*_TRUE, *_FALSE):
            raise ValueError(f"{text!r} is neither")
        return text.lower() in _TRUE
    if wanted in (int, float):
        try:
            return wanted(text)
        except ValueError:
            raise ValueError(f"{text!r} is none") from None
    return text


def _numbers(item: str) -> range:
    first, dash, last = item.partition("-")
    try:
        numbers = range(int(first), int(last if dash else first) + 1)
    except ValueError:
        raise ValueError(f"{item!r} is no frame number") from None
    if not 0 < len(numbers) <= MOST_LISTED:
        raise ValueError(f"{item!r} names {len(numbers)} frames, and 1 to {MOST_LISTED} can be named")
    return numbers
