"""Which of the faults that all simulators know mean something to a camera, whose stream a streamer of ours makes."""

from __future__ import annotations

from collections.abc import Mapping

from maxdaq_tango.detectors.simulation.faults import Faults, refuse_those_of

MEANINGLESS: Mapping[str, str] = {
    "duplicate_frames": "a frame has one place in the buffer",
    "duplicate_fraction": "a frame has one place in the buffer",
    "reorder_frames": "the link to the camera keeps the order",
    "reorder_window": "the link to the camera keeps the order",
    "truncate_frames": "a frame fills its buffer or is lost",
    "truncate_fraction": "a frame fills its buffer or is lost",
    "block_length_frames": "nothing is compressed",
    "block_length_fraction": "nothing is compressed",
    "wrong_size_frames": "the size of a frame was agreed when buffers were given",
    "wrong_size_fraction": "the size of a frame was agreed when buffers were given",
    "wrong_series_frames": "a camera knows no series",
    "wrong_series_fraction": "a camera knows no series",
    "dtype_at": "the type of pixels was agreed when buffers were given",
    "shape_at": "the shape was agreed when buffers were given",
    "bomb_at": "the camera sends no JSON",
    "bomb_depth": "the camera sends no JSON",
    "filename": "the header is the streamer's",
    "second_header_at": "the header is the streamer's",
    "interleave_at": "a camera knows no series",
    "end_at": "the end message is the streamer's",
    "thief_at": "the link has two ends; a second client of the stream is the streamer's to meet",
    "missing_header": "the header is the streamer's",
    "missing_end": "the end message is the streamer's",
    "duplicate_end": "the end message is the streamer's",
}
"""Field of `Faults` > why this simulator refuses it."""


def refuse_meaningless(faults: Faults) -> None:
    """See `refuse_those_of`."""
    refuse_those_of(MEANINGLESS, faults, "a simulated ORCA")
