"""Lambda (X-Spectrum) at MAX IV: four PUSH sockets, one for each module, each of which sends STINS.

Source: maxiv-science/streaming-receiver 21c9f92, class `Lambda`. `docs/reference/wire-lambda-modules.md` has the table.

An image states the shape of the whole, [modules, rows, columns] with `chunks` [1, rows, columns], and carries the one
chunk of its module; or the shape of its module alone. Which module it is only the connection tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import (
    Buffer,
    FrameFormat,
    ModuleEnd,
    ModuleEvent,
    ModuleFrame,
    ModuleStart,
    SeriesEnd,
    SeriesStart,
)
from maxdaq_tango.wire.blobs import accept_blob
from maxdaq_tango.wire.json_parts import encode_part, json_object, typed, unknown_keys
from maxdaq_tango.wire.marked import unmarked
from maxdaq_tango.wire.stins import IMAGE_KEYS, Image, StinsDecoder, image_format, wire_type

GEOMETRY = ("x", "y", "rotation")
"""Where the module lies in the picture of `full_shape` pixels: px, px, degrees. Each header has its own."""
_whole = StinsDecoder()


class LambdaModulesDecoder:
    """STINS messages of single modules to events. Holds no state: any thread may use one, in any order of messages."""

    def decode(self, parts: Sequence[Buffer]) -> ModuleEvent:
        """One message, marked with its connection. The blob is handed on as the buffer it came in."""
        source, message = unmarked(parts)
        raw = json_object(message[0], "STINS part 0 of a module")
        if raw.get("htype") == "image":
            return _image(source, raw, message)
        event = _whole.decode(message)
        if isinstance(event, SeriesStart):
            return ModuleStart(source, event)
        assert isinstance(event, SeriesEnd)
        return ModuleEnd(source, event.msg_number)


def _image(source: int, raw: dict[str, Any], message: Sequence[Buffer]) -> ModuleFrame:
    image = typed(Image, raw, "STINS image of a module")
    shape = image.shape[-2:]
    if len(image.shape) == 3 and image.chunks not in (None, (1, *shape)):
        raise WireError(
            f"read module image {image.frame}",
            answer=f"chunks {image.chunks} of shape {image.shape}",
            accepted=f"{(1, *shape)}, one module",
        )
    format = image_format(shape, image.type, image.compression, ())
    if len(message) != 2:
        raise WireError(
            f"read module image {image.frame}", answer=f"{len(message)} parts", accepted="2, JSON and pixels"
        )
    blob, trouble = None, ""
    try:
        blob = accept_blob(format, message[1])
    except WireError as error:
        trouble = str(error)
    return ModuleFrame(
        source=source,
        module=source,
        module_count=None,  # `shape` says what was configured; how many send is known by the connections
        frame_number=image.frame,
        format=format,
        blob=blob,
        trouble=trouble,
        msg_number=image.msg_number,
        discard=image.discard,
        exposure_time_s=image.exposure_time,
        start_time_s=image.start_time_s,
        head_nbytes=len(message[0]),
        extras=unknown_keys(raw, IMAGE_KEYS),
    )


def encode_image(msg_number: int, frame_number: int, modules: int, format: FrameFormat, blob: Buffer) -> list[Buffer]:
    """An image of one of `modules`. `format` is that of the module: (rows, columns). Header and end are as in STINS."""
    head = {
        "htype": "image",
        "msg_number": msg_number,
        "frame": frame_number,
        "shape": (modules, *format.shape),
        "chunks": (1, *format.shape),
        **wire_type(format),
    }
    return [encode_part(head), blob]
