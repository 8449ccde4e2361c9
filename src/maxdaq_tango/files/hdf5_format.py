"""The few bytes of an HDF5 file that we write ourselves: where a dataset has its chunks. Pure: bytes in, bytes out.

A chunk that goes to the disk past HDF5 has to be told to it afterwards. HDF5 offers no call for that, but its format is
published and stable: a version 1 B-tree, whose address stands in the layout message of the dataset's object header, and
the end of the file in the superblock. What is written here is what HDF5 itself writes for format v108, and HDF5 changes
it like its own.

Source: HDF5 File Format Specification version 3.0, sections II.A (superblocks 2 and 3), III.A.1 (B-tree 1), IV.A.1.b
(object header 2), IV.A.2.i (layout message 3), IV.A.2.q (continuation message).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import FileError

UNDEFINED = (1 << 64) - 1
"""An address that is none."""
ENTRIES = 64
"""Of a node: twice the K that HDF5 takes for chunks where a file says nothing else."""

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
FIRST_PIXEL = 4096
"""Pixels that we put behind a layout ourselves begin here or later."""
_WRITING = 1
"""Among the marks of superblock 3: somebody has the file open for writing. SWMR is another bit."""
_SUPERBLOCK = struct.Struct("<8sBBBBQQQQ")
_NODE = struct.Struct("<4sBBHQQ")
_LAYOUT, _CONTINUATION = 0x08, 0x10
_WORDS = struct.Struct("<III")
_U32 = 0xFFFFFFFF


class Place(NamedTuple):
    """Where the address of a dataset's chunk index stands."""

    block: int
    """Offset in the file of the piece of object header around it."""
    block_nbytes: int
    """With the checksum, its last four bytes."""
    address: int
    """Offset in the file of the eight bytes."""
    dimensions: tuple[int, ...]
    """Of a chunk, and the bytes of an element."""


def find_layout(file: bytes, header: int) -> Place:
    """The layout message of the dataset whose object header begins at `header`; FileError: it is not as expected."""
    for block, start, end, ordered in _blocks(file, header):
        position = start
        while position + 4 <= end:
            kind, nbytes = file[position], int.from_bytes(file[position + 1 : position + 3], "little")
            position += 6 if ordered else 4
            if kind == _LAYOUT:
                version, layout, rank = file[position], file[position + 1], file[position + 2]
                if (version, layout) != (3, 2):
                    raise _unexpected(f"a layout message of version {version}, class {layout}")
                dimensions = struct.unpack_from(f"<{rank}I", file, position + 11)
                return Place(block, end + 4 - block, position + 3, dimensions)
            position += nbytes
    raise _unexpected("no layout message")


def point_to_index(file: bytes, place: Place, address: int) -> bytes:
    """The block of `place` with the new address and a fresh checksum."""
    block = bytearray(file[place.block : place.block + place.block_nbytes - 4])
    struct.pack_into("<Q", block, place.address - place.block, address)
    return bytes(block) + struct.pack("<I", checksum(block))


def end_superblock(file: bytes, end: int) -> bytes:
    """The superblock, at offset 0, of a file that ends at `end`."""
    signature, version, offsets, lengths, flags, base, extension, _, root = _SUPERBLOCK.unpack_from(file)
    if (signature, version, offsets, lengths, base) != (_SIGNATURE, 2, 8, 8, 0):
        raise _unexpected(f"a superblock of version {version} with offsets of {offsets} bytes")
    block = _SUPERBLOCK.pack(signature, version, offsets, lengths, flags, base, extension, end, root)
    return block + struct.pack("<I", checksum(block))


def is_marked(superblock: bytes) -> bool:
    """Whoever had the file open for writing has not closed it (superblock 3)."""
    return superblock[:8] == _SIGNATURE and superblock[8] == 3 and superblock[11] != 0


def was_never_laid_out(beginning: bytes, nbytes: int) -> bool:
    """Whoever made this file of `nbytes`, which has no log, died before a frame came.

    It is empty; or has the mark of a writer and not that of SWMR, which comes before the first frame; or is of format
    v108 and ends before the place where pixels begin.
    """
    if not beginning.strip(b"\0"):
        return True
    if is_marked(beginning):
        return beginning[11] == _WRITING
    return beginning[:9] == _SIGNATURE + b"\2" and nbytes <= FIRST_PIXEL


def closed_superblock(superblock: bytes, end: int) -> bytes:
    """That of a file which was left open: without the marks, and with its end at `end`."""
    signature, version, offsets, lengths, _, base, extension, _, root = _SUPERBLOCK.unpack_from(superblock)
    found = struct.unpack_from("<I", superblock, _SUPERBLOCK.size)[0]
    if (signature, version, offsets, lengths, base) != (_SIGNATURE, 3, 8, 8, 0):
        raise _unexpected(f"a superblock of version {version} with offsets of {offsets} bytes")
    if found != checksum(superblock[: _SUPERBLOCK.size]):
        raise _unexpected("a superblock whose checksum is another")
    block = _SUPERBLOCK.pack(signature, version, offsets, lengths, 0, base, extension, end, root)
    return block + struct.pack("<I", checksum(block))


