"""Recorded streams: what came out of a socket, message by message, and nothing else.

Source: the capture files of MAX IV streams; `docs/reference/capture-format.md` describes them. A file is a gzip stream
(or the same uncompressed) holding a CBOR sequence (RFC 8742): one item a message, each a list of byte strings = the
parts in order. There is no timing in it.

The items use so little of CBOR that they are read by hand here: every length is checked against what the file holds
before memory is taken, and a damaged file says where it is damaged.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import IO, Any

from maxdaq_tango.errors import FileError, WireError
from maxdaq_tango.model import Buffer

PathOrFile = str | os.PathLike[str] | IO[bytes]

_GZIP_MAGIC = b"\x1f\x8b"
_BYTES, _ARRAY = 2, 4
_MOST_PARTS = 1024
_PIECE = 1 << 20
_COMPRESS_LEVEL = 1
"""Pixels are compressed already; more effort buys nothing and would slow a recording."""


def read_capture(path_or_file: PathOrFile) -> Iterator[list[bytes]]:
    """The messages of a capture, one list of parts at a time.

    A missing or unreadable file is a FileError; one that is no capture, or ends inside a message, is a WireError after
    the messages before the damage have been given out. A file object is read from where it stands and left open.
    """
    if not isinstance(path_or_file, (str, os.PathLike)):
        yield from _messages(_uncompressed(path_or_file), str(getattr(path_or_file, "name", "file object")))
        return
    name = os.fspath(path_or_file)
    try:
        file: IO[bytes] = open(name, "rb")  # noqa: SIM115 - closed by the with below; opening alone may be a FileError
    except OSError as error:
        raise FileError("read a capture", of=name, answer=str(error), accepted="a file that can be read") from error
    with file:
        yield from _messages(_uncompressed(file), name)


class CaptureWriter:
    """Records messages into a new capture. Use as a context manager; what was written before a failure can be read."""

    def __init__(self, path_or_file: PathOrFile) -> None:
        """A path must not exist yet (nothing is ever overwritten); a file object is left open at the end."""
        self.message_count = 0
        self._own: IO[bytes] | None = None
        if isinstance(path_or_file, (str, os.PathLike)):
            target = self._own = _create(path_or_file)
        else:
            target = path_or_file
        # No name and no time inside: the same stream makes the same file.
        self._gzip: gzip.GzipFile | None = gzip.GzipFile("", "wb", _COMPRESS_LEVEL, target, mtime=0)

    def write(self, parts: Sequence[Buffer]) -> None:
        """Append one message."""
        if self._gzip is None:
            raise FileError("write to a capture", answer="it is closed", accepted="an open CaptureWriter")
        if len(parts) > _MOST_PARTS:
            raise WireError("record a message", answer=f"{len(parts)} parts", accepted=f"at most {_MOST_PARTS}")
        self._gzip.write(_head(_ARRAY, len(parts)))
        for part in parts:
            self._gzip.write(_head(_BYTES, memoryview(part).nbytes))
            self._gzip.write(part)
        self.message_count += 1

    def close(self) -> None:
        """Finish the file. Harmless the second time."""
        stream, self._gzip = self._gzip, None
        try:
            if stream is not None:
                stream.close()
        finally:
            own, self._own = self._own, None
            if own is not None:
                own.close()

    def __enter__(self) -> CaptureWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _create(path: str | os.PathLike[str]) -> IO[bytes]:
    try:
        return open(path, "xb")
    except OSError as error:
        raise FileError("make a capture", of=os.fspath(path), answer=str(error), accepted="a new name") from error


def _uncompressed(file: IO[bytes]) -> IO[bytes]:
    start = file.read(len(_GZIP_MAGIC))
    rest: Any = _Rejoined(start, file)
    return gzip.GzipFile(fileobj=rest, mode="rb") if start == _GZIP_MAGIC else rest  # type: ignore[return-value]


class _Rejoined:
    """A file with the bytes that were read to recognise it put back in front; needs no seek, so pipes work."""

    def __init__(self, start: bytes, file: IO[bytes]) -> None:
        self._start = start
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not self._start:
            return self._file.read(size)
        if size < 0 or size >= len(self._start):
            start, self._start = self._start, b""
            return start + self._file.read(size if size < 0 else size - len(start))
        start, self._start = self._start[:size], self._start[size:]
        return start


def _messages(stream: IO[bytes], name: str) -> Iterator[list[bytes]]:
    reader = _Reader(stream, name)
    while (initial := reader.read_some(1)) != b"":
        count = reader.head(initial[0], _ARRAY)
        if count > _MOST_PARTS:
            raise reader.damage(f"a message of {count} parts", f"at most {_MOST_PARTS}")
        message = []
        for _ in range(count):
            message.append(reader.exactly(reader.head(reader.exactly(1)[0], _BYTES)))
        yield message
        reader.message_number += 1


class _Reader:
    """Reads CBOR heads and byte strings, and knows which message it is in."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self._name = name
        self.message_number = 0

    def read_some(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self.damage(str(error), "an undamaged gzip file") from error
        except OSError as error:
            raise FileError("read a capture", of=self._name, answer=str(error)) from error

    def exactly(self, size: int) -> bytes:
        """`size` bytes, taken in pieces: a false length costs no more memory than the file has."""
        pieces = []
        while size:
            piece = self.read_some(min(size, _PIECE))
            if not piece:
                raise self.damage(f"the file ends {size} bytes early", "a whole message")
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def head(self, initial: int, wanted: int) -> int:
        """The length in a CBOR head whose first byte is `initial`."""
        major, detail = initial >> 5, initial & 0x1F
        if major != wanted or detail > 27:
            kind = "a list" if wanted == _ARRAY else "a byte string of stated length"
            raise self.damage(f"byte 0x{initial:02x}", f"{kind}; a capture is a CBOR sequence of lists of byte strings")
        return detail if detail < 24 else int.from_bytes(self.exactly(1 << (detail - 24)), "big")

    def damage(self, answer: str, accepted: str) -> WireError:
        return WireError(
            f"read message {self.message_number} of a capture", of=self._name, answer=answer, accepted=accepted
        )


def _head(major: int, length: int) -> bytes:
    if length < 24:
        return bytes((major << 5 | length,))
    for detail, size in ((24, 1), (25, 2), (26, 4)):
        if length < 1 << (8 * size):
            return bytes((major << 5 | detail,)) + length.to_bytes(size, "big")
    return bytes((major << 5 | 27,)) + length.to_bytes(8, "big")
