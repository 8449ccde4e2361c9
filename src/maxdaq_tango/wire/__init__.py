"""Bytes to words and back. No sockets, no threads, no files to write pixels into: the room is sans-IO.

A receiver asks `decoder_for(format)` for a decoder and hands it the parts of one ZeroMQ message at a time; what comes
back is a SeriesStart, a Frame or a SeriesEnd. Where every module of a detector sends its own part of a frame it is
`module_decoder_for(format)`, and what comes back belongs to one module. Senders and simulators use the `encode_...`
functions of the same module, so that both directions of a format are read side by side:

    stins           the MAX IV generic stream
    dectris_v1      SIMPLON stream, multipart JSON
    dectris_v2      SIMPLON stream v2, CBOR
    lambda_modules  STINS, one connection for each module of a Lambda
    sls_json        slsReceiver (Jungfrau), one connection for each port
    marked          over which connection a message came
    blobs           what a packed pixel blob looks like from outside
    capture         recorded streams
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import Buffer, ModuleEvent, StreamFormat, WireEvent
from maxdaq_tango.wire.dectris_v1 import DectrisV1Decoder
from maxdaq_tango.wire.dectris_v2 import DectrisV2Decoder
from maxdaq_tango.wire.lambda_modules import LambdaModulesDecoder
from maxdaq_tango.wire.sls_json import SlsJsonDecoder
from maxdaq_tango.wire.stins import StinsDecoder

__all__ = ["WHOLE_FRAMES", "Decoder", "ModuleDecoder", "decoder_for", "module_decoder_for"]


class Decoder(Protocol):
    """One stream's messages to events."""

    def decode(self, parts: Sequence[Buffer]) -> WireEvent:
        """One whole message, in the order in which its parts arrived.

        The blobs of a Frame are the buffers given (Dectris v2: the bytes found inside), so they must not be changed
        or reused while the Frame is in use. Raises WireError and nothing else, whatever the bytes are; the message is
        then lost and the decoder is ready for the next one.
        """
        ...


class ModuleDecoder(Protocol):
    """The messages of all modules of one detector to events."""

    def decode(self, parts: Sequence[Buffer]) -> ModuleEvent:
        """As `Decoder.decode`, of a message that has its connection as first part (see `marked`)."""
        ...


_DECODERS: dict[StreamFormat, type[Decoder]] = {
    StreamFormat.STINS: StinsDecoder,
    StreamFormat.DECTRIS_V1: DectrisV1Decoder,
    StreamFormat.DECTRIS_V2: DectrisV2Decoder,
}
_MODULE_DECODERS: dict[StreamFormat, type[ModuleDecoder]] = {
    StreamFormat.LAMBDA_MODULES: LambdaModulesDecoder,
    StreamFormat.SLS_JSON: SlsJsonDecoder,
}
WHOLE_FRAMES = tuple(_DECODERS)
"""Formats in which one message is one frame."""


def decoder_for(format: StreamFormat) -> Decoder:
    """A decoder of that wire format, for one thread. WireError where modules send their own parts."""
    if format not in _DECODERS:
        raise WireError(
            f"read a stream of format {format}",
            answer="its messages are parts of frames, one for each module",
            accepted=", ".join(WHOLE_FRAMES),
        )
    return _DECODERS[format]()


def module_decoder_for(format: StreamFormat) -> ModuleDecoder:
    """A decoder of a format in which modules send their own parts, for one thread."""
    return _MODULE_DECODERS[format]()
