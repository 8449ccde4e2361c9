"""Detector units to energy or photons, as a transform: pixels of a Jungfrau by the calibration of its pixels.

The calibration is read when a receiver is prepared, and kept for the next series: of 9 million pixels it is 216 MB,
which the memory budget for frames does not know of. Whether it fits is known when the first frame is there; one that
does not ends the run as FAILED before anything is written.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from maxdaq_tango.errors import ConfigurationError, FileError, PipelineError, WireError
from maxdaq_tango.files.calibration import Calibration, read_calibration
from maxdaq_tango.kernels.jungfrau import convert, warm_up
from maxdaq_tango.model import Buffer, Encoding, Frame, FrameFormat
from maxdaq_tango.model.conversion import Conversion, ConvertTo

_reading = threading.Lock()


class Convert:
    """A `Transform`: uint16 of (modules, rows, columns), as the detector sent them, become float32 or int32."""

    def __init__(self, conversion: Conversion, calibration: Calibration) -> None:
        self._to = conversion.to
        self._name = conversion.calibration
        self._shape = calibration.shape
        self._dtype = np.dtype(conversion.to.dtype)
        unit_kev = 1.0 if conversion.to is ConvertTo.ENERGY else conversion.photon_energy_ev / 1000
        self._pedestal, self._scale = calibration.pedestal, calibration.scale(unit_kev)
        per_module = (3, self._shape[0], self._shape[1] * self._shape[2])
        # A blob is a module, so each has planes of its own, contiguous.
        self._planes = [
            (np.ascontiguousarray(pedestal), np.ascontiguousarray(scale))
            for pedestal, scale in zip(
                self._pedestal.reshape(per_module).swapaxes(0, 1),
                self._scale.reshape(per_module).swapaxes(0, 1),
                strict=True,
            )
        ]
        del self._pedestal, self._scale
        warm_up(conversion.to.dtype)

    @property
    def told(self) -> str:
        """For people: what is stored, and by what."""
        return f"{self._dtype.name} {self._to.unit}, by {self._name}"

    def describe(self, format: FrameFormat) -> FrameFormat:
        """Only the type changes. PipelineError for frames that the calibration is not for."""
        shape = format.shape if len(format.shape) == 3 else (1, *format.shape)
        if format.dtype != "uint16" or format.encoding is not Encoding.NONE:
            raise PipelineError(
                f"convert frames to {self._to.value}",
                answer=f"they are {format.dtype}, {format.encoding.value}",
                accepted="uint16 pixels as a Jungfrau sends them",
            )
        if shape != self._shape or format.chunk[-2:] != shape[-2:]:
            raise PipelineError(
                f"convert frames of shape {format.shape} to {self._to.value}",
                of=self._name,
                answer=f"it has pedestals and gains for frames of {self._shape}",
                accepted=f"a calibration of {(3, *shape)}",
            )
        return _typed(format, self._dtype.name)

    def room(self, format: FrameFormat) -> int:
        """The converted pixels."""
        return format.nbytes // format.item_nbytes * self._dtype.itemsize

    def apply(self, frame: Frame, into: memoryview) -> Frame:
        """Module by module, one right behind the other."""
        format = frame.format
        nbytes = format.chunk_nbytes // format.item_nbytes * self._dtype.itemsize
        blobs: list[Buffer] = []
        for at, (blob, (pedestal, scale)) in enumerate(zip(frame.blobs, self._planes, strict=True)):
            if len(blob) != format.chunk_nbytes:
                raise WireError("convert pixels", answer=f"{len(blob)} bytes", accepted=f"{format.chunk_nbytes}")
            place = into[at * nbytes : (at + 1) * nbytes]
            out: npt.NDArray[Any] = np.frombuffer(place, self._dtype)
            convert(np.frombuffer(blob, np.uint16), pedestal, scale, out)
            blobs.append(place)
        return msgspec.structs.replace(frame, blobs=tuple(blobs), format=_typed(format, self._dtype.name))


def converter(conversion: Conversion) -> Convert | None:
    """What a run is to do; None where frames stay as they come. FileError for what cannot be read or done.

    The last one is kept as long as its file does not change.
    """
    if conversion.to is ConvertTo.RAW:
        return None
    path = Path(conversion.calibration)
    try:
        conversion.check()
        about = path.stat()
    except ConfigurationError as error:
        raise FileError(error.asked, of=error.of, answer=error.answer, accepted=error.accepted) from None
    except OSError as error:
        raise FileError(
            "read the calibration", of=str(path), answer=error.strerror or str(error), accepted="a file"
        ) from None
    with _reading:
        return _converter(conversion, about.st_mtime_ns, about.st_size, about.st_ino)


@lru_cache(maxsize=1)
def _converter(conversion: Conversion, *_about: int) -> Convert:
    return Convert(conversion, read_calibration(Path(conversion.calibration)))


@lru_cache(maxsize=64)
def _typed(format: FrameFormat, dtype: str) -> FrameFormat:
    """One object for all frames of a series."""
    return msgspec.structs.replace(format, dtype=dtype)
