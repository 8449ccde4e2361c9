"""Changes that keep most of a message as it is: bytes changed at random seldom get past the first brace of a JSON text.

A mutation is deterministic in its random numbers; `plain` is the fuzzer's own mutation of bytes, to at most so many.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from fuzz.message import packed, unpacked

Plain = Callable[[bytes, int], bytes]
PartMutation = Callable[[bytes, int, random.Random, Plain], bytes]

WORDS = (
    *("htype", "header", "image", "series_end", "msg_number", "frame", "shape", "type", "compression", "chunks"),
    *("none", "bslz4", "lz4", "lz4-block", "bszstd", "cbf", "mono12p", "discard", "exposure_time", "filename"),
    *("dheader-1.0", "dimage-1.0", "dimage_d-1.0", "dconfig-1.0", "dseries_end-1.0", "series", "header_detail"),
    *("all", "basic", "encoding", "size", "hash", "start_time", "stop_time", "real_time", "<", "lz4<", "bs16-lz4<"),
    *("uint8", "uint16", "uint32", "float32", "int64", "float16", "nimages", "ntrigger", "frame_time", "rotate"),
    *("save_raw", "header_appendix", "unreadable_tables", "image_appendix", "channels", "user_data", "exptime"),
    *("dflatfield-1.0", "dpixelmask-1.0", "dcountrate_table-1.0", "", "\0", "\ud800", "é", "../..", "x" * 300),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 2**31 - 1, 2**31, 2**32, 2**53, 2**62, 2**62 + 1, 2**63, 2**64, -(2**63)),
    *(10**40, 0.5, -0.0, 1e308, 5e-324, float("nan"), float("inf"), [], {}, [[]], [1, 1], [2, 3, 4], [0, 1]),
    *([2**31, 2**31], [1] * 9, {"a": {}}, [{"a": [None]}] * 3, *WORDS),
)
MOST_CONTAINERS = 500


def json_part(part: bytes, most: int, chance: random.Random, plain: Plain) -> bytes:
    """Another value, key or entry somewhere in a JSON text; what is none is changed as bytes."""
    try:
        value = json.loads(part)
    except (ValueError, RecursionError):
        return plain(part, most)
    containers = _containers(value)
    if not containers:
        return json.dumps(chance.choice(VALUES)).encode()
    for _ in range(chance.randint(1, 2)):
        _change(chance.choice(containers), chance)
    try:
        # As bytes that no UTF-8 has, where a text holds half of a pair.
        return json.dumps(value, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return plain(part, most)


def _containers(value: Any) -> list[Any]:
    found, waiting = [], [value]
    while waiting and len(found) < MOST_CONTAINERS:
        one = waiting.pop()
        if isinstance(one, (dict, list)):
            found.append(one)
            waiting.extend(one.values() if isinstance(one, dict) else one)
    return found


def _change(container: Any, chance: random.Random) -> None:
    keys: list[Any] = list(container) if isinstance(container, dict) else list(range(len(container)))
    match chance.randrange(6):
        case 0 if keys:
            del container[chance.choice(keys)]
        case 1 if isinstance(container, dict):
            container[chance.choice(WORDS)] = chance.choice(VALUES)
        case 1 | 2 if isinstance(container, list):
            container.insert(chance.randint(0, len(container)), chance.choice(VALUES))
        case 3 if len(keys) > 1:
            one, other = chance.sample(keys, 2)
            container[one], container[other] = container[other], container[one]
        case 4 if keys:
            key = chance.choice(keys)
            old, deep = container[key], chance.choice((1, 2, 60, 64, 70, 400))
            for _ in range(deep):
                old = [old]
            container[key] = old
        case _ if keys:
            key = chance.choice(keys)
            old = container[key]
            if type(old) is int and chance.random() < 0.5:
                container[key] = old + chance.choice((-1, 1, 255, -old - 1, old))
            else:
                container[key] = chance.choice(VALUES)


def message(data: bytes, most: int, chance: random.Random, plain: Plain, part_mutation: PartMutation) -> bytes:
    """One part changed by `part_mutation`, or parts lost, said twice, in another order."""
    parts = unpacked(data)
    index = chance.randrange(len(parts)) if parts else 0
    match chance.randrange(12):
        case 0 if parts:
            del parts[index]
        case 1 if parts:
            parts.insert(index, parts[index])
        case 2 if parts:
            other = chance.randrange(len(parts))
            parts[index], parts[other] = parts[other], parts[index]
        case 3:
            parts.insert(index, chance.choice((b"", b"{}", b"null", b"[]", bytes(16), b"\xff" * 8)))
        case _ if parts:
            room = max(1, most - sum(map(len, parts)) + len(parts[index]) - 64)
            parts[index] = part_mutation(parts[index], room, chance, plain)
    return packed(parts)


def blob_part(part: bytes, most: int, chance: random.Random, plain: Plain) -> bytes:
    """A packed chunk with something else in one block, in a length, in its header; or cut, or longer."""
    if len(part) < 17 or chance.random() < 0.3:
        return plain(part, most)
    blocks = _blocks(part)
    at, length = chance.choice(blocks)
    match chance.randrange(6):
        case 0:
            content = plain(part[at + 4 : at + 4 + length], max(1, length + 32))
            return part[:at] + len(content).to_bytes(4, "big") + content + part[at + 4 + length :]
        case 1:
            wrong = chance.choice((0, 1, length - 1, length + 1, length + 4, 2**31, 2**32 - 1)) % 2**32
            return part[:at] + wrong.to_bytes(4, "big") + part[at + 4 :]
        case 2:
            return chance.choice((0, 1, len(part), 2**32, 2**63, 2**64 - 1)).to_bytes(8, "big") + part[8:]
        case 3:
            size = chance.choice((0, 1, 8, 16, 64, 8192, 2**20, 2**31, 2**32 - 8, 2**32 - 1))
            return part[:8] + size.to_bytes(4, "big") + part[12:]
        case 4:
            return part[: chance.randint(0, len(part))]
        case _:
            kept = bytes(chance.randrange(256) for _ in range(length))
            return part[: at + 4] + kept + part[at + 4 + length :]


def _blocks(part: bytes) -> list[tuple[int, int]]:
    """(where its length stands, length) of each block, as far as they make sense."""
    found, at = [], 12
    while at + 4 <= len(part) and len(found) < 64:
        length = int.from_bytes(part[at : at + 4], "big")
        if at + 4 + length > len(part):
            break
        found.append((at, length))
        at += 4 + length
    return found or [(12, len(part) - 16)]


def json_or_blob(part: bytes, most: int, chance: random.Random, plain: Plain) -> bytes:
    """By what it begins with."""
    if part[:1] in (b"{", b"["):
        return json_part(part, most, chance, plain)
    return blob_part(part, most, chance, plain)
