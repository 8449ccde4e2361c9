"""What the simulated library and the simulated camera say to each other over TCP. Pure.

`simulated_dcam.c` has the same structures.

    connection of requests    request (24 bytes, the first is HELLO)  ->  reply (16 bytes, and `nbytes` more)
    connection of frames      HELLO  ->  reply, then only frame heads (32 bytes), each with `nbytes` of pixels

Little-endian. A frame head with flag END and no pixels ends a capture that had a number of frames to make.
"""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag

import msgspec

from maxdaq_tango.detectors.orca.properties import Attributes

_REQUEST = struct.Struct("<Iiiid")
_REPLY = struct.Struct("<iid")
_ATTRIBUTES = struct.Struct("<Iidddd")
_FORMAT = struct.Struct("<8i")
_FRAME = struct.Struct("<IIiiIiII")
REQUEST_NBYTES = _REQUEST.size
SUCCESS = 1


class Op(IntEnum):
    """What is asked. `id` is a property or a text unless something else is said."""

    HELLO = 1
    """`id` is a `Purpose`."""
    ATTRIBUTES = 2
    GET = 3
    SET = 4
    QUERY = 5
    """The value after or before `value`, as `option` says."""
    NEXT = 6
    """The property after `id`."""
    NAME = 7
    VALUE_TEXT = 8
    STRING = 9
    BUFFERS = 10
    """`id` 1: buffers are there, the answer is the format of a frame; 0: they are gone."""
    START = 11
    """`id` is the number of the capture, `option` how many frames to make, 0 = until STOP."""
    STOP = 12
    TRIGGER = 13
    STATUS = 14
    """0 when something is wrong with the camera; the library knows the rest itself."""


class Purpose(IntEnum):
    """What a connection is for."""

    LOOK = 0
    REQUESTS = 1
    FRAMES = 2


class Flag(IntFlag):
    """Of a frame head."""

    LOST = 1
    """Exposures before this one did not get here."""
    END = 2


class Request(msgspec.Struct, frozen=True):
    """One question."""

    op: int
    id: int = 0
    option: int = 0
    value: float = 0.0

    @classmethod
    def unpack(cls, data: bytes) -> Request:
        """From its bytes."""
        op, number, option, _, value = _REQUEST.unpack(data)
        return cls(op, number, option, value)

    def pack(self) -> bytes:
        """To its bytes."""
        return _REQUEST.pack(self.op, self.id, self.option, 0, self.value)


class Reply(msgspec.Struct, frozen=True):
    """One answer; `code` is 1, or an error as an unsigned number."""

    code: int = SUCCESS
    value: float = 0.0
    payload: bytes = b""

    def pack(self) -> bytes:
        """To its bytes."""
        code = self.code - (1 << 32) if self.code >= 1 << 31 else self.code
        return _REPLY.pack(code, len(self.payload), self.value) + self.payload


class FrameHead(msgspec.Struct, frozen=True, kw_only=True):
    """What stands before the pixels of a frame."""

    capture: int
    flags: Flag = Flag(0)
    frame_stamp: int = 0
    time_s: float = 0.0
    """UTC."""
    nbytes: int = 0

    def pack(self) -> bytes:
        """To its bytes."""
        seconds = int(self.time_s)
        microseconds = int((self.time_s - seconds) * 1e6)
        stamp = self.frame_stamp & 0x7FFFFFFF
        return _FRAME.pack(self.capture, int(self.flags), stamp, stamp, seconds, microseconds, self.nbytes, 0)


def pack_attributes(attributes: Attributes) -> bytes:
    """The payload of ATTRIBUTES."""
    a = attributes
    return _ATTRIBUTES.pack(a.word, a.unit, a.minimum, a.maximum, a.step, a.default)


def pack_format(
    *, frame_nbytes: int, row_nbytes: int, pixel_type: int, width: int, height: int, left: int, top: int
) -> bytes:
    """The payload of BUFFERS."""
    return _FORMAT.pack(frame_nbytes, row_nbytes, pixel_type, width, height, left, top, 0)
