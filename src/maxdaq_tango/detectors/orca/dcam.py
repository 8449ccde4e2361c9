"""Hamamatsu's `libdcamapi.so.4` through ctypes: structures, calls, errors by name. The only place that touches it.

A call blocks for as long as the camera does and lets go of the GIL meanwhile. DCAM is initialised once in a process:
whoever makes a `DcamLibrary` owns it and closes it. A camera may be used by several threads; `DcamWait.start` waits in
one while `abort` is called in another.

Source: DCAM-API 4 (June 2021) as public programs use it; packing 8, int32 is `int`, every structure begins with its
size, and a call returns 1 for success and a negative number for an error.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator, Sequence
from ctypes import byref, c_char_p, c_double, c_int32, c_void_p

import msgspec

from maxdaq_tango.detectors.orca.dcam_errors import DcamError, DcamOffline, code_of, failure, unsigned
from maxdaq_tango.detectors.orca.dcam_structures import (
    SIGNATURES,
    AttachStruct,
    AttrStruct,
    FrameStruct,
    InitStruct,
    OpenStruct,
    StringStruct,
    TransferStruct,
    ValueTextStruct,
    WaitOpenStruct,
    WaitStartStruct,
)
from maxdaq_tango.detectors.orca.properties import KIND_MASK, Access, Attributes, CaptureStatus, IdString, Kind, name_of

LIBRARY = "libdcamapi.so.4"
"""Where the dynamic loader finds it by itself."""
TEXT_BYTES = 256
ERROR_BIT = 0x80000000
CLOSE_S = 10.0
"""How long `close` waits for calls under way."""
SEQUENCE, SNAP = -1, 0
"""Modes of `dcamcap_start`: until stopped, or until every buffer is filled once."""
FRAME_READY, CYCLE_END, EXPOSURE_END, STOPPED = 2, 4, 8, 16
"""Events of `dcamwait_start`."""
NEWEST = -1
"""Frame index of `dcambuf_lockframe`."""


class FrameStamp(msgspec.Struct, frozen=True):
    """What the driver notes of a frame in a buffer."""

    index: int
    address: int
    row_nbytes: int
    frame_stamp: int
    """Exposures before it, as the camera counts."""
    time_s: float
    """Of the stamp's producer; 0 where nothing stamps."""


class DcamLibrary:
    """The loaded and initialised library. One at a time in a process."""

    def __init__(self, path: str = "") -> None:
        """Load and initialise. DetectorOffline when there is no library at `path` ("" = where the loader looks), or no
        camera.
        """
        self.path = path or LIBRARY
        self._open = False
        self._inside = 0
        """Calls under way. Nothing may be closed while there are any: the library frees what they use."""
        self._gate = threading.Condition()
        self._waits: list[c_void_p] = []
        self._cameras: list[c_void_p] = []
        try:
            self._library = ctypes.CDLL(self.path)
            for name, arguments in SIGNATURES.items():
                function = getattr(self._library, name)
                function.argtypes, function.restype = arguments, c_int32
        except (OSError, AttributeError) as error:
            raise DcamOffline(
                "load the DCAM library",
                of=self.path,
                answer=str(error),
                accepted=f"the path of Hamamatsu's {LIBRARY} (DCAM-API for Linux), or of a simulated one",
            ) from None
        init = InitStruct(size=ctypes.sizeof(InitStruct))
        code = self._library.dcamapi_init(byref(init))
        if code < 0:
            raise failure("initialise DCAM", code, of=self.path, accepted="a camera that is connected and switched on")
        self._open = True
        self.camera_count = int(init.device_count)

    def call(self, name: str, asked: str, *arguments: object, accepted: str = "") -> int:
        """One call; a negative answer becomes an error that says what was asked."""
        code = self.raw(name, *arguments)
        if code & ERROR_BIT:
            raise failure(asked, code, of=self.path, accepted=accepted)
        return code

    def raw(self, name: str, *arguments: object) -> int:
        """One call whose errors are ordinary: the code as an unsigned number, 1 for success."""
        with self._gate:
            if not self._open:
                return DcamError.UNLOADED
            self._inside += 1
        try:
            return unsigned(int(getattr(self._library, name)(*arguments)))
        finally:
            with self._gate:
                self._inside -= 1
                self._gate.notify_all()

    def open(self, index: int) -> DcamCamera:
        """Camera `index`, counted from 0."""
        given = OpenStruct(size=ctypes.sizeof(OpenStruct), index=index)
        accepted = f"0 to {self.camera_count - 1}" if self.camera_count else "a camera that is there"
        self.call("dcamdev_open", f"open camera {index}", byref(given), accepted=accepted)
        self._cameras.append(c_void_p(given.camera))
        return DcamCamera(self, self._cameras[-1])

    def open_wait(self, camera: c_void_p) -> DcamWait:
        """Something to wait for the events of a camera with."""
        given = WaitOpenStruct(size=ctypes.sizeof(WaitOpenStruct), camera=camera)
        self.call("dcamwait_open", "open a wait", byref(given))
        self._waits.append(c_void_p(given.wait))
        return DcamWait(self, self._waits[-1])

    def close(self) -> None:
        """Let go of every camera, once all calls have come back; new ones are refused. May be called twice.

        DetectorTimeout when one does not come back.
        """
        with self._gate:
            if not self._open:
                return
            self._open = False
            if not self._gate.wait_for(lambda: not self._inside, CLOSE_S):
                raise failure("close the DCAM library", DcamError.TIMEOUT, of=self.path)
        for wait in self._waits:
            self._library.dcamwait_close(wait)
        for camera in self._cameras:
            self._library.dcamdev_close(camera)
        self._library.dcamapi_uninit()


