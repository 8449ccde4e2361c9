"""Structures and calls of DCAM-API 4 for ctypes: packing 8, int32 is `int`, each structure begins with its size."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_double, c_int32, c_uint32, c_void_p


class InitStruct(ctypes.Structure):
    """Of `dcamapi_init`."""

    _fields_ = (
        ("size", c_int32),
        ("device_count", c_int32),
        ("reserved", c_int32),
        ("option_bytes", c_int32),
        ("options", c_void_p),
        ("guid", c_void_p),
    )


class OpenStruct(ctypes.Structure):
    """Of `dcamdev_open`."""

    _fields_ = (("size", c_int32), ("index", c_int32), ("camera", c_void_p))


class StringStruct(ctypes.Structure):
    """Of `dcamdev_getstring`."""

    _fields_ = (("size", c_int32), ("string", c_int32), ("text", c_char_p), ("text_bytes", c_int32))


class AttrStruct(ctypes.Structure):
    """Of `dcamprop_getattr`."""

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


class ValueTextStruct(ctypes.Structure):
    """Of `dcamprop_getvaluetext`."""

    _fields_ = (
        ("size", c_int32),
        ("property", c_int32),
        ("value", c_double),
        ("text", c_char_p),
        ("text_bytes", c_int32),
    )


class AttachStruct(ctypes.Structure):
    """Of `dcambuf_attach`."""

    _fields_ = (("size", c_int32), ("kind", c_int32), ("buffers", POINTER(c_void_p)), ("count", c_int32))


class TransferStruct(ctypes.Structure):
    """Of `dcamcap_transferinfo`."""

    _fields_ = (("size", c_int32), ("kind", c_int32), ("newest", c_int32), ("count", c_int32))


class FrameStruct(ctypes.Structure):
    """Of `dcambuf_lockframe`."""

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


class WaitOpenStruct(ctypes.Structure):
    """Of `dcamwait_open`."""

    _fields_ = (("size", c_int32), ("events", c_int32), ("wait", c_void_p), ("camera", c_void_p))


class WaitStartStruct(ctypes.Structure):
    """Of `dcamwait_start`."""

    _fields_ = (("size", c_int32), ("happened", c_int32), ("mask", c_int32), ("timeout_ms", c_int32))


SIGNATURES: dict[str, tuple[object, ...]] = {
    "dcamapi_init": (POINTER(InitStruct),),
    "dcamapi_uninit": (),
    "dcamdev_open": (POINTER(OpenStruct),),
    "dcamdev_close": (c_void_p,),
    "dcamdev_getstring": (c_void_p, POINTER(StringStruct)),
    "dcamprop_getattr": (c_void_p, POINTER(AttrStruct)),
    "dcamprop_getvalue": (c_void_p, c_int32, POINTER(c_double)),
    "dcamprop_setvalue": (c_void_p, c_int32, c_double),
    "dcamprop_setgetvalue": (c_void_p, c_int32, POINTER(c_double), c_int32),
    "dcamprop_queryvalue": (c_void_p, c_int32, POINTER(c_double), c_int32),
    "dcamprop_getnextid": (c_void_p, POINTER(c_int32), c_int32),
    "dcamprop_getname": (c_void_p, c_int32, c_char_p, c_int32),
    "dcamprop_getvaluetext": (c_void_p, POINTER(ValueTextStruct)),
    "dcambuf_alloc": (c_void_p, c_int32),
    "dcambuf_attach": (c_void_p, POINTER(AttachStruct)),
    "dcambuf_release": (c_void_p, c_int32),
    "dcambuf_lockframe": (c_void_p, POINTER(FrameStruct)),
    "dcambuf_copyframe": (c_void_p, POINTER(FrameStruct)),
    "dcamcap_start": (c_void_p, c_int32),
    "dcamcap_stop": (c_void_p,),
    "dcamcap_status": (c_void_p, POINTER(c_int32)),
    "dcamcap_transferinfo": (c_void_p, POINTER(TransferStruct)),
    "dcamcap_firetrigger": (c_void_p, c_int32),
    "dcamwait_open": (POINTER(WaitOpenStruct),),
    "dcamwait_close": (c_void_p,),
    "dcamwait_start": (c_void_p, POINTER(WaitStartStruct)),
    "dcamwait_abort": (c_void_p,),
}
"""Arguments of each call; all return int32."""
