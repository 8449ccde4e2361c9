"""Messages between an engine and its writer processes come through as they were, however they are cut."""

from __future__ import annotations

import math
from typing import Any

import pytest

from maxdaq_tango.errors import FileError, PipelineError, StateError
from maxdaq_tango.files import BlockLayout
from maxdaq_tango.model import Encoding, FileBackend, FrameFormat
from maxdaq_tango.pipeline.writer_protocol import (
    Answer,
    Begin,
    CloseAll,
    Done,
    Failed,
    Frames,
    FromWriter,
    GiveUp,
    Map,
    Ready,
    Settle,
    Splitter,
    StoredFrame,
    ToWriter,
    Trouble,
    encode,
)

LAYOUT = BlockLayout(
    folder="/d",
    stem="ä",
    suffix=".h5",
    detector="eiger",
    software="tests",
    backend=FileBackend.DIRECT,
    format=FrameFormat((2, 3, 4), "float32", Encoding.BSLZ4, (1, 3, 4)),
    fill=-1,
    block_rows=5,
    rows=None,
    extras={"a": 1, "huge": 2**70},
    slab_memory_bytes=1,
)
TIMES = (1.0, 2.0, 3.0, 4.0, 5.0)
TO_WRITER: list[ToWriter] = [
    Map(5),
    Begin(LAYOUT, 1, 3),
    Frames([StoredFrame(2**40, 2**63, [(0, 5), (5, 7)], TIMES, {"n": [1, {"x": None}], "t": "\0µ"}) for _ in range(9)]),
    Frames([StoredFrame(0, 0, [], TIMES, {"deep": [{"er": -(2**90)}], "usual": 2**64 - 1})]),
    CloseAll(7),
    Settle(bytes(1000), 3),
    GiveUp(),
]
TROUBLE = Trouble.of_error(FileError("write", of="/d/x", answer="No space left (errno 28)", accepted="room"))
FROM_WRITER: list[FromWriter] = [Ready(), Done(3, 5, 7), Failed(TROUBLE), Answer(None, 1, 2), Answer(TROUBLE, 0, 0)]


@pytest.mark.parametrize("step", [1, 3, 7, 100, 1 << 20])
@pytest.mark.parametrize(("kind", "messages"), [(ToWriter, TO_WRITER), (FromWriter, FROM_WRITER)])
def test_messages_come_through(kind: Any, messages: list[Any], step: int) -> None:
    data = b"".join(map(encode, messages))
    splitter = Splitter(kind)
    found = [m for start in range(0, len(data), step) for m in splitter.feed(data[start : start + step])]
    assert found == messages


def test_what_is_no_number_stays_that() -> None:
    for extras in ({"x": math.nan}, {"x": math.nan, "huge": 2**80}):
        message = Frames([StoredFrame(0, 0, [], (math.nan,) * 5, dict(extras))])
        (frames,) = Splitter(ToWriter).feed(encode(message))
        assert math.isnan(frames.frames[0].times[4])
        assert math.isnan(frames.frames[0].extras["x"])


def test_errors_keep_their_kind_and_words() -> None:
    error = FileError("write", of="/d/x", answer="No space left (errno 28)", accepted="room")
    again = Trouble.of_error(error).to_error()
    assert (type(again), str(again)) == (FileError, str(error))
    assert type(Trouble.of_error(PipelineError("x")).to_error()) is PipelineError
    assert type(Trouble.of_error(StateError("x")).to_error()) is PipelineError
