"""What HDF5 writes besides pixels, kept in memory until it may touch the file. Pure: byte ranges in, byte ranges out.

Pages with a mask of the bytes that were written. The index of ten thousand chunks is a few hundred of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from maxdaq_tango.model import Buffer

PAGE = 4096


class MetadataOverlay:
    """A sparse image of the bytes written so far. Not thread-safe."""

    def __init__(self) -> None:
        self.end = 0
        """Nothing was ever written from here on."""
        self._pages: dict[int, tuple[bytearray, bytearray]] = {}

    def write(self, offset: int, data: Buffer) -> None:
        """Remember bytes; later ones replace earlier ones."""
        view = memoryview(data).cast("B")
        self.end = max(self.end, offset + len(view))
        for number, start, end, done in _pieces(offset, len(view)):
            page, mask = self._pages.setdefault(number, (bytearray(PAGE), bytearray(PAGE)))
            page[start:end] = view[done : done + end - start]
            mask[start:end] = b"\x01" * (end - start)

    def patch(self, offset: int, target: memoryview) -> None:
        """Put what is remembered of this range over `target`, which holds what the file has there."""
        for number, start, end, done in _pieces(offset, len(target)):
            held = self._pages.get(number)
            if held is None:
                continue
            page, mask = held
            for low, high in _runs(mask, start, end):
                target[done + low - start : done + high - start] = page[low:high]

    def covers(self, offset: int, nbytes: int) -> bool:
        """Every byte of the range was written."""
        for number, start, end, _ in _pieces(offset, nbytes):
            held = self._pages.get(number)
            if held is None or held[1].find(0, start, end) >= 0:
                return False
        return True

    def extents(self) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) of everything remembered, in order, neighbours within a page joined."""
        for number in sorted(self._pages):
            page, mask = self._pages[number]
            for low, high in _runs(mask, 0, PAGE):
                yield number * PAGE + low, bytes(page[low:high])

    def forget(self, offset: int, nbytes: int) -> None:
        """Somebody else has written this range of the file."""
        for number, start, end, _ in _pieces(offset, nbytes):
            if (held := self._pages.get(number)) is not None:
                held[1][start:end] = bytes(end - start)

    def cut(self, nbytes: int) -> None:
        """The file ends here: forget what lay beyond."""
        for number in [number for number in self._pages if number * PAGE >= nbytes]:
            del self._pages[number]
        if nbytes % PAGE and (held := self._pages.get(nbytes // PAGE)):
            held[1][nbytes % PAGE :] = bytes(PAGE - nbytes % PAGE)


def _pieces(offset: int, nbytes: int) -> Iterator[tuple[int, int, int, int]]:
    """(page, start and end in it, bytes of the range before it)."""
    done = 0
    while done < nbytes:
        number, start = divmod(offset + done, PAGE)
        end = min(PAGE, start + nbytes - done)
        yield number, start, end, done
        done += end - start


def _runs(mask: bytearray, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Stretches of written bytes."""
    low = mask.find(1, start, end)
    while low >= 0:
        high = mask.find(0, low, end)
        if high < 0:
            high = end
        yield low, high
        low = mask.find(1, high, end)
