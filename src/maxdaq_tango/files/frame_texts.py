"""What frames carried that is no number: JSON text beside the columns, `{"usual": ..., "<row>": ...}`.

`usual` holds for every row with a frame that is not named. Where a series is stored in blocks, each file has the texts
of its own rows and the master those of all. Pure but for `read_texts` and `store_texts`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import h5py
import msgspec
import numpy as np

NAME = "frame_texts"
"""In group `daq`."""
_ROWS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class FrameTexts(NamedTuple):
    """The texts of some rows."""

    usual: dict[str, Any] | None
    """None: no frame had any."""
    rows: dict[int, bytes]
    """JSON of those rows that differ."""


class Part(NamedTuple):
    """The texts of neighbouring rows, counted from 0 in the part."""

    first_row: int
    """Of the part, in the whole."""
    valid: np.ndarray[Any, Any]
    """Whether a row has a frame."""
    texts: FrameTexts


NO_TEXTS = FrameTexts(None, {})


def encode_texts(texts: FrameTexts) -> bytes:
    """As it is stored."""
    pieces = [b'"usual":' + msgspec.json.encode(texts.usual or {})]
    pieces += [b'"%d":%s' % (row, texts.rows[row]) for row in sorted(texts.rows)]
    return b"{" + b",".join(pieces) + b"}"


def decode_texts(text: bytes) -> FrameTexts:
    """As it was; msgspec.DecodeError or ValueError when it is something else."""
    entries = _ROWS.decode(text)
    usual = msgspec.json.decode(entries.pop("usual"))
    return FrameTexts(usual, {int(row): bytes(raw) for row, raw in entries.items()})


def read_texts(group: h5py.Group) -> FrameTexts:
    """Of a detector group."""
    daq = group["daq"]
    return decode_texts(daq[NAME][()]) if NAME in daq else NO_TEXTS


def store_texts(group: h5py.Group, texts: FrameTexts) -> None:
    """Put them in the place of those that are there; nothing is made where no frame had any."""
    daq = group["daq"]
    if NAME in daq:
        del daq[NAME]
    if texts.usual or texts.rows:
        daq.create_dataset(NAME, data=encode_texts(texts))


def joined(parts: Iterable[Part], limit_bytes: int) -> tuple[FrameTexts, int]:
    """The texts of the whole, and of how many rows there was no room for them."""
    usual: dict[str, Any] | None = None
    rows: dict[int, bytes] = {}
    without: list[int] = []  # rows of the parts before the first text
    nbytes = lost = 0
    for part in parts:
        base = part.texts.usual or {}
        explicit = dict(part.texts.rows)
        if usual is None and (base or explicit):
            usual = base
            explicit_before = dict.fromkeys(without, b"{}") if base else {}
        else:
            explicit_before = {}
        if usual is None:
            without += [part.first_row + int(row) for row in np.flatnonzero(part.valid)]
            continue
        if base != usual:
            text = msgspec.json.encode(base)
            explicit = {int(row): text for row in np.flatnonzero(part.valid)} | explicit
        placed = explicit_before | {part.first_row + row: text for row, text in explicit.items()}
        for row, text in placed.items():
            if nbytes + len(text) > limit_bytes:
                lost += 1
                continue
            nbytes += len(text)
            rows[row] = text
    return FrameTexts(usual, rows), lost


def turned(texts: FrameTexts, rotation: int, modulus: int | None, rows: int) -> FrameTexts:
    """The same after the rows were turned; see `rows.turn_rows`."""
    moved = {((row - rotation) % modulus if modulus else row - rotation): text for row, text in texts.rows.items()}
    return FrameTexts(texts.usual, {row: text for row, text in moved.items() if 0 <= row < rows})


def share(texts: FrameTexts, first_row: int, rows: int) -> FrameTexts:
    """Those of some neighbouring rows, counted from there."""
    inside = {row - first_row: text for row, text in texts.rows.items() if first_row <= row < first_row + rows}
    return FrameTexts(texts.usual, inside)
