"""Changes of a CBOR text item by item, so that it stays CBOR: found by the heads of RFC 8949, nothing is decoded."""

from __future__ import annotations

import random
from typing import NamedTuple

from fuzz.mutation import WORDS, Plain, blob_part, json_part

BYTES, TEXT, ARRAY, MAP, TAG = 2, 3, 4, 5, 6
MOST_ITEMS = 2000
TAGS = (0, 1, 2, 3, 4, 5, 24, 25, 28, 29, 30, 35, 36, 37, 40, 52, 54, 55, *range(64, 88), 100, 256, 258, 260, 261, 1004)
ALL_TAGS = (*TAGS, 1040, 43000, 55799, 56500, 2**32, 2**63)


class Item(NamedTuple):
    """Where it begins, where its head and where all of it ends."""

    major: int
    argument: int
    start: int
    content: int
    end: int


def head(major: int, argument: int) -> bytes:
    """The first bytes of an item."""
    if argument < 24:
        return bytes([major << 5 | argument])
    for detail, size in ((24, 1), (25, 2), (26, 4)):
        if argument < 1 << (8 * size):
            return bytes([major << 5 | detail]) + argument.to_bytes(size, "big")
    return bytes([major << 5 | 27]) + (argument % 2**64).to_bytes(8, "big")


def items(data: bytes) -> list[Item]:
    """All items in `data`, outer ones behind those in them; as many as can be told before it stops making sense."""
    found: list[Item] = []
    waiting: list[list[int]] = []  # major, argument, start, content, items that are still to come
    at = 0
    while at < len(data) and len(found) < MOST_ITEMS:
        major, detail = data[at] >> 5, data[at] & 31
        size = {24: 1, 25: 2, 26: 4, 27: 8}.get(detail, 0)
        if detail > 27 or at + 1 + size > len(data):
            break
        argument = int.from_bytes(data[at + 1 : at + 1 + size], "big") if size else detail
        start, at = at, at + 1 + size
        inside = {ARRAY: argument, MAP: 2 * argument, TAG: 1}.get(major, 0)
        if inside:
            waiting.append([major, argument, start, at, inside])
            continue
        content = at
        if major in (BYTES, TEXT):
            at += argument
            if at > len(data):
                break
        found.append(Item(major, argument, start, content, at))
        while waiting:
            waiting[-1][4] -= 1
            if waiting[-1][4]:
                break
            outer = waiting.pop()
            found.append(Item(outer[0], outer[1], outer[2], outer[3], at))
        else:
            break  # the outermost is whole
    return found


def text(word: str) -> bytes:
    """A text string; UTF-8 that nobody may write where the word holds half of a pair."""
    content = word.encode("utf-8", "surrogatepass")
    return head(TEXT, len(content)) + content


OTHERS = (
    *(
        head(major, value)
        for major in (0, 1)
        for value in (0, 1, 23, 24, 255, 2**31, 2**62, 2**62 + 1, 2**63, 2**64 - 1)
    ),
    *(b"\xf4", b"\xf5", b"\xf6", b"\xf7", b"\xe0", b"\xf8\x20", b"\xf9\x7e\x00", b"\xf9\x7c\x00", b"\xfb" + bytes(8)),
    *(
        b"\x40",
        b"\x60",
        b"\x80",
        b"\xa0",
        b"\x5f\x41a\x41b\xff",
        b"\x7f\x61a\xff",
        b"\x9f\x01\xff",
        b"\xbf\x61a\x01\xff",
    ),
    *(b"\x62\xff\xfe", b"\x43abc", b"\x48" + bytes(8), b"\xff", b"\x1c", b"\x5b" + b"\xff" * 8, b"\x9b" + b"\x7f" * 8),
    *(b"\xc2\x50" + b"\xff" * 16, b"\xc3\x51" + b"\xff" * 17, b"\x82\x01\x02", b"\x82\x82\x02\x03\xd8\x40\x46abcdef"),
    *(b"\x81" * depth + b"\x01" for depth in (2, 60, 64, 70, 900)),
    *(b"\xa1\x61a" * depth + b"\x01" for depth in (2, 62, 70)),
    *(
        b"\xd8\x40\x58\x40" + bytes(64),
        b"\xd8\x45\x58\x82" + bytes(130),
        b"\xd8\x28\x82\x82\x04\x05\xd8\x40\x54" + bytes(20),
    ),
    *(
        text(word)
        for word in (*WORDS, "start", "end", "series_id", "series_unique_id", "image_id", "data", "threshold_1")
    ),
)


def cbor_part(part: bytes, most: int, chance: random.Random, plain: Plain) -> bytes:
    """One or two items of `part` changed."""
    for _ in range(chance.randint(1, 2)):
        found = items(part)
        if not found:
            return plain(part, most)
        part = _changed(part, chance.choice(found), found, chance, plain)
    return part


def _changed(part: bytes, item: Item, found: list[Item], chance: random.Random, plain: Plain) -> bytes:
    before, whole, behind = part[: item.start], part[item.start : item.end], part[item.end :]
    match chance.randrange(9):
        case 0 | 1 if item.major in (BYTES, TEXT):
            content = _content(whole[item.content - item.start :], chance, plain)
            return before + head(item.major, len(content)) + content + behind
        case 2 if item.major == TAG:
            return before + head(TAG, chance.choice(ALL_TAGS)) + part[item.content : item.end] + behind
        case 3:
            return before + head(TAG, chance.choice(ALL_TAGS)) + whole + behind
        case 4:
            other = chance.choice(found)
            return before + part[other.start : other.end] + behind
        case 5:  # another number of items, or bytes, than there are
            wrong = chance.choice((0, item.argument + 1, max(0, item.argument - 1), 2**32, 2**63))
            return before + head(item.major, wrong) + part[item.content : item.end] + behind
        case 6 if item.major == MAP:  # one more entry
            entry = text(chance.choice(WORDS)) + chance.choice(OTHERS)
            return before + head(MAP, item.argument + 1) + entry + part[item.content : item.end] + behind
        case 7 if item.major == ARRAY:
            return (
                before + head(ARRAY, item.argument + 1) + chance.choice(OTHERS) + part[item.content : item.end] + behind
            )
    return before + chance.choice(OTHERS) + behind


def _content(content: bytes, chance: random.Random, plain: Plain) -> bytes:
    if content[:1] == b"{":
        return json_part(content, len(content) + 200, chance, plain)
    if chance.random() < 0.5:
        return blob_part(content, len(content) + 64, chance, plain)
    return plain(content, len(content) + 64)
