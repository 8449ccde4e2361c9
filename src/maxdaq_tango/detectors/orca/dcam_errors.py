"""Errors of DCAM-API by name, and what they are in our tree."""

from __future__ import annotations

from enum import IntEnum

from maxdaq_tango.errors import DetectorError, DetectorOffline, DetectorRefused, DetectorTimeout


class DcamError(IntEnum):
    """Codes as unsigned numbers; a call returns them as a negative int32."""

    BUSY = 0x80000101
    ABORT = 0x80000102
    NOTREADY = 0x80000103
    NOTSTABLE = 0x80000104
    UNSTABLE = 0x80000105
    TIMEOUT = 0x80000106
    NOTBUSY = 0x80000107
    EXCLUDED = 0x80000110
    NORESOURCE = 0x80000201
    NOMEMORY = 0x80000203
    NOMODULE = 0x80000204
    NODRIVER = 0x80000205
    NOCAMERA = 0x80000206
    NOGRABBER = 0x80000207
    LOSTFRAME = 0x80000301
    COOLINGTROUBLE = 0x80000302
    NOTRIGGER = 0x80000303
    TEMPERATURE_TROUBLE = 0x80000304
    TOOFREQUENTTRIGGER = 0x80000305
    INVALIDCAMERA = 0x80000806
    INVALIDHANDLE = 0x80000807
    INVALIDPARAM = 0x80000808
    INVALIDVALUE = 0x80000821
    OUTOFRANGE = 0x80000822
    NOTWRITABLE = 0x80000823
    NOTREADABLE = 0x80000824
    INVALIDPROPERTYID = 0x80000825
    NOPROPERTY = 0x80000828
    INVALIDSUBARRAY = 0x8000082B
    ACCESSDENY = 0x8000082C
    NOVALUETEXT = 0x8000082D
    INVALIDFRAMEINDEX = 0x80000833
    UNREACH = 0x80000F01
    NOTIMPLEMENT = 0x80000F02
    NOTSUPPORT = 0x80000F03
    UNLOADED = 0x80000F04
    NOCONNECTION = 0x80000F07
    FAILREADCAMERA = 0x83001002
    FAILWRITECAMERA = 0x83001003
    INVALIDWAITHANDLE = 0x84002001


OFFLINE = frozenset(
    {
        DcamError.NOMODULE,
        DcamError.NODRIVER,
        DcamError.NOCAMERA,
        DcamError.NOGRABBER,
        DcamError.UNREACH,
        DcamError.UNLOADED,
        DcamError.NOCONNECTION,
        DcamError.FAILREADCAMERA,
        DcamError.FAILWRITECAMERA,
    }
)
"""The camera is not there, or no longer."""


class _Coded:
    """The code that a DCAM call returned, 0 where none was reached."""

    code: int = 0


class DcamRefused(_Coded, DetectorRefused):
    """A call came back with an error that is neither a time-out nor an absent camera."""


class DcamTimeout(_Coded, DetectorTimeout):
    """TIMEOUT."""


class DcamOffline(_Coded, DetectorOffline):
    """No library, no camera, or one that has gone."""


def unsigned(code: int) -> int:
    """An error as the manuals write it."""
    return code & 0xFFFFFFFF


def name_of_error(code: int) -> str:
    """`OUTOFRANGE (0x80000822)`; an unknown one by its number alone."""
    try:
        return f"{DcamError(unsigned(code)).name} (0x{unsigned(code):08X})"
    except ValueError:
        return f"error 0x{unsigned(code):08X}"


def failure(asked: str, code: int, *, of: str = "", accepted: str = "") -> DetectorError:
    """The error for what a call returned."""
    number = unsigned(code)
    kind: type[DcamRefused | DcamTimeout | DcamOffline] = DcamRefused
    if number == DcamError.TIMEOUT:
        kind = DcamTimeout
    elif number in OFFLINE:
        kind = DcamOffline
    error = kind(asked, of=of, answer=name_of_error(code), accepted=accepted)
    error.code = number
    return error


def code_of(error: BaseException) -> int:
    """The DCAM code behind an error, 0 where there is none."""
    return error.code if isinstance(error, _Coded) else 0
