"""A sender of STINS series, with the pattern, the faults and the account of the simulated detectors. No sockets.

It stands for everything that speaks STINS and is no detector: a streamer beside the hardware, a forwarder, a camera PC.
`docs/reference/simulated-stins.md` says what it sends.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from maxdaq_tango.detectors.simulation.account import AccountBook
from maxdaq_tango.detectors.simulation.damage import json_bomb, packed
from maxdaq_tango.detectors.simulation.delivery import END, HEADER, OTHER_SERIES, Damage, Delivery, DeliveryPlan, Item
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.pattern import FramePattern
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import Buffer, Encoding, Frame
from maxdaq_tango.wire import stins

MOST_FRAMES = 1 << 40
COMPRESSIONS = {
    "none": Encoding.NONE,
    "bslz4": Encoding.BSLZ4,
    "lz4": Encoding.LZ4_HDF5,
    "lz4-block": Encoding.LZ4_BLOCK,
}
"""What it can send, as STINS spells it."""
DTYPES = ("uint8", "uint16", "uint32", "int32", "float32")
NO_FAULTS = Faults()


class StinsOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a sender is."""

    rows: int = 1065
    columns: int = 1030
    dtype: str = "uint16"
    compression: str = "bslz4"
    seed: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.rows <= 16384 or not 1 <= self.columns <= 16384:
            raise ConfigurationError(f"simulate {self.rows} x {self.columns} pixels", accepted="1 to 16384 each")
        if self.dtype not in DTYPES:
            raise ConfigurationError(f"simulate pixels of {self.dtype!r}", accepted=", ".join(DTYPES))
        if self.compression not in COMPRESSIONS:
            raise ConfigurationError(f"simulate compression {self.compression!r}", accepted=", ".join(COMPRESSIONS))


class SeriesRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One series to send."""

    frames: int
    rate_hz: float = 0.0
    """0 = as fast as they are taken."""

    def __post_init__(self) -> None:
        if not 0 <= self.frames <= MOST_FRAMES:
            raise ConfigurationError(f"send {self.frames} frames", accepted=f"0 to {MOST_FRAMES}")
        if not 0 <= self.rate_hz <= 1e6:
            raise ConfigurationError(f"send {self.rate_hz} frames a second", accepted="0 to 1000000")


class StinsMessage(msgspec.Struct, frozen=True):
    """One message to send."""

    parts: list[Buffer]
    delivery: Delivery


class StinsSender:
    """Series after series. `begin`, then `frame` for each number from 0, then `end`; one thread at a time.

    Message numbers are those of a sender that loses nothing itself: a frame that a fault drops had its number, as one
    that got lost on the way; a copy has the number of the first.
    """

    def __init__(self, options: StinsOptions, faults: Faults = NO_FAULTS) -> None:
        self.options = options
        self.faults = faults
        """Count from the next series."""
        self.series = 0
        """Number of the newest series, from 1. STINS has no word for it; the account has."""
        self._first_number = 0
        self._next_number = 0
        self._frames = self._made = 0
        self._period_s: float | None = None
        self._faults = faults
        self._plan = DeliveryPlan(faults)
        self._pattern = FramePattern(options.seed, (options.rows, options.columns), options.dtype)

    def begin(self, request: SeriesRequest, accounts: AccountBook) -> Iterator[StinsMessage]:
        """A new series, and its header."""
        self.series += 1
        self._faults, self._frames, self._made = self.faults, request.frames, 0
        self._plan = DeliveryPlan(self._faults)
        self._first_number, self._next_number = self._next_number, self._next_number + request.frames + 2
        self._period_s = 1 / request.rate_hz if request.rate_hz else None
        accounts.begin(self.series, restarted=self._faults.restart_at)
        if not self._faults.missing_header:
            yield self._message(HEADER)

    def frame(self, number: int) -> Iterator[StinsMessage]:
        """What leaves now that frame `number` has been made."""
        self._made = number + 1
        yield from map(self._message, self._plan.frame(number))

    def end(self) -> Iterator[StinsMessage]:
        """What leaves when the series is over, however it ended."""
        yield from map(self._message, self._plan.end())
        if not self._plan.gone and not self._faults.missing_end:
            for _ in range(2 if self._faults.duplicate_end else 1):
                yield self._message(END)

    def _message(self, delivery: Delivery) -> StinsMessage:
        parts: list[Buffer]
        if delivery.item is Item.HEADER:
            parts = list(stins.encode_header(self._number(delivery), self._faults.filename or None, self._metadata()))
        elif delivery.item is Item.END:
            parts = list(stins.encode_end(self._number(delivery)))
        else:
            encoding = COMPRESSIONS[self.options.compression]
            format, blob = packed(self._pattern.frame(delivery.pixels_of), encoding, delivery.damage)
            frame = Frame(series="", frame_number=delivery.wire_number, format=format, blobs=(blob,))
            parts = stins.encode_image(self._number(delivery), frame)
            if delivery.damage is Damage.BOMB:
                parts[0] = json_bomb(parts[0], self._faults.bomb_depth)
        return StinsMessage(parts, delivery)

    def _number(self, delivery: Delivery) -> int:
        """The message number."""
        restart = self._faults.restart_at
        if delivery.item is Item.END:
            # One that overtakes frames has the number of the one that does not.
            return self._first_number + (self._made if delivery.number < 0 else self._frames) + 1
        if delivery.item is Item.HEADER:
            number = self._first_number if delivery.number < 0 else self._first_number + 1 + delivery.number
        elif restart is not None and delivery.number >= restart:
            number = 1 + delivery.number - restart  # its header had the number 0, and nobody saw it
        else:
            number = self._first_number + 1 + delivery.number
        return number + OTHER_SERIES if delivery.wrong_series else number

    def _metadata(self) -> dict[str, object]:
        metadata: dict[str, object] = {"nimages": self._frames, "simulator_seed": self.options.seed}
        if self._period_s is not None:
            metadata["exptime"] = self._period_s
        return metadata
