"""Faults on request: one list that the simulators of all families understand.

Real detectors, networks and sharing scripts do all of these; a receiver that has never met them is not tested. What
they do to a stream is in `delivery.py` (which message leaves when) and `damage.py` (what is wrong inside it).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from maxdaq_tango.detectors.simulation.fault_words import parse_words
from maxdaq_tango.detectors.simulation.pattern import mix
from maxdaq_tango.errors import ConfigurationError

HUGE = 1 << 40
"""A frame number that no series reaches."""

SHORT: Mapping[str, str] = {
    "drop": "drop_fraction",
    "duplicate": "duplicate_fraction",
    "reorder": "reorder_window",
    "delay": "delay_fraction",
    "cut": "truncate_fraction",
    "corrupt": "corrupt_fraction",
    "block_length": "block_length_fraction",
    "wrong_size": "wrong_size_fraction",
    "wrong_series": "wrong_series_fraction",
    "cut_frames": "truncate_frames",
    "interleave": "interleave_at",
    "bomb": "bomb_at",
    "thief": "thief_at",
}
"""Words of the command line and the field that each sets; the names of the fields are understood as well."""

_SALT = {
    "drop": 0,
    "duplicate": 0xD0B1,
    "delay": 0xDE1A,
    "truncate": 0xC07,
    "corrupt": 0xB175,
    "block_length": 0xB10C,
    "wrong_size": 0x512E,
    "wrong_series": 0x5E71,
}
"""So that two faults of the same fraction do not meet the same frames."""


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What shall go wrong. Frame numbers count from 0 in every series. The default is a detector in good health.

    `..._fraction` is 0 to 1; which frames it meets depends on `seed`, the fault and the frame number alone.
    """

    error_state: str = ""
    """A reason: the detector goes to its error state and stays there until it is initialised again."""
    refuse_arm: str = ""
    """A reason: every arm is refused with it."""
    offline_s: float = 0.0
    """The control address refuses connections for this long and then works again; everything else goes on."""
    failing_keys: tuple[str, ...] = ()
    """Parameters or commands that answer with an internal error (HTTP 500)."""
    arm_delay_s: float = 0.0
    """How much longer arm takes."""
    initialise_delay_s: float = 0.0
    never_start: bool = False
    """Triggers are accepted, but no frame is ever made: the series lasts until somebody ends it."""
    stop_after: int | None = None
    """Nothing more is sent after this many frames of a series, not even the end: the sender has gone."""
    vanish_at: int | None = None
    """Before this frame the sender breaks every connection, is away for `vanish_s`, and then goes on."""
    vanish_s: float = 0.5
    drop_frames: tuple[int, ...] = ()
    drop_fraction: float = 0.0
    duplicate_frames: tuple[int, ...] = ()
    duplicate_fraction: float = 0.0
    reorder_frames: tuple[int, ...] = ()
    """Each is sent after its successor."""
    reorder_window: int = 0
    """So many frames at a time leave in an order that depends on `seed` alone; 0 and 1 = as they were made."""
    delay_frames: tuple[int, ...] = ()
    delay_fraction: float = 0.0
    delay_s: float = 0.1
    """How long the stream pauses before a delayed frame; what is behind it waits as well."""
    truncate_frames: tuple[int, ...] = ()
    """Only the first half of the blob is sent."""
    truncate_fraction: float = 0.0
    corrupt_frames: tuple[int, ...] = ()
    """One bit in the middle of the payload is turned over; nothing that the message states is wrong."""
    corrupt_fraction: float = 0.0
    block_length_frames: tuple[int, ...] = ()
    """The first block inside a packed blob states a length far beyond the blob (of an unpacked one: `corrupt`)."""
    block_length_fraction: float = 0.0
    wrong_size_frames: tuple[int, ...] = ()
    """Unpacked: one pixel too many. Packed: the blob states that it holds 2^62 bytes."""
    wrong_size_fraction: float = 0.0
    wrong_series_frames: tuple[int, ...] = ()
    """Sent with the number of another series, and with other pixels. STINS: with a message number of another life."""
    wrong_series_fraction: float = 0.0
    dtype_at: int | None = None
    """From this frame on pixels are of another type."""
    shape_at: int | None = None
    """From this frame on frames have half the rows."""
    number_at: int | None = None
    """This frame is sent with the number `number_sent`."""
    number_sent: int = HUGE
    restart_at: int | None = None
    """From this frame on numbers begin again at 0, as of a sender that was started anew in mid-series."""
    bomb_at: int | None = None
    """This frame carries a value of `bomb_depth` lists inside each other."""
    bomb_depth: int = 100_000
    filename: str = ""
    """The header asks for this file, such as ../../etc/passwd.h5, in place of what was set."""
    second_header_at: int | None = None
    """Before this frame the header of another series is sent."""
    interleave_at: int | None = None
    """From this frame on another series is sent between the frames of this one, with a header of its own."""
    end_at: int | None = None
    """The end message is sent before this frame as well."""
    thief_at: int | None = None
    """Before this frame a second client connects, and takes its share of the rest of the series."""
    missing_header: bool = False
    missing_end: bool = False
    duplicate_end: bool = False
    seed: int = 0

    @classmethod
    def parse(cls, words: Iterable[str]) -> Faults:
        """Faults from words such as `drop=0.01`, `reorder=8`, `drop_frames=3,7-9`, `missing_end`."""
        return parse_words(cls, words, SHORT)

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name.endswith("_fraction") and not 0 <= value <= 1:
                raise ConfigurationError(f"set {name} to {value}", accepted="0 to 1")
            if name.endswith("_s") and not 0 <= value < 3600:
                raise ConfigurationError(f"set {name} to {value}", accepted="0 to 3600 s")
            if (name.endswith("_at") or name == "stop_after") and value is not None and value < 0:
                raise ConfigurationError(f"set {name} to {value}", accepted="0 or more")
        if not 0 <= self.reorder_window <= 10_000:
            raise ConfigurationError(f"set reorder_window to {self.reorder_window}", accepted="0 to 10000 frames")
        if not 1 <= self.bomb_depth <= 10_000_000:
            raise ConfigurationError(f"set bomb_depth to {self.bomb_depth}", accepted="1 to 10000000")
        if not -(2**63) <= self.number_sent < 2**64:
            raise ConfigurationError(f"set number_sent to {self.number_sent}", accepted="-2^63 to 2^64 - 1")

    def meets(self, fault: str, number: int) -> bool:
        """Does `fault` (drop, duplicate, delay, truncate ...) meet this frame, by its number or by the fraction?"""
        if number in getattr(self, f"{fault}_frames"):
            return True
        fraction: float = getattr(self, f"{fault}_fraction")
        return fraction > 0 and mix(mix(self.seed) ^ _SALT[fault] << 40 ^ number) < int(fraction * 2**64)

    def drops(self, number: int) -> bool:
        """True when this frame is not to be sent."""
        return self.meets("drop", number)

    def gone(self, number: int) -> bool:
        """True when the sender has vanished before this frame."""
        return self.stop_after is not None and number >= self.stop_after


def refuse_those_of(meaningless: Mapping[str, str], faults: Faults, simulator: str) -> None:
    """ConfigurationError for a fault that would do nothing here: a test with it would test nothing.

    `meaningless`: field of `Faults` > why this simulator cannot have it.
    """
    healthy = Faults()
    for name, reason in meaningless.items():
        if getattr(faults, name) != getattr(healthy, name):
            accepted = ", ".join(field for field in Faults.__struct_fields__ if field not in meaningless)
            raise ConfigurationError(f"switch on the fault {name}", of=simulator, answer=reason, accepted=accepted)
