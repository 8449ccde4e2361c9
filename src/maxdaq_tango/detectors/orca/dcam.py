"""Hamamatsu's `libdcamapi.so.4` through ctypes: structures, calls, errors by name. The only place that touches it.

A call blocks for as long as the camera does and lets go of the GIL meanwhile. DCAM is initialised once in a process:
whoever makes a `DcamLibrary` owns it and closes it. A camera may be used by several threads; `DcamWait.start` waits in
one while `abort` is called in another.

Source: DCAM-API 4 (June 2021) as public programs use it; packing 8, int32 is `int`, every structure begins with its
size, and a call returns 1 for success and a negative number for an error.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from ctypes import POINTER, byref, c_char_p, c_double, c_int32, c_uint32, c_void_p

import msgspec

from maxdaq_tango.detectors.orca.dcam_errors import DcamError, DcamOffline, code_of, failure, unsigned
from maxdaq_tango.detectors.orca.properties import KIND_MASK, Access, Attributes, CaptureStatus, IdString, Kind, name_of

LIBRARY = "libdcamapi.so.4"
"""Where the dynamic loader finds it by itself."""
TEXT_BYTES = 256
SEQUENCE, SNAP = -1, 0
"""Modes of `dcamcap_start`: until stopped, or until every buffer is filled once."""
FRAME_READY, CYCLE_END, EXPOSURE_END, STOPPED = 2, 4, 8, 16
"""Events of `dcamwait_start`."""
NEWEST = -1
"""Frame index of `dcambuf_lockframe`."""


class _Init(ctypes.Structure):
    _fields_ = (
        ("size", c_int32),
        ("device_count", c_int32),
        ("reserved", c_int32),
        ("option_bytes", c_int32),
        ("options", c_void_p),
        ("guid", c_void_p),
    )


class _Open(ctypes.Structure):
    _fields_ = (("size", c_int32), ("index", c_int32), ("camera", c_void_p))


class _String(ctypes.Structure):
    _fields_ = (("size", c_int32), ("string", c_int32), ("text", c_char_p), ("text_bytes", c_int32))


class _Attr(ctypes.Structure):
    _fields_ = (
        ("size", c_int32),
        ("property", c_int32),
        ("option", c_int32),
        ("reserved1", c_int32),
        ("attribute", c_uint32),
        ("group", c_int32),
        ("unit", c_int32),
        ("attribute2", c_int32),
        ("minimum", c_double),
        ("maximum", c_double),
        ("step", c_double),
        ("default", c_double),
        ("channels", c_int32),
        ("reserved3", c_int32),
        ("views", c_int32),
        ("elements", c_int32),
        ("array_base", c_int32),
        ("element_step", c_int32),
    )


class _ValueText(ctypes.Structure):
    _fields_ = (
        ("size", c_int32),
        ("property", c_int32),
        ("value", c_double),
        ("text", c_char_p),
        ("text_bytes", c_int32),
    )


class _Attach(ctypes.Structure):
    _fields_ = (("size", c_int32), ("kind", c_int32), ("buffers", POINTER(c_void_p)), ("count", c_int32))


class _Transfer(ctypes.Structure):
    _fields_ = (("size", c_int32), ("kind", c_int32), ("newest", c_int32), ("count", c_int32))


class _Frame(ctypes.Structure):
    _fields_ = (
        ("size", c_int32),
        ("kind", c_int32),
        ("option", c_int32),
        ("index", c_int32),
        ("buffer", c_void_p),
        ("row_bytes", c_int32),
        ("type", c_int32),
        ("width", c_int32),
        ("height", c_int32),
        ("left", c_int32),
        ("top", c_int32),
        ("seconds", c_uint32),
        ("microseconds", c_int32),
        ("frame_stamp", c_int32),
        ("camera_stamp", c_int32),
    )


class _WaitOpen(ctypes.Structure):
    _fields_ = (("size", c_int32), ("events", c_int32), ("wait", c_void_p), ("camera", c_void_p))


class _WaitStart(ctypes.Structure):
    _fields_ = (("size", c_int32), ("happened", c_int32), ("mask", c_int32), ("timeout_ms", c_int32))


_SIGNATURES: dict[str, tuple[object, ...]] = {
    "dcamapi_init": (POINTER(_Init),),
    "dcamapi_uninit": (),
    "dcamdev_open": (POINTER(_Open),),
    "dcamdev_close": (c_void_p,),
    "dcamdev_getstring": (c_void_p, POINTER(_String)),
    "dcamprop_getattr": (c_void_p, POINTER(_Attr)),
    "dcamprop_getvalue": (c_void_p, c_int32, POINTER(c_double)),
    "dcamprop_setvalue": (c_void_p, c_int32, c_double),
    "dcamprop_setgetvalue": (c_void_p, c_int32, POINTER(c_double), c_int32),
    "dcamprop_queryvalue": (c_void_p, c_int32, POINTER(c_double), c_int32),
    "dcamprop_getnextid": (c_void_p, POINTER(c_int32), c_int32),
    "dcamprop_getname": (c_void_p, c_int32, c_char_p, c_int32),
    "dcamprop_getvaluetext": (c_void_p, POINTER(_ValueText)),
    "dcambuf_alloc": (c_void_p, c_int32),
    "dcambuf_attach": (c_void_p, POINTER(_Attach)),
    "dcambuf_release": (c_void_p, c_int32),
    "dcambuf_lockframe": (c_void_p, POINTER(_Frame)),
    "dcambuf_copyframe": (c_void_p, POINTER(_Frame)),
    "dcamcap_start": (c_void_p, c_int32),
    "dcamcap_stop": (c_void_p,),
    "dcamcap_status": (c_void_p, POINTER(c_int32)),
    "dcamcap_transferinfo": (c_void_p, POINTER(_Transfer)),
    "dcamcap_firetrigger": (c_void_p, c_int32),
    "dcamwait_open": (POINTER(_WaitOpen),),
    "dcamwait_close": (c_void_p,),
    "dcamwait_start": (c_void_p, POINTER(_WaitStart)),
    "dcamwait_abort": (c_void_p,),
}


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
        try:
            self._library = ctypes.CDLL(self.path)
            for name, arguments in _SIGNATURES.items():
                function = getattr(self._library, name)
                function.argtypes, function.restype = arguments, c_int32
        except (OSError, AttributeError) as error:
            raise DcamOffline(
                "load the DCAM library",
                of=self.path,
                answer=str(error),
                accepted=f"the path of Hamamatsu's {LIBRARY} (DCAM-API for Linux), or of a simulated one",
            ) from None
        init = _Init(size=ctypes.sizeof(_Init))
        code = self._library.dcamapi_init(byref(init))
        if code < 0:
            raise failure("initialise DCAM", code, of=self.path, accepted="a camera that is connected and switched on")
        self._open = True
        self.camera_count = int(init.device_count)

    def call(self, name: str, asked: str, *arguments: object, accepted: str = "") -> int:
        """One call; a negative answer becomes an error that says what was asked."""
        if not self._open:
            raise failure(asked, DcamError.UNLOADED, of=self.path)
        code = int(getattr(self._library, name)(*arguments))
        if code < 0:
            raise failure(asked, code, of=self.path, accepted=accepted)
        return code

    def raw(self, name: str, *arguments: object) -> int:
        """One call whose errors are ordinary: the code as an unsigned number, 1 for success."""
        if not self._open:
            return DcamError.UNLOADED
        return unsigned(int(getattr(self._library, name)(*arguments)))

    def open(self, index: int) -> DcamCamera:
        """Camera `index`, counted from 0."""
        given = _Open(size=ctypes.sizeof(_Open), index=index)
        accepted = f"0 to {self.camera_count - 1}" if self.camera_count else "a camera that is there"
        self.call("dcamdev_open", f"open camera {index}", byref(given), accepted=accepted)
        return DcamCamera(self, c_void_p(given.camera))

    def close(self) -> None:
        """Let go of every camera. May be called twice."""
        if self._open:
            self._library.dcamapi_uninit()
            self._open = False


class DcamCamera:
    """One opened camera; the calls of DCAM with Python's types."""

    def __init__(self, library: DcamLibrary, handle: c_void_p) -> None:
        self.library = library
        self.handle = handle

    def close(self) -> None:
        """Let go of it; a capture that runs is ended."""
        self.library.raw("dcamdev_close", self.handle)

    def string(self, which: IdString) -> str:
        """A text about the camera, "" where it has none of that kind."""
        text = ctypes.create_string_buffer(TEXT_BYTES)
        given = _String(ctypes.sizeof(_String), which, ctypes.cast(text, c_char_p), TEXT_BYTES)
        return text.value.decode(errors="replace") if self._raw("dcamdev_getstring", byref(given)) == 1 else ""

    # --- properties --------------------------------------------------------------------------------------------------

    def attributes(self, number: int) -> Attributes:
        """Limits and access of a property, as they are now."""
        found = _Attr(size=ctypes.sizeof(_Attr), property=number)
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
        given = _ValueText(ctypes.sizeof(_ValueText), number, value, ctypes.cast(text, c_char_p), TEXT_BYTES)
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
        given = _Attach(ctypes.sizeof(_Attach), 0, buffers, len(addresses))
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
        found = _Transfer(size=ctypes.sizeof(_Transfer))
        self._call("dcamcap_transferinfo", "read the transfer count", byref(found))
        return found.newest, found.count

    def fire_trigger(self) -> None:
        """One software trigger."""
        self._call("dcamcap_firetrigger", "fire a trigger", 0, accepted="a capture with trigger source SOFTWARE")

    def frame(self, index: int) -> FrameStamp:
        """What is known of the frame in a buffer. BUSY where it has not been filled."""
        found = _Frame(size=ctypes.sizeof(_Frame), index=index)
        self._call("dcambuf_lockframe", f"look at buffer {index}", byref(found))
        time_s = found.seconds + found.microseconds * 1e-6
        return FrameStamp(found.index, found.buffer or 0, found.row_bytes, found.frame_stamp, time_s)

    def wait(self) -> DcamWait:
        """Something to wait with."""
        given = _WaitOpen(size=ctypes.sizeof(_WaitOpen), camera=self.handle)
        self.library.call("dcamwait_open", "open a wait", byref(given))
        return DcamWait(self.library, c_void_p(given.wait))

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
        given = _WaitStart(ctypes.sizeof(_WaitStart), 0, events, timeout_ms)
        return self._library.raw("dcamwait_start", self._handle, byref(given)), int(given.happened)

    def abort(self) -> None:
        """Whoever waits comes back with ABORT; when nobody does, the next one."""
        self._library.raw("dcamwait_abort", self._handle)

    def close(self) -> None:
        """Nobody may be waiting."""
        self._library.raw("dcamwait_close", self._handle)


__all__ = ["DcamCamera", "DcamLibrary", "DcamWait", "FrameStamp", "code_of"]
