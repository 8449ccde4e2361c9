"""Frames of modules as one picture, where somebody asks for that: the geometry in the header says how."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from maxdaq_tango.errors import ConfigurationError, WireError
from maxdaq_tango.kernels.compression import decode_pixels
from maxdaq_tango.kernels.stitching import place_module
from maxdaq_tango.model import Compression, Encoding, Frame, FrameFormat, Orientation, RunRequest, SeriesStart
from maxdaq_tango.pipeline.transforms import Transform, choose_transforms, fill_value

MOST_PIXELS = 1 << 30
"""Of a picture: a header from outside must not cost the memory of the machine."""


class ModulePlaces(msgspec.Struct, frozen=True):
    """Where the modules of a detector lie in its picture."""

    shape: tuple[int, int]
    """(rows, columns) of the picture."""
    places: tuple[tuple[int, int, int], ...]
    """(row, column, quarter turns clockwise) of each module; of one whose header never came: (-1, -1, 0)."""


NOWHERE = (-1, -1, 0)


def read_places(metadata: Mapping[str, Any], format: FrameFormat) -> ModulePlaces:
    """Of a header as `module_stream` joins it: `x`, `y`, `rotation` with one number a module, and `full_shape`.

    A module whose header never came may have no place: it is not in the picture, and neither are its pixels in the
    stream. ConfigurationError, with the reason, when frames of `format` cannot be put together like that.
    """
    if len(format.shape) != 3 or format.chunk != (1, *format.shape[1:]):
        raise _refusal(f"a frame is {format.shape} in chunks of {format.chunk}", "modules, one chunk each")
    modules, rows, columns = format.shape
    whole = _whole_numbers(metadata.get("full_shape"))
    if len(whole) != 2 or min(whole) < 1 or math.prod(whole) > MOST_PIXELS:
        told = metadata.get("full_shape")
        raise _refusal(f"full_shape is {told!r}", f"[rows, columns], at most {MOST_PIXELS} pixels")
    lists = [metadata.get(key) for key in ("x", "y", "rotation")]
    each = [values for values in lists if isinstance(values, list | tuple) and len(values) == modules]
    if len(each) != len(lists):
        raise _refusal("x, y or rotation is not there", f"one number for each of {modules} modules")
    places = []
    for number, (x, y, rotation) in enumerate(zip(*each, strict=True)):
        if x is None and y is None:
            places.append(NOWHERE)
            continue
        if not _whole_numbers((x, y)) or not isinstance(rotation, int | float) or rotation % 90:
            raise _refusal(f"module {number} is at x {x!r}, y {y!r}, turned by {rotation!r}", "pixels, quarter turns")
        turns = int(rotation // 90) % 4
        down, right = (columns, rows) if turns % 2 else (rows, columns)
        if not 0 <= y <= whole[0] - down or not 0 <= x <= whole[1] - right:
            raise _refusal(f"module {number} at x {x}, y {y} is not inside {whole}", "modules inside the picture")
        places.append((y, x, turns))
    return ModulePlaces((whole[0], whole[1]), tuple(places))


def _whole_numbers(values: Any) -> tuple[int, ...]:
    """() where they are something else."""
    if not isinstance(values, list | tuple):
        return ()
    numbers = tuple(value for value in values if isinstance(value, int) and not isinstance(value, bool))
    return numbers if len(numbers) == len(values) else ()


def _refusal(answer: str, accepted: str) -> ConfigurationError:
    return ConfigurationError("put the modules into one picture", answer=answer, accepted=accepted)


class Stitch:
    """A `Transform`: modules become one picture, which is blank where there is no module."""

    def __init__(self, places: ModulePlaces) -> None:
        self._places = places

    def describe(self, format: FrameFormat) -> FrameFormat:
        """The picture, unpacked, in one chunk."""
        return FrameFormat(self._places.shape, format.dtype, Encoding.NONE)

    def room(self, format: FrameFormat) -> int:
        """The picture; and one module before, for which the decoder finds memory by itself."""
        return self.describe(format).nbytes + format.chunk_nbytes

    def apply(self, frame: Frame, into: memoryview) -> Frame:
        """Unpack module by module, each to its place."""
        format, target = frame.format, self.describe(frame.format)
        if len(frame.blobs) != len(self._places.places):
            raise WireError(
                "put modules together", answer=f"{len(frame.blobs)} modules", accepted=f"{len(self._places.places)}"
            )
        one = FrameFormat(format.chunk[1:], format.dtype, format.encoding)
        blob = into[: target.nbytes]
        canvas = np.frombuffer(blob, np.dtype(target.dtype).newbyteorder("<")).reshape(target.shape)
        canvas.fill(fill_value(target.dtype))
        for part, (row, column, turns) in zip(frame.blobs, self._places.places, strict=True):
            if row >= 0:
                pixels = np.ascontiguousarray(decode_pixels(one, (part,)), canvas.dtype)
                place_module(pixels, canvas, row, column, turns)
        return msgspec.structs.replace(frame, blobs=(blob,), format=target)


def steps_for(
    request: RunRequest,
    start: SeriesStart | None,
    format: FrameFormat,
    orientation: Orientation,
    convert: Transform | None = None,
) -> tuple[list[Transform], str]:
    """What frames of a series go through before they are stored, and in words what was decided about one picture.

    `convert` comes first, as it knows pixels by their place in the detector; it takes frames that come uncompressed.
    Where modules cannot be put together they are stored one by one: the frames are worth more than the picture.
    """
    if convert is not None:
        rest, told = steps_for(request, start, convert.describe(format), orientation)
        return [convert, *rest], told

    def others(format: FrameFormat, packing: Compression) -> list[Transform]:
        return choose_transforms(format, orientation, packing, request.verify, request.pixel_steps)

    if not request.stitch or not request.stream_format.has_modules:
        return others(format, request.compression), ""
    try:
        first = Stitch(read_places(start.metadata if start is not None else {}, format))
    except ConfigurationError as error:
        return others(format, request.compression), f"no: {error}"
    # As of other frames that are unpacked here: what came packed is packed again as bslz4, else as asked.
    packing = request.compression if format.encoding is Encoding.NONE else Compression.BSLZ4
    return [first, *others(first.describe(format), packing)], "modules are stored as one picture"