class DcamCamera:
    """One opened camera; the calls of DCAM with Python's types."""

    def __init__(self, library: DcamLibrary, handle: c_void_p) -> None:
        self.library = library
        self.handle = handle

    def string(self, which: IdString) -> str:
        """A text about the camera, "" where it has none of that kind."""
        text = ctypes.create_string_buffer(TEXT_BYTES)
        given = StringStruct(ctypes.sizeof(StringStruct), which, ctypes.cast(text, c_char_p), TEXT_BYTES)
        return text.value.decode(errors="replace") if self._raw("dcamdev_getstring", byref(given)) == 1 else ""

    # --- properties --------------------------------------------------------------------------------------------------

    def attributes(self, number: int) -> Attributes:
        """Limits and access of a property, as they are now."""
        found = AttrStruct(size=ctypes.sizeof(AttrStruct), property=number)
        self._call("dcamprop_getattr", f"describe property {name_of(number)}", byref(found))
        kind = found.attribute & KIND_MASK
        return Attributes(
            Access(found.attribute & sum(Access)),
            Kind(kind) if kind in set(Kind) else Kind.NONE,
            found.unit,
            found.minimum,
            found.maximum,
            found.step,
            found.default,
        )

    def value(self, number: int) -> float:
        """Read a property."""
        value = c_double()
        self._call("dcamprop_getvalue", f"read property {name_of(number)}", number, byref(value))
        return value.value

    def set_value(self, number: int, value: float) -> float:
        """Write a property, and return what the camera made of it."""
        found = c_double(value)
        code = self._raw("dcamprop_setgetvalue", number, byref(found), 0)
        if code != 1:
            asked = f"set property {name_of(number)} to {value:g}"
            raise failure(asked, code, of=self.library.path, accepted=self._accepted(number, code))
        return found.value

    def _accepted(self, number: int, code: int) -> str:
        try:
            limits = self.attributes(number)
        except Exception:  # the refusal is what is told, whatever the camera says of its limits
            return ""
        if not limits.is_writable:
            return "reading it"
        if code == DcamError.NOTWRITABLE or code in (DcamError.BUSY, DcamError.NOTSTABLE, DcamError.ACCESSDENY):
            return "when no capture runs and no buffers are attached"
        step = f" in steps of {limits.step:g}" if limits.step else ""
        return f"{limits.minimum:g} to {limits.maximum:g}{step}"

    def query_value(self, number: int, value: float, option: int) -> float | None:
        """The value after or before another one (`NEXT`, `PRIOR`); None at the end."""
        found = c_double(value)
        signed = option - (1 << 32) if option >= 1 << 31 else option
        return found.value if self._raw("dcamprop_queryvalue", number, byref(found), signed) == 1 else None

    def property_ids(self) -> Iterator[int]:
        """Numbers of all properties that the camera has."""
        number = c_int32(0)
        while self._raw("dcamprop_getnextid", byref(number), 0) == 1:
            yield number.value

    def name(self, number: int) -> str:
        """The camera's own name of a property."""
        text = ctypes.create_string_buffer(TEXT_BYTES)
        self._call("dcamprop_getname", f"name property {name_of(number)}", number, text, TEXT_BYTES)
        return text.value.decode(errors="replace")

    def value_text(self, number: int, value: float) -> str | None:
        """The camera's own word for a value of a mode, None where there is no such value."""
        text = ctypes.create_string_buffer(TEXT_BYTES)
        given = ValueTextStruct(ctypes.sizeof(ValueTextStruct), number, value, ctypes.cast(text, c_char_p), TEXT_BYTES)
        if self._raw("dcamprop_getvaluetext", byref(given)) != 1:
            return None
        return text.value.decode(errors="replace")

    # --- buffers and capture -----------------------------------------------------------------------------------------

    def allocate(self, count: int) -> None:
        """Buffers of the library's own."""
        self._call("dcambuf_alloc", f"allocate {count} buffers", count)

    def attach(self, addresses: Sequence[int]) -> None:
        """Our own buffers, each of BUFFER_FRAME_BYTES; they must live until `release`."""
        buffers = (c_void_p * len(addresses))(*addresses)
        given = AttachStruct(ctypes.sizeof(AttachStruct), 0, buffers, len(addresses))
        self._call("dcambuf_attach", f"attach {len(addresses)} buffers", byref(given))

    def release(self) -> None:
        """Give the buffers back. BUSY during a capture."""
        self._call("dcambuf_release", "release the buffers", 0, accepted="when the capture has been stopped")

    def start(self, mode: int = SEQUENCE) -> None:
        """Begin a capture."""
        self._call("dcamcap_start", "start a capture", mode, accepted="when buffers are attached and no capture runs")

    def stop(self) -> None:
        """End a capture at once. Harmless when none runs."""
        code = self._raw("dcamcap_stop")
        if code not in (1, DcamError.NOTBUSY, DcamError.NOTREADY, DcamError.NOTSTABLE):
            raise failure("stop the capture", code, of=self.library.path)

    def status(self) -> CaptureStatus:
        """What the capture is doing."""
        status = c_int32()
        self._call("dcamcap_status", "read the capture status", byref(status))
        return CaptureStatus(status.value) if status.value in set(CaptureStatus) else CaptureStatus.ERROR

    def transferred(self) -> tuple[int, int]:
        """(index of the newest filled buffer, frames transferred since the start)."""
        found = TransferStruct(size=ctypes.sizeof(TransferStruct))
        self._call("dcamcap_transferinfo", "read the transfer count", byref(found))
        return found.newest, found.count

    def fire_trigger(self) -> None:
        """One software trigger."""
        self._call("dcamcap_firetrigger", "fire a trigger", 0, accepted="a capture with trigger source SOFTWARE")

    def frame(self, index: int) -> FrameStamp:
        """What is known of the frame in a buffer. BUSY where it has not been filled."""
        found = FrameStruct(size=ctypes.sizeof(FrameStruct), index=index)
        self._call("dcambuf_lockframe", f"look at buffer {index}", byref(found))
        time_s = found.seconds + found.microseconds * 1e-6
        return FrameStamp(found.index, found.buffer or 0, found.row_bytes, found.frame_stamp, time_s)

    def wait(self) -> DcamWait:
        """Something to wait with."""
        return self.library.open_wait(self.handle)

    def _call(self, name: str, asked: str, *arguments: object, accepted: str = "") -> int:
        return self.library.call(name, asked, self.handle, *arguments, accepted=accepted)

    def _raw(self, name: str, *arguments: object) -> int:
        return self.library.raw(name, self.handle, *arguments)


class DcamWait:
    """Waits for events of one camera. `start` in one thread, `abort` in any."""

    def __init__(self, library: DcamLibrary, handle: c_void_p) -> None:
        self._library, self._handle = library, handle

    def start(self, events: int, timeout_ms: int) -> tuple[int, int]:
        """(answer, events that happened). The answer is 1, TIMEOUT, ABORT, LOSTFRAME, or worse."""
        given = WaitStartStruct(ctypes.sizeof(WaitStartStruct), 0, events, timeout_ms)
        return self._library.raw("dcamwait_start", self._handle, byref(given)), int(given.happened)

    def abort(self) -> None:
        """Whoever waits comes back with ABORT."""
        self._library.raw("dcamwait_abort", self._handle)


__all__ = ["DcamCamera", "DcamLibrary", "DcamWait", "FrameStamp", "code_of"]
