"""One ORCA through DCAM, in terms of what a detector is: region, exposure, triggers, pixels, a ring of buffers.

A camera belongs to one process, and the library to one `OrcaCamera`. Settings are made while no buffers are attached.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from maxdaq_tango.detectors.orca.dcam import NEWEST, DcamCamera, DcamLibrary, DcamWait, FrameStamp
from maxdaq_tango.detectors.orca.dcam_errors import DcamError, code_of, failure
from maxdaq_tango.detectors.orca.properties import (
    PACKED,
    UNIT_SIGNS,
    CaptureStatus,
    IdString,
    Kind,
    PixelType,
    Property,
    Switch,
    Unit,
    row_nbytes,
)
from maxdaq_tango.detectors.orca.protocol import CameraFormat, CameraIdentity, PropertyState, Region
from maxdaq_tango.errors import ConfigurationError, DetectorError, DetectorOffline, DetectorRefused

LEAST_SLOTS = 4
MOST_SLOTS = 1000
MOST_CHOICES = 64
"""Values of a mode that are asked for by name."""


class OrcaCamera:
    """A camera at `index` of the library at `library_path` ("" = where the loader looks). Closed until `open`.

    Any thread may read and write properties; `wait` is for one.
    """

    def __init__(self, library_path: str = "", index: int = 0, *, ring_nbytes: int = 512 << 20) -> None:
        self._path, self._index, self._ring_nbytes = library_path, index, ring_nbytes
        self._library: DcamLibrary | None = None
        self._camera: DcamCamera | None = None
        self._wait: DcamWait | None = None
        self._lock = threading.Lock()
        self._memory: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self._slots: npt.NDArray[np.uint8] = self._memory.reshape(0, 0)
        self.attached = False
        self.ids: frozenset[int] = frozenset()
        """Properties that it has."""

    def open(self) -> CameraIdentity:
        """Load the library, open the camera. May be called again: then it is closed first."""
        self.close()
        with self._lock:
            self._library = DcamLibrary(self._path)
            try:
                self._camera = self._library.open(self._index)
                self._wait = self._camera.wait()
                self.ids = frozenset(self._camera.property_ids())
            except BaseException:
                self._let_go()
                raise
        text = self._opened().string
        return CameraIdentity(
            vendor=text(IdString.VENDOR),
            model=text(IdString.MODEL),
            series=text(IdString.SERIES_NAME),
            serial_number=text(IdString.CAMERA_ID),
            camera_version=text(IdString.CAMERA_VERSION),
            driver_version=text(IdString.DRIVER_VERSION),
            api_version=text(IdString.API_VERSION),
            bus=text(IdString.BUS),
        )

    def close(self) -> None:
        """Let go of camera and library, once all calls have come back. May be called twice."""
        with self._lock:
            self._let_go()

    def _let_go(self) -> None:
        library, self._library = self._library, None
        self._wait = self._camera = None
        self.attached = False
        if library is not None:
            library.close()

    @property
    def is_open(self) -> bool:
        """There is a camera to talk to, as far as is known."""
        return self._camera is not None

    def _opened(self) -> DcamCamera:
        camera = self._camera
        if camera is None:
            raise DetectorOffline("use the camera", of=self._path, answer="it is not open", accepted="connect first")
        return camera

    # --- properties --------------------------------------------------------------------------------------------------

    def has(self, number: int) -> bool:
        """It has this property."""
        return number in self.ids

    def value(self, number: int) -> float:
        """Read a property."""
        return self._opened().value(number)

    def value_or(self, number: int, other: float) -> float:
        """Read one that a model may lack."""
        return self.value(number) if self.has(number) else other

    def set(self, number: int, value: float) -> float:
        """Write a property, and return what the camera made of it."""
        return self._opened().set_value(number, value)

    def set_if_other(self, number: int, value: float) -> None:
        """Write one that a model may lack, only where it would change: one that has a single value refuses none."""
        if self.has(number) and self.value(number) != value:
            self.set(number, value)

    def is_writable(self, number: int) -> bool:
        """It has this property and lets it be written."""
        return self.has(number) and self._opened().attributes(number).is_writable

    def limits(self, number: int) -> tuple[float, float]:
        """(least, most) of a property now."""
        found = self._opened().attributes(number)
        return found.minimum, found.maximum

    def state_of(self, number: int) -> PropertyState:
        """All about a property."""
        camera = self._opened()
        found = camera.attributes(number)
        choices: dict[str, float] = {}
        if found.kind is Kind.MODE:
            last = min(found.maximum, found.minimum + MOST_CHOICES)
            values = [found.minimum + step for step in range(int(last - found.minimum) + 1)]
            choices = {text: value for value in values if (text := camera.value_text(number, value)) is not None}
        return PropertyState(
            id=number,
            name=camera.name(number),
            value=camera.value(number) if found.is_readable else None,
            minimum=found.minimum,
            maximum=found.maximum,
            step=found.step,
            unit=UNIT_SIGNS.get(Unit(found.unit), "") if found.unit in set(Unit) else "",
            writable=found.is_writable,
            choices=choices,
        )

    def set_choice(self, number: int, word: str) -> float:
        """Write a mode by the camera's own word for a value."""
        choices = self.state_of(number).choices
        for text, value in choices.items():
            if text.casefold() == word.strip().casefold():
                return self.set(number, value)
        raise DetectorRefused(
            f"set {self._opened().name(number)} to {word!r}", answer="no such word", accepted=", ".join(choices)
        )

    # --- what a frame is ---------------------------------------------------------------------------------------------

    def region(self) -> Region:
        """Part of the sensor that is read, in pixels of the sensor."""
        value = self.value
        if value(Property.SUBARRAY_MODE) != Switch.ON:
            return Region(
                0, 0, *(int(self.limits(key)[1]) for key in (Property.SUBARRAY_HSIZE, Property.SUBARRAY_VSIZE))
            )
        return Region(
            int(value(Property.SUBARRAY_HPOS)),
            int(value(Property.SUBARRAY_VPOS)),
            int(value(Property.SUBARRAY_HSIZE)),
            int(value(Property.SUBARRAY_VSIZE)),
        )

    def set_region(self, region: Region) -> Region:
        """Read this part alone; all of the sensor switches the sub-array off. Refused parts leave the old region."""
        before, fits = self.region(), self._fitting(region)
        try:
            self._write_region(fits)
        except DetectorError:
            self._write_region(before)
            raise
        return self.region()

    def _fitting(self, region: Region) -> Region:
        """With 0 columns or rows as all that there are; the refusal of what does not fit says what does."""
        whole = {key: int(self.limits(key)[1]) for key in (Property.SUBARRAY_HSIZE, Property.SUBARRAY_VSIZE)}
        columns = region.columns or whole[Property.SUBARRAY_HSIZE] - region.left
        rows = region.rows or whole[Property.SUBARRAY_VSIZE] - region.top
        for name, position, size, key_position, key_size in (
            ("columns", region.left, columns, Property.SUBARRAY_HPOS, Property.SUBARRAY_HSIZE),
            ("rows", region.top, rows, Property.SUBARRAY_VPOS, Property.SUBARRAY_VSIZE),
        ):
            found, most = self._opened().attributes(key_size), whole[key_size]
            step, at_step = found.step or 1, self._opened().attributes(key_position).step or 1
            if position < 0 or size < found.minimum or position + size > most or position % at_step or size % step:
                raise DetectorRefused(
                    f"read {size} {name} from {position}",
                    answer=f"the sensor has {most} {name}",
                    accepted=f"a beginning in steps of {at_step:g}, {name} in steps of {step:g}",
                )
        return Region(region.left, region.top, columns, rows)

    def _write_region(self, region: Region) -> None:
        keys = (Property.SUBARRAY_HPOS, Property.SUBARRAY_HSIZE, Property.SUBARRAY_VPOS, Property.SUBARRAY_VSIZE)
        left, columns, top, rows = keys
        # From the edge, so that position and size never exceed the sensor together.
        for key, value in (
            (left, 0), (columns, region.columns), (left, region.left),
            (top, 0), (rows, region.rows), (top, region.top),
        ):  # fmt: skip
            self.set(key, value)
        whole = region.columns == self.limits(columns)[1] and region.rows == self.limits(rows)[1]
        self.set_if_other(Property.SUBARRAY_MODE, Switch.OFF if whole else Switch.ON)

    def format(self) -> CameraFormat:
        """Of a frame as it lies in a buffer. Refuses pixel types that no stream has a word for."""
        value = self.value
        number = int(self.value_or(Property.BUFFER_PIXEL_TYPE, value(Property.IMAGE_PIXEL_TYPE)))
        if number not in set(PixelType):
            raise DetectorRefused(
                f"read pixels of type {number}", answer="not known", accepted=", ".join(kind.name for kind in PixelType)
            )
        kind = PixelType(number)
        columns, rows = int(value(Property.IMAGE_WIDTH)), int(value(Property.IMAGE_HEIGHT))
        if kind in PACKED and columns % 2:
            raise DetectorRefused(
                f"read {kind.name} pixels, {columns} in a row",
                answer="rows end within a byte",
                accepted="an even number",
            )
        return CameraFormat(
            rows=rows,
            columns=columns,
            pixel_type=kind.name,
            bits=int(self.value_or(Property.BITS_PER_CHANNEL, 16)),
            row_nbytes=int(self.value_or(Property.BUFFER_ROW_BYTES, row_nbytes(kind, columns))),
            frame_nbytes=int(value(Property.BUFFER_FRAME_BYTES)),
            offset_nbytes=int(self.value_or(Property.BUFFER_TOP_OFFSET_BYTES, 0)),
        )

    # --- ring and capture --------------------------------------------------------------------------------------------

    def attach(self, format: CameraFormat) -> int:
        """Give the driver our own memory as ring; returns how many frames fit. The memory is used again and again."""
        nbytes = format.frame_nbytes
        slots = max(LEAST_SLOTS, min(MOST_SLOTS, self._ring_nbytes // max(1, nbytes)))
        if nbytes < format.least_nbytes:
            raise ConfigurationError(
                f"read frames of {format.rows} x {format.columns} {format.pixel_type} pixels",
                answer=f"the camera says that a buffer has {nbytes} bytes",
                accepted=f"{format.least_nbytes} or more",
            )
        if self._memory.size < slots * nbytes:
            self._memory = np.empty(slots * nbytes, np.uint8)
            self._memory.fill(0)  # touched now, as np.zeros does not: the driver shall not wait for pages in a series
        self._slots = self._memory[: slots * nbytes].reshape(slots, nbytes)
        self._opened().attach([self._slots[slot].ctypes.data for slot in range(slots)])
        self.attached = True
        return slots

    def view(self, slot: int, format: CameraFormat) -> npt.NDArray[np.uint8]:
        """The pixels in a slot, (rows, bytes of a row), without a copy. The driver may write them over at any time."""
        first = format.offset_nbytes
        lines = self._slots[slot, first : first + format.rows * format.row_nbytes]
        return lines.reshape(format.rows, format.row_nbytes)[:, : format.packed_row_nbytes]

    def release(self) -> None:
        """Take the memory back. Harmless when it was not given."""
        if self.attached:
            self._opened().release()
            self.attached = False

    def start(self) -> None:
        """Begin a capture, until `stop`."""
        self._opened().start()

    def stop(self) -> None:
        """End it at once. Harmless when none runs."""
        self._opened().stop()

    def fire_trigger(self) -> None:
        """One software trigger."""
        self._opened().fire_trigger()

    def status(self) -> CaptureStatus:
        """What the capture is doing. A camera that has gone is DetectorOffline or ERROR, as its driver likes."""
        return self._opened().status()

    def transferred(self) -> int:
        """Frames of this capture that have come."""
        return self._opened().transferred()[1]

    def stamp(self, slot: int) -> FrameStamp | None:
        """The driver's note of a slot; None where the driver gives none of attached buffers."""
        return self._or_none(lambda: self._opened().frame(slot))

    def newest(self) -> FrameStamp | None:
        """Of the newest frame."""
        return self._or_none(lambda: self._opened().frame(NEWEST))

    @staticmethod
    def _or_none(look: Callable[[], FrameStamp]) -> FrameStamp | None:
        try:
            return look()
        except DetectorRefused as error:
            if code_of(error) in (DcamError.NOTSUPPORT, DcamError.BUSY, DcamError.NOTREADY, DcamError.INVALIDPARAM):
                return None
            raise

    def wait(self, events: int, timeout_ms: int) -> bool:
        """Wait for an event, `abort_wait` or the time-out. True when the driver says that frames were lost.

        Raises when the camera has gone.
        """
        wait = self._wait
        if wait is None:
            raise DetectorOffline("wait for frames", of=self._path, answer="the camera is not open")
        code, _ = wait.start(events, timeout_ms)
        if code in (1, DcamError.TIMEOUT, DcamError.ABORT):
            return False
        if code == DcamError.LOSTFRAME:
            return True
        raise failure("wait for frames", code, of=self._path)

    def abort_wait(self) -> None:
        """Whoever is in `wait` comes back."""
        if (wait := self._wait) is not None:
            wait.abort()
