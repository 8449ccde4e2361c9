"""Which of the faults that all simulators know mean something to a camserver, whose output is files."""

from __future__ import annotations

from maxdaq_tango.detectors.simulation.faults import Faults, refuse_those_of

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
    """See `refuse_those_of`."""
    refuse_those_of(MEANINGLESS, faults, "a simulated Pilatus")
