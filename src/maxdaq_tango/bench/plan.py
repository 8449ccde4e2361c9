"""What is measured, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import Encoding

SIZES = (8_000, 32_000, 200_000, 2_000_000, 20_000_000)
"""Bytes of a frame on the wire."""
PACKINGS = (Encoding.NONE, Encoding.BSLZ4)
EXTRA_SIZE = 200_000
EXTRA_COLUMNS = 40
THROTTLE_BYTES_PER_S = 50_000_000
THROTTLED_S = 60.0
SMALLEST = 1_000


class Contestant(StrEnum):
    """Who takes the frames."""

    PULL = "pull"
    """Floor: a bare PULL loop that throws everything away."""
    WRITE = "write"
    """Floor: the same bytes from aligned memory to the disk, past the page cache. No stream."""
    PULL_WRITE = "pull+write"
    """Floor: both together, with the one copy from message to aligned memory."""
    COMPRESSION = "compression"
    """Floor: bslz4 of the same frames on all cores. No stream, no file."""
    PLAIN = "plain"
    """The way that people write first: one thread, a dataset that grows with every frame."""
    OURS = "ours"
    """The receiver engine with default settings, into a file."""
    OURS_LIVE = "unsaved"
    """Ours, without a file."""
    WITHOUT_COLUMNS = "no columns"
    """Ours, saving, in the row with columns: the same frames with nothing beside the pixels."""


SENDERLESS = (Contestant.WRITE, Contestant.COMPRESSION)
SAVING = (Contestant.WRITE, Contestant.PULL_WRITE, Contestant.PLAIN, Contestant.OURS, Contestant.WITHOUT_COLUMNS)
"""Those that write a file."""
OUR_OWN = (Contestant.OURS, Contestant.OURS_LIVE, Contestant.WITHOUT_COLUMNS)
"""Those that are our receiver."""
FLOORS = (Contestant.PULL, Contestant.WRITE, Contestant.PULL_WRITE)


class Saving(StrEnum):
    """Which halves of the table are wanted."""

    ON = "on"
    OFF = "off"
    BOTH = "both"


class Extra(StrEnum):
    """Rows beside the grid."""

    COMPRESS = "compress"
    """Uncompressed on the wire, compressed here to bslz4."""
    COLUMNS = "columns"
    """40 more values with every frame, each stored as a column."""
    THROTTLE = "throttle"
    """A disk of 50 MB/s for about a minute: is memory bounded?"""


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of stream, and how it is to be stored."""

    wire_nbytes: int
    """Bytes of a frame on the wire, as near as the packing allows."""
    packing: Encoding = Encoding.NONE
    extra: Extra | None = None

    def columns(self, contestant: Contestant) -> int:
        """Values beside the pixels in each message, which become columns of the file."""
        return EXTRA_COLUMNS if self.extra is Extra.COLUMNS and contestant is Contestant.OURS else 0

    @property
    def name(self) -> str:
        """For people: '200 kB', '32 kB bslz4', '200 kB compress'."""
        words = [size_text(self.wire_nbytes)]
        if self.packing is not Encoding.NONE:
            words.append(self.packing.value)
        if self.extra is not None:
            words.append(self.extra.value)
        return " ".join(words)


class Block(msgspec.Struct, frozen=True):
    """One case: its contestants are started together, and take turns."""

    case: Case
    contestants: tuple[Contestant, ...]
    runs: int
    seconds: float

    def turns(self) -> Iterator[tuple[int, Contestant]]:
        """(repeat, contestant). No place is a privilege, and nobody always follows the same one.

        Every repeat begins with another contestant, every other repeat goes round the other way.
        """
        for repeat in range(self.runs):
            start = repeat % len(self.contestants)
            order = self.contestants[start:] + self.contestants[:start]
            for contestant in order if repeat % 2 == 0 else (order[0], *order[:0:-1]):
                yield repeat, contestant


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of one `maxdaq bench`."""

    sizes: tuple[int, ...] = SIZES
    packings: tuple[Encoding, ...] = PACKINGS
    saving: Saving = Saving.BOTH
    extras: tuple[Extra, ...] = (Extra.COMPRESS, Extra.COLUMNS)
    runs: int = 3
    seconds: float = 1.5
    """How long the sender sends in one turn; a turn lasts until everything is received and safe."""
    most_bytes: int = 3_000_000_000
    """Of one turn: the sender stops there, however quick it was."""

    def check(self) -> None:
        """ConfigurationError names what is impossible."""
        if not self.sizes or min(self.sizes) < SMALLEST:
            raise ConfigurationError(
                f"measure frames of {list(self.sizes)} bytes", accepted=f"sizes of {SMALLEST} bytes and more"
            )
        if max(self.sizes) > self.most_bytes // 4:
            raise ConfigurationError(
                f"measure frames of {size_text(max(self.sizes))}", accepted=f"up to {size_text(self.most_bytes // 4)}"
            )
        if self.runs < 1 or self.seconds <= 0:
            raise ConfigurationError(
                f"measure {self.runs} times {self.seconds:g} s", accepted="one run or more, of more than 0 s"
            )

    def blocks(self) -> list[Block]:
        """Every case with its contestants, in the order of the table."""
        blocks = []
        for size in self.sizes:
            for packing in self.packings:
                case = Case(wire_nbytes=size, packing=packing)
                blocks.append(Block(case, self._contestants(), self.runs, self.seconds))
        for extra in self.extras:
            blocks.append(self._extra_block(extra))
        return blocks

    def turn_count(self) -> int:
        """All turns of all blocks."""
        return sum(block.runs * len(block.contestants) for block in self.blocks())

    @property
    def writes(self) -> bool:
        """Whether anything is written at all."""
        return any(contestant in SAVING for block in self.blocks() for contestant in block.contestants)

    def _contestants(self) -> tuple[Contestant, ...]:
        chosen = [Contestant.PULL]
        if self.saving is not Saving.OFF:
            chosen += [Contestant.WRITE, Contestant.PULL_WRITE, Contestant.PLAIN, Contestant.OURS]
        if self.saving is not Saving.ON:
            chosen.append(Contestant.OURS_LIVE)
        return tuple(chosen)

    def _extra_block(self, extra: Extra) -> Block:
        case = Case(wire_nbytes=EXTRA_SIZE, extra=extra)
        if extra is Extra.COMPRESS:
            contestants = (Contestant.PULL, Contestant.COMPRESSION, Contestant.OURS)
            return Block(case, contestants, self.runs, self.seconds)
        if extra is Extra.THROTTLE:
            return Block(case, (Contestant.OURS,), 1, THROTTLED_S)
        return Block(case, (Contestant.OURS, Contestant.WITHOUT_COLUMNS), self.runs, self.seconds)


def size_text(nbytes: int) -> str:
    """'8 kB', '200 kB', '2 MB'."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if nbytes >= factor:
            return f"{nbytes / factor:.3g} {unit}"
    return f"{nbytes} B"


def size_of(text: str) -> int:
    """The other way round: '8k', '8 kB', '2M', '20MB', '8000'."""
    words = text.strip().lower().removesuffix("b").strip()
    factors = {"k": 10**3, "m": 10**6, "g": 10**9}
    factor = factors.get(words[-1:], 1)
    try:
        size = int(float(words.rstrip("kmg") or "no number") * factor)
    except (ValueError, OverflowError):
        raise ConfigurationError(f"a frame size of {text!r}", accepted="bytes, or with k or M: 8k, 200k, 2M") from None
    return size
