"""Which of the faults that all simulators know mean something to a camserver, whose output is files."""

from __future__ import annotations

import msgspec

from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.errors import ConfigurationError

NO_HEADER = "camserver announces no series: its files stand each for itself, and the streamer makes the header"
NO_DEALING = "files are not dealt out to clients as messages are"
MEANINGLESS = {
    "initialise_delay_s": "camserver has no initialisation; slow trimming is the option trim_time_s",
    "second_header_at": NO_HEADER,
    "missing_header": NO_HEADER,
    "filename": "camserver does not know the HDF5 file, so it cannot ask for another one",
    "thief_at": NO_DEALING,
    "bomb_at": "the text of an image file has no values inside values",
    "bomb_depth": "the text of an image file has no values inside values",
    "block_length_frames": "byte-offset packing has no blocks",
    "block_length_fraction": "byte-offset packing has no blocks",
}
"""Field of `Faults` > why this simulator refuses it."""


def refuse_meaningless(faults: Faults) -> None:
    """ConfigurationError for a fault that would do nothing: a test with it would test nothing."""
    for field in msgspec.structs.fields(Faults):
        if field.name in MEANINGLESS and getattr(faults, field.name) != field.default:
            accepted = ", ".join(name for name in Faults.__struct_fields__ if name not in MEANINGLESS)
            raise ConfigurationError(
                f"switch on the fault {field.name} of a simulated Pilatus",
                answer=MEANINGLESS[field.name],
                accepted=accepted,
            )
