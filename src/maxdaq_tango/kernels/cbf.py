"""A CBF file of one image, in memory: what its text says of the pixels, and the pixels.

Source: imgCIF/CBF, and the files of DECTRIS' camserver (`Content-Type: application/octet-stream; conversions=
"x-CBF_BYTE_OFFSET"`). The text ends with four bytes, 0C 1A 04 D5, and behind them lie as many bytes as `X-Binary-Size`
says. Whatever else is in the file is not looked at.

Nothing is believed: the text may be LONGEST_TEXT bytes, the shape must be the one that came with the frame, and the
pixels must end where their bytes do. In this packing nearly everything that was damaged still unpacks to something, so
`Content-MD5` is compared where a file has it: 1.7 ms for each MB, as long again as unpacking takes.
"""

from __future__ import annotations

import base64
import hashlib
import re

import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.byte_offset import OUT_OF_RANGE, TOO_SHORT, pack_byte_offset, unpack_byte_offset
from maxdaq_tango.model import Buffer

START_OF_PIXELS = b"\x0c\x1a\x04\xd5"
LONGEST_TEXT = 1 << 16
DTYPE = "int32"
"""Of all pixels: what camserver writes, with -1 and -2 for those that are none."""
_SECTION = b"--CIF-BINARY-FORMAT-SECTION--"
_FIELD = re.compile(rb'^[ \t]*([A-Za-z0-9-]+)(?::|=)[ \t]*"?([^"\r\n;]*)"?;?[ \t]*\r?$', re.MULTILINE)


def unpack_cbf(data: npt.NDArray[np.uint8], shape: tuple[int, ...], into: npt.NDArray[np.int32]) -> None:
    """The pixels of the file in `data` into `into`, which is flat; `shape` is what they have to be. WireError."""
    fields, start = _read_text(data)
    _expect("conversions", fields.get(b"conversions"), "x-CBF_BYTE_OFFSET")
    _expect("X-Binary-Element-Type", fields.get(b"x-binary-element-type"), "signed 32-bit integer")
    _expect(
        "X-Binary-Element-Byte-Order", fields.get(b"x-binary-element-byte-order", b"LITTLE_ENDIAN"), "LITTLE_ENDIAN"
    )
    rows, columns = shape[-2:] if len(shape) > 1 else (1, *shape)
    _expect("X-Binary-Number-of-Elements", fields.get(b"x-binary-number-of-elements"), str(into.size))
    _expect("X-Binary-Size-Fastest-Dimension", fields.get(b"x-binary-size-fastest-dimension"), str(columns))
    _expect("X-Binary-Size-Second-Dimension", fields.get(b"x-binary-size-second-dimension"), str(rows))
    stated = fields.get(b"x-binary-size", b"")
    left = len(data) - start
    if not stated.isdigit() or len(stated) > 12 or not 0 < int(stated) <= left:
        raise _refused(f"X-Binary-Size {_shown(stated)}", f"up to {left}, the bytes that are there")
    packed = data[start : start + int(stated)]
    if digest := fields.get(b"content-md5"):
        found = _md5(packed.data)
        if found != digest.strip():
            raise _refused(f"bytes of MD5 {found.decode()}", f"{_shown(digest)}, which the file says")
    end = unpack_byte_offset(packed, into)
    if end == TOO_SHORT:
        raise _refused(f"{len(packed)} bytes that end before the last pixel", f"{into.size} pixels")
    if end == OUT_OF_RANGE:
        raise _refused("a difference that leads out of 32 bits", "pixels of 32 bits")
    if end != len(packed):
        raise _refused(f"{into.size} pixels in {end} of {len(packed)} bytes", "no byte over")


def shape_in(data: Buffer) -> tuple[int, int]:
    """(rows, columns) as the text of the file says; its pixels are not looked at. WireError."""
    fields, _ = _read_text(np.frombuffer(data, np.uint8))
    stated = [fields.get(f"x-binary-size-{name}-dimension".encode(), b"") for name in ("second", "fastest")]
    if not all(text.isdigit() and len(text) <= 6 and int(text) > 0 for text in stated):
        raise _refused(f"dimensions {', '.join(map(_shown, stated))}", "X-Binary-Size-Second- and -Fastest-Dimension")
    return int(stated[0]), int(stated[1])


def make_cbf(pixels: npt.NDArray[np.int32], text: str = "") -> bytes:
    """A file of one image with two dimensions; `text` is what a detector says of it, lines that begin with `#`."""
    rows, columns = pixels.shape
    packed = pack_byte_offset(pixels)
    head = _TEXT.format(
        contents=_CONTENTS.format(text=text) if text else "",
        section=_SECTION.decode(),
        nbytes=len(packed),
        digest=_md5(packed).decode(),
        count=pixels.size,
        columns=columns,
        rows=rows,
        padding=PADDING,
    )
    end = b"\r\n" + _SECTION + b"--\r\n;\r\n\r\n"
    return head.replace("\n", "\r\n").encode("latin-1") + START_OF_PIXELS + packed + bytes(PADDING) + end


PADDING = 4095
"""Bytes behind the pixels, as camserver writes them."""
_CONTENTS = """_array_data.header_convention "PILATUS_1.2"
_array_data.header_contents
;
{text}
;

"""
_TEXT = """###CBF: VERSION 1.5
data_image

{contents}_array_data.data
;
{section}
Content-Type: application/octet-stream;
     conversions="x-CBF_BYTE_OFFSET"
Content-Transfer-Encoding: BINARY
X-Binary-Size: {nbytes}
X-Binary-ID: 1
X-Binary-Element-Type: "signed 32-bit integer"
X-Binary-Element-Byte-Order: LITTLE_ENDIAN
Content-MD5: {digest}
X-Binary-Number-of-Elements: {count}
X-Binary-Size-Fastest-Dimension: {columns}
X-Binary-Size-Second-Dimension: {rows}
X-Binary-Size-Padding: {padding}

"""


def _md5(data: Buffer) -> bytes:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest())


def _read_text(data: npt.NDArray[np.uint8]) -> tuple[dict[bytes, bytes], int]:
    """What it says of its first binary section, names in small letters; and where the pixels begin."""
    beginning = data[: LONGEST_TEXT + len(START_OF_PIXELS)].tobytes()
    end = beginning.find(START_OF_PIXELS)
    section = beginning.find(_SECTION, 0, max(0, end))
    if end < 0 or section < 0:
        raise _refused(
            f"{len(data)} bytes that begin with {_shown(beginning[:20])}",
            f"a text of up to {LONGEST_TEXT} bytes with a binary section, and the bytes 0C 1A 04 D5",
        )
    fields = _FIELD.findall(beginning[section:end])
    return {name.lower(): value.strip() for name, value in fields}, end + len(START_OF_PIXELS)


def _expect(what: str, found: bytes | None, expected: str) -> None:
    if found is None or found.decode("latin-1") != expected:
        raise _refused(f"{what} {'not stated' if found is None else _shown(found)}", expected)


def _shown(text: bytes) -> str:
    return repr(text[:60].decode("latin-1"))


def _refused(answer: str, accepted: str) -> WireError:
    return WireError("unpack a CBF file", answer=answer, accepted=accepted)
