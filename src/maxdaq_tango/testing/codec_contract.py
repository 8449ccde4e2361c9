# ruff: noqa: D102 - a test's name says what it shows
"""What every wire format's decoder must do, as tests to inherit: name the format and a few good messages.

    class TestStins(CodecContract):
        format = StreamFormat.STINS
        messages = [header, image, end]     # each a list of parts, as they come out of the socket

Any bytes either are a message, or raise WireError, and nothing else happens.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maxdaq_tango.errors import WireError
from maxdaq_tango.kernels.compression import decode_pixels
from maxdaq_tango.model import (
    MOST_MODULES,
    Encoding,
    Frame,
    ModuleEnd,
    ModuleEvent,
    ModuleFrame,
    ModuleStart,
    SeriesEnd,
    SeriesNote,
    SeriesStart,
    StreamFormat,
    WireEvent,
    is_deeper,
)
from maxdaq_tango.testing.strategies import JSON_VALUES, damaged
from maxdaq_tango.wire import Decoder, ModuleDecoder, decoder_for, module_decoder_for

Message = Sequence[bytes]
_IN_TURN = settings(suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow], deadline=None)


class CodecContract:
    """The suite. A frame need not be unpackable by us (bszstd, say), but what can be unpacked is."""

    format: ClassVar[StreamFormat]
    messages: ClassVar[Sequence[Message]]
    """One of each kind at least, in the order in which a series has them."""

    def decoder(self) -> Decoder | ModuleDecoder:
        return module_decoder_for(self.format) if self.format.has_modules else decoder_for(self.format)

    def take(self, parts: Message) -> bool:
        """Decode as a receiver does, pixels included; False when the message was refused."""
        try:
            event = self.decoder().decode(parts)
        except WireError:
            return False
        self.check(event)
        return True

    def check(self, event: WireEvent | ModuleEvent) -> None:
        """Everything that a receiver takes for granted of what a decoder has let pass."""
        if isinstance(event, ModuleStart | ModuleFrame | ModuleEnd):
            assert self.format.has_modules
            assert 0 <= event.source < MOST_MODULES
        else:
            assert isinstance(event, SeriesStart | Frame | SeriesEnd | SeriesNote)
        if isinstance(event, Frame):
            assert event.frame_number >= 0
            assert len(event.blobs) == event.format.chunk_count
            self._unpack(event)
        elif isinstance(event, ModuleFrame):
            assert (event.blob is None) is bool(event.trouble)
            assert 0 <= event.module < (event.module_count or MOST_MODULES) <= MOST_MODULES
            assert not is_deeper(event.extras)
            if event.blob is not None:
                self._unpack(Frame(series="", frame_number=0, format=event.format, blobs=(event.blob,)))

    def _unpack(self, frame: Frame) -> None:
        try:
            assert decode_pixels(frame.format, frame.blobs).shape == frame.format.shape
        except WireError:
            assert frame.format.encoding is not Encoding.NONE  # of which the decoder knew the size

    # -- messages that are good --------------------------------------------------------------------------------------

    def test_good_messages_are_taken(self) -> None:
        assert len(self.messages) >= 2
        for message in self.messages:
            self.check(self.decoder().decode(message))

    def test_one_decoder_takes_series_after_series_and_forgets_what_it_refused(self) -> None:
        decoder = self.decoder()
        for _ in range(3):
            for message in self.messages:
                expected = self.decoder().decode(message)
                with pytest.raises(WireError):
                    decoder.decode([])
                assert _told(decoder.decode(message)) == _told(expected)

    @pytest.mark.parametrize("kind", [bytearray, memoryview])
    def test_the_kind_of_buffer_does_not_matter(self, kind: Any) -> None:
        for message in self.messages:
            expected = self.decoder().decode(message)
            assert _told(self.decoder().decode([kind(part) for part in message])) == _told(expected)

    def test_what_was_sent_is_not_changed(self) -> None:
        for message in self.messages:
            parts = [bytearray(part) for part in message]
            self.decoder().decode(parts)
            assert [bytes(part) for part in parts] == [bytes(part) for part in message]

    # -- and others --------------------------------------------------------------------------------------------------

    def test_any_bytes(self) -> None:
        @_IN_TURN
        @given(st.lists(st.binary(max_size=200), max_size=6))
        def check(parts: list[bytes]) -> None:
            self.take(parts)
            self.take([self.messages[0][0], *parts])

        check()

    def test_any_cbor(self) -> None:
        @_IN_TURN
        @given(JSON_VALUES)
        def check(value: Any) -> None:
            self.take([cbor2.dumps(value)])

        check()

    def test_damaged_messages(self) -> None:
        @_IN_TURN
        @given(st.sampled_from(self.messages).flatmap(damaged))
        def check(parts: list[bytes]) -> None:
            self.take(parts)

        check()

    def test_every_single_byte_flipped(self) -> None:
        flips = random.Random(11)
        for message in self.messages:
            for index, part in enumerate(message):
                for at in range(len(part)):
                    changed = bytes(part[:at]) + bytes([part[at] ^ flips.randrange(1, 256)]) + bytes(part[at + 1 :])
                    self.take([*message[:index], changed, *message[index + 1 :]])

    def test_a_message_cut_anywhere(self) -> None:
        for message in self.messages:
            for index, part in enumerate(message):
                self.take(message[:index])
                for at in range(0, len(part), max(1, len(part) // 200)):
                    self.take([*message[:index], part[:at], *message[index + 1 :]])


def _told(event: Any) -> Any:
    """What makes two events the same, also where one has an array."""
    if isinstance(event, ModuleStart):
        return event.source, _told(event.start)
    if isinstance(event, SeriesStart):
        return type(event), {k: v for k, v in event.metadata.items() if isinstance(v, int | float | str | list)}
    if isinstance(event, ModuleFrame):
        return type(event), event.frame_number, event.module, event.format, bytes(event.blob or b""), event.trouble
    if isinstance(event, Frame):
        return type(event), event.frame_number, event.format, [bytes(blob) for blob in event.blobs], event.extras
    return event
