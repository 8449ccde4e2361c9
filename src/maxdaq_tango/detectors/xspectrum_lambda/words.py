"""The words of libxsp that both sides of the adapter use, spelt as its C++ header and its Python users spell them.

Sources: libxsp 2.1.0, `libxsp.h` (enums, limits of types); LiberTEM-live c8433dc and Pierre Thibault's labcontrol, two
public users of `pyxsp` (names in Python). Times of libxsp are ms, energies keV, potentials V.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

NUMBER_BITS = 24
NUMBER_MODULUS = 1 << NUMBER_BITS
"""`Frame.nr` counts from 1 and rolls over here."""
MOST_FRAMES = NUMBER_MODULUS - 1
"""Of one acquisition."""
MOST_THRESHOLDS = 8
DEFAULT_SYSTEM = "/opt/xsp/config/system.yml"
"""Where the vendor installs the description of a system."""


class BitDepth(IntEnum):
    """Bits that a pixel counts with. 24 takes both counters of a pixel, so nothing is counted while it is read."""

    DEPTH_1 = 1
    DEPTH_6 = 6
    DEPTH_12 = 12
    DEPTH_24 = 24


class Switch(StrEnum):
    """Charge summing and gating."""

    OFF = "OFF"
    ON = "ON"


class CounterMode(StrEnum):
    """DUAL: both counters of a pixel, each with a threshold of its own, so every exposure makes two subframes."""

    SINGLE = "SINGLE"
    DUAL = "DUAL"


class XspTrigger(StrEnum):
    """What starts exposures."""

    SOFTWARE = "SOFTWARE"
    """`start_acquisition` starts the whole sequence."""
    EXT_SEQUENCE = "EXT_SEQUENCE"
    """The first edge starts the whole sequence."""
    EXT_FRAMES = "EXT_FRAMES"
    """At 24 bit each edge starts one exposure; at other depths an edge ends one frame and starts the next."""


class FrameStatus(StrEnum):
    """What a receiver says of a frame."""

    FRAME_OK = "FRAME_OK"
    FRAME_INCOMPLETE = "FRAME_INCOMPLETE"
    FRAME_MISSING = "FRAME_MISSING"
    FRAME_COMPRESSION_FAILED = "FRAME_COMPRESSION_FAILED"


def pixel_type(depth: int) -> str:
    """numpy name of a pixel that counted with so many bits."""
    if depth <= 8:
        return "uint8"
    return "uint16" if depth <= 16 else "uint32"
