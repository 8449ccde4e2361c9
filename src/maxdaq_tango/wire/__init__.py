"""Bytes to words and back. No sockets, no threads, no files to write pixels into: the room is sans-IO.

A receiver asks `decoder_for(format)` for a decoder and hands it the parts of one ZeroMQ message at a time; what comes
back is a SeriesStart, a Frame or a SeriesEnd. Senders and simulators use the `encode_...` functions of the same
module, so that both directions of a format are read side by side:

    stins           the MAX IV generic stream
    dectris_v1      SIMPLON stream, multipart JSON
    dectris_v2      SIMPLON stream v2, CBOR
    blobs           what a packed pixel blob looks like from outside
    capture         recorded streams
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from maxdaq_tango.model import Buffer, StreamFormat, WireEvent
from maxdaq_tango.wire.dectris_v1 import DectrisV1Decoder
from maxdaq_tango.wire.dectris_v2 import DectrisV2Decoder
from maxdaq_tango.wire.stins import StinsDecoder

__all__ = ["Decoder", "decoder_for"]


class Decoder(Protocol):
    """One stream's messages to events."""

    def decode(self, parts: Sequence[Buffer]) -> WireEvent:
        """One whole message, in the order in which its parts arrived.

        The blobs of a Frame are the buffers given (Dectris v2: the bytes found inside), so they must not be changed
        or reused while the Frame is in use. Raises WireError and nothing else, whatever the bytes are; the message is
        then lost and the decoder is ready for the next one.
        """
        ...


def decoder_for(fmt: StreamFormat) -> Decoder:
    """A decoder of that wire format, for one thread."""
    decoders: dict[StreamFormat, type[Decoder]] = {
        StreamFormat.STINS: StinsDecoder,
        StreamFormat.DECTRIS_V1: DectrisV1Decoder,
        StreamFormat.DECTRIS_V2: DectrisV2Decoder,
    }
    return decoders[fmt]()
