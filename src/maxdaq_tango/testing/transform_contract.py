# ruff: noqa: D102 - a test's name says what it shows
"""What every step between the wire and the file must do, as tests to inherit: name the step and frames for it.

class TestMaskRectangle(TransformContract):
    transform = MaskRectangle((1, 3, 0, 2))
    def frames(self): ...               # of one format, each with other pixels
    def expected(self, pixels): ...     # what numpy makes of the pixels of one frame
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest

from maxdaq_tango.errors import PipelineError, WireError
from maxdaq_tango.kernels.compression import decode_pixels
from maxdaq_tango.model import Encoding, Frame, FrameFormat
from maxdaq_tango.pipeline.transforms import Transform

GUARD = b"\xa5" * 64
THREADS, ROUNDS = 4, 25


class TransformContract:
    """The suite. Kernels that are compiled are run on memory whose neighbours are watched."""

    unfit: ClassVar[Sequence[FrameFormat]] = ()
    """Formats that `describe` must refuse, if there are any: before the first frame is touched."""
    takes_any_bytes: ClassVar[bool] = False
    """Blobs are passed on without a look at them."""

    def transform(self) -> Transform:
        """The step."""
        raise NotImplementedError

    def frames(self) -> Sequence[Frame]:
        """Good ones, of one format."""
        raise NotImplementedError

    def expected(self, frame: Frame) -> np.ndarray[Any, Any]:
        """Pixels of what must come out."""
        raise NotImplementedError

    def applied(self, step: Transform, frame: Frame, dirt: int = 0) -> Frame:
        """With exactly the room that the step asked for, in memory that was used before; blobs are copied out."""
        room = step.room(frame.format)
        memory = bytearray(GUARD + bytes([dirt]) * room + GUARD)
        result = step.apply(frame, memoryview(memory)[len(GUARD) : len(GUARD) + room])
        assert memory[: len(GUARD)] == GUARD
        assert memory[len(GUARD) + room :] == GUARD
        return msgspec.structs.replace(result, blobs=tuple(bytes(blob) for blob in result.blobs))

    def test_what_comes_out_is_what_was_described_and_every_pixel_is_right(self) -> None:
        step = self.transform()
        for frame in self.frames():
            result = self.applied(step, frame)
            assert result.format == step.describe(frame.format)
            assert len(result.blobs) == result.format.chunk_count
            np.testing.assert_array_equal(decode_pixels(result.format, result.blobs), self.expected(frame))

    def test_everything_but_the_pixels_is_kept(self) -> None:
        step = self.transform()
        for frame in self.frames():
            told = msgspec.structs.replace(frame, frame_number=41, start_time_s=3.0, extras={"a": 1}, discard=True)
            result = step.apply(told, memoryview(bytearray(step.room(frame.format))))
            same = msgspec.structs.replace(result, blobs=told.blobs, format=told.format)
            assert same == told

    def test_a_frame_is_not_changed(self) -> None:
        step = self.transform()
        for frame in self.frames():
            blobs = tuple(bytearray(blob) for blob in frame.blobs)
            self.applied(step, msgspec.structs.replace(frame, blobs=blobs))
            assert [bytes(blob) for blob in blobs] == [bytes(blob) for blob in frame.blobs]

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_what_lies_in_memory_and_what_holds_a_frame_does_not_matter(self, kind: Any) -> None:
        step = self.transform()
        for frame in self.frames():
            held = msgspec.structs.replace(frame, blobs=tuple(kind(bytes(blob)) for blob in frame.blobs))
            assert self.applied(step, held, dirt=0xFF) == self.applied(step, frame, dirt=0)

    def test_threads_share_one_step(self) -> None:
        step, frames = self.transform(), list(self.frames()) * ROUNDS
        with ThreadPoolExecutor(THREADS) as pool:
            results = list(pool.map(lambda frame: self.applied(step, frame), frames))
        for frame, result in zip(frames, results, strict=True):
            assert result.blobs == self.applied(step, frame).blobs

    def test_a_frame_that_was_cut_is_damaged(self) -> None:
        step = self.transform()
        for frame in self.frames():
            for index, blob in enumerate(frame.blobs):
                for changed in (bytes(blob)[:-1], bytes(blob)[: len(blob) // 2], b""):
                    blobs = (*frame.blobs[:index], changed, *frame.blobs[index + 1 :])
                    self._refused_or_right(step, msgspec.structs.replace(frame, blobs=blobs), frame)

    def test_a_frame_with_any_byte_changed_harms_nothing(self) -> None:
        step, (frame, *_) = self.transform(), self.frames()
        for index, blob in enumerate(frame.blobs):
            for at in range(0, len(blob), max(1, len(blob) // 64)):
                changed = bytearray(blob)
                changed[at] ^= 0xFF
                blobs = (*frame.blobs[:index], bytes(changed), *frame.blobs[index + 1 :])
                damaged = msgspec.structs.replace(frame, blobs=blobs)
                try:
                    assert self.applied(step, damaged).format == step.describe(frame.format)
                except WireError:
                    assert frame.format.encoding is not Encoding.NONE  # any pixel may be any number

    def test_formats_that_do_not_fit_are_refused_before_the_first_frame(self) -> None:
        for format in self.unfit:
            with pytest.raises(PipelineError) as caught:
                self.transform().describe(format)
            assert caught.value.accepted

    def _refused_or_right(self, step: Transform, frame: Frame, whole: Frame) -> None:
        """What was cut off may have held no pixel of the result: then it is as that of the whole frame."""
        try:
            result = self.applied(step, frame)
        except WireError:
            return
        if not self.takes_any_bytes:
            assert result == self.applied(step, whole)
