"""YAML into typed values, with errors that a person can act upon.

msgspec says `$.simulators[...].rows`; a person with a file open wants `simulators.eiger.rows (of a.yaml, line 12)`,
what stands there, and what may stand there. So containers are walked here, and msgspec converts the leaves.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar, get_args, get_origin

import msgspec
import yaml

from maxdaq_tango.errors import ConfigurationError

T = TypeVar("T")
Path = tuple[str, ...]
DEEPEST = 32
"""Levels of nesting; an anchor of YAML can make a value contain itself."""


class Described(msgspec.Struct, frozen=True):
    """What may stand in a field, for errors: put it into `Annotated` beside msgspec's own `Meta`."""

    text: str


class Document:
    """A YAML text, what it holds, and the line on which each of its places stands.

    `name` is what errors call the document: the path of the file. Every fault is a ConfigurationError. A key that
    stands twice is one, for YAML itself would keep the last and forget the first.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            self._lines: dict[Path, int] = {(): 1}
            if root is not None:
                self._note(root, ())
            self.value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{name}, line {mark.line + 1}" if mark else name
            problem = getattr(error, "problem", None) or str(error)
            raise ConfigurationError("read YAML", of=where, answer=problem, accepted="well-formed YAML") from None

    def _note(self, node: yaml.Node, path: Path) -> None:
        self._lines[path] = node.start_mark.line + 1
        if len(path) > DEEPEST:
            raise self.error(path[:3], "it contains itself, or is nested without end", f"at most {DEEPEST} levels")
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._note(item, (*path, str(index)))
        if not isinstance(node, yaml.MappingNode):
            return
        for key, value in node.value:
            inner = (*path, str(key.value))
            if inner in self._lines:
                first, second = self._lines[inner], key.start_mark.line + 1
                raise ConfigurationError(
                    f"read {dotted(inner)}",
                    of=f"{self.name}, line {second}",
                    answer=f"it stands already on line {first}",
                    accepted="each name once",
                )
            self._note(value, inner)
            self._lines[inner] = key.start_mark.line + 1

    def typed(self, kind: type[T]) -> T:
        """The whole document as a `kind`: a frozen Struct of Structs, mappings and leaves."""
        return typing.cast(T, _typed(self.value, kind, (), self))

    def error(self, path: Path, answer: str, accepted: str) -> ConfigurationError:
        """What to raise about the place `path`; the line is that of the nearest place that the document has."""
        known = path
        while known not in self._lines:
            known = known[:-1]
        return ConfigurationError(
            f"read {dotted(path)}", of=f"{self.name}, line {self._lines[known]}", answer=answer, accepted=accepted
        )


def dotted(path: Path) -> str:
    """A place as people write it."""
    return ".".join(path) or "the document"


def nearest(word: str, known: list[str]) -> str:
    """' (did you mean X?)' when one of `known` looks like `word`, otherwise ''."""
    found = difflib.get_close_matches(word, known, 1)
    return f" (did you mean {found[0]}?)" if found else ""


def _typed(value: Any, kind: Any, path: Path, document: Document) -> Any:
    """Convert one place."""
    kind, description = _bare(kind)
    union = _tagged_union(kind)
    if union:
        kind = _choose(value, union, path, document)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _struct(value, kind, path, document)
    if get_origin(kind) is dict:
        if value is None:
            return {}
        inner = get_args(kind)[1]
        return {key: _typed(item, inner, (*path, key), document) for key, item in _mapping(value, path, document)}
    try:
        return msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        if description:
            raise document.error(path, f"found {_shown(value)}", description) from None
        raise document.error(path, f"found {_shown(value)} ({_reason(error)})", _alternatives(kind)) from None


def _struct(value: Any, kind: type[msgspec.Struct], path: Path, document: Document) -> Any:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    tag_field = kind.__struct_config__.tag_field
    names = ([tag_field] if tag_field else []) + list(fields)
    made: dict[str, Any] = {}
    for key, item in _mapping({} if value is None else value, path, document):
        if key == tag_field:
            continue
        if key not in fields:
            raise document.error(
                (*path, key), f"there is no such setting here{nearest(key, names)}", "one of " + ", ".join(names)
            )
        made[fields[key].name] = _typed(item, _hints(kind)[fields[key].name], (*path, key), document)
    missing = [name for name, field in fields.items() if field.required and field.name not in made]
    if missing:
        raise document.error(path, f"{missing[0]} is missing", "a value for each of " + ", ".join(missing))
    try:
        return kind(**made)
    except ConfigurationError as error:
        # A Struct that checks its own fields knows the fault but not the place.
        raise document.error(path, str(error), error.accepted) from None


def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _mapping(value: Any, path: Path, document: Document) -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        raise document.error(path, f"found {_shown(value)}", "a mapping, `name: value` on lines of their own")
    for key in value:
        if not isinstance(key, str):
            raise document.error((*path, str(key)), f"the name {key!r} is not text", "the same name in quotes")
    return list(value.items())


def _choose(value: Any, union: dict[str, type], path: Path, document: Document) -> type:
    (tag_field,) = {kind.__struct_config__.tag_field for kind in union.values()}  # type: ignore[attr-defined]
    accepted = "one of " + ", ".join(sorted(union))
    entries = dict(_mapping({} if value is None else value, path, document))
    if tag_field not in entries:
        raise document.error(path, f"{tag_field} is missing", f"{tag_field}: {accepted}")
    tag = entries[tag_field]
    if tag not in union:
        raise document.error((*path, tag_field), f"found {_shown(tag)}{nearest(str(tag), list(union))}", accepted)
    return union[tag]


def _tagged_union(kind: Any) -> dict[str, type]:
    members = get_args(kind) if get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    tagged = [m for m in members if isinstance(m, type) and issubclass(m, msgspec.Struct) and m.__struct_config__.tag]
    return {str(member.__struct_config__.tag): member for member in tagged}


def _bare(kind: Any) -> tuple[Any, str]:
    """A type and the text of its `Described`; msgspec itself goes on reading `Meta`."""
    description = next((m.text for m in getattr(kind, "__metadata__", ()) if isinstance(m, Described)), "")
    metas = tuple(m for m in getattr(kind, "__metadata__", ()) if isinstance(m, msgspec.Meta))
    if not hasattr(kind, "__metadata__"):
        return kind, description
    bare = kind.__origin__
    for meta in metas:
        bare = typing.Annotated[bare, meta]
    return bare, description


def _alternatives(kind: Any) -> str:
    origin = getattr(kind, "__origin__", kind)
    if isinstance(origin, type) and issubclass(origin, Enum):
        return "one of " + ", ".join(str(member.value) for member in origin)
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false", tuple: "a list"}
    return names.get(get_origin(kind) or kind, str(kind))


def _reason(error: msgspec.ValidationError) -> str:
    reason = str(error).split(" - at ")[0]
    return reason[:1].lower() + reason[1:]


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."