def chunk_index(
    corners: npt.NDArray[np.uint64],
    addresses: npt.NDArray[np.uint64],
    lengths: npt.NDArray[np.uint32],
    dimensions: Sequence[int],
    at: int,
) -> tuple[int, bytes]:
    """A B-tree of chunks, as it is to be written at offset `at`; returns the address of its root and the bytes.

    `corners` are (n, rank) in elements, sorted in C order and each once; `addresses` and `lengths` (n,) say where the
    chunks lie and how long they are stored. `dimensions` are those of a chunk and the bytes of an element.
    """
    key = np.dtype([("length", "<u4"), ("mask", "<u4"), ("corner", "<u8", (len(dimensions),))])
    keys = np.zeros(len(addresses) + 1, key)
    keys["length"][:-1] = lengths
    keys["corner"][:-1, :-1] = corners
    keys["corner"][-1] = keys["corner"][-2] + np.array(dimensions, np.uint64)  # behind the last chunk, as HDF5 does it
    node_nbytes = _NODE.size + ENTRIES * 8 + (ENTRIES + 1) * key.itemsize
    level, children, nodes = 0, addresses.astype("<u8"), list[bytes]()
    while True:
        starts = range(0, len(children), ENTRIES)
        first = at + len(nodes) * node_nbytes
        places = [first + number * node_nbytes for number in range(len(starts))]
        for number, start in enumerate(starts):
            used = children[start : start + ENTRIES]
            left = places[number - 1] if number else UNDEFINED
            right = places[number + 1] if number + 1 < len(places) else UNDEFINED
            pairs = np.zeros(len(used), np.dtype([("key", key), ("child", "<u8")]))
            pairs["key"], pairs["child"] = keys[start : start + len(used)], used
            node = _NODE.pack(b"TREE", 1, level, len(used), left, right) + pairs.tobytes()
            node += keys[start + len(used)].tobytes()
            nodes.append(node.ljust(node_nbytes, b"\0"))
        if len(places) == 1:
            return places[0], b"".join(nodes)
        keys = np.concatenate([keys[np.array(starts)], keys[-1:]])
        children, level = np.array(places, "<u8"), level + 1


def checksum(data: bytes | bytearray) -> int:
    """Of metadata in HDF5: Bob Jenkins' lookup3 (hashlittle, public domain, 2006) with initial value 0."""
    a: int
    b: int
    c: int
    a = b = c = (0xDEADBEEF + len(data)) & _U32
    position, left = 0, len(data)
    while left > 12:
        x, y, z = _WORDS.unpack_from(data, position)
        a, b, c = (a + x) & _U32, (b + y) & _U32, (c + z) & _U32
        for turn in (4, 6, 8, 16, 19, 4):
            a = ((a - c) & _U32) ^ _turned(c, turn)
            c = (c + b) & _U32
            a, b, c = b, c, a  # the same step with the names moved on
        position, left = position + 12, left - 12
    if not left:
        return c
    x, y, z = _WORDS.unpack(bytes(data[position:]).ljust(12, b"\0"))
    a, b, c = (a + x) & _U32, (b + y) & _U32, (c + z) & _U32
    for turn in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _turned(b, turn)) & _U32
        a, b, c = b, c, a
    return b  # where c has come to


def _turned(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & _U32


def _blocks(file: bytes, header: int) -> Iterator[tuple[int, int, int, bool]]:
    """(offset, first message, end of the messages, with creation order) of each piece of an object header."""
    if file[header : header + 5] != b"OHDR\x02":
        raise _unexpected("no object header of version 2")
    flags = file[header + 5]
    start = header + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
    width = 1 << (flags & 3)
    nbytes = int.from_bytes(file[start : start + width], "little")
    ordered = bool(flags & 4)
    pending = [(header, start + width, start + width + nbytes)]
    while pending:
        block, first, end = pending.pop(0)
        yield block, first, end, ordered
        position = first
        while position + 4 <= end:
            kind, length = file[position], int.from_bytes(file[position + 1 : position + 3], "little")
            position += 6 if ordered else 4
            if kind == _CONTINUATION:
                address, size = struct.unpack_from("<QQ", file, position)
                pending.append((address, address + 4, address + size - 4))
            position += length


def _unexpected(what: str) -> FileError:
    return FileError("put the chunks into an HDF5 file", answer=what, accepted="a file laid out by us, format v108")
