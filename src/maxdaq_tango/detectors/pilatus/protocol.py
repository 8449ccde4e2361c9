"""camserver's grammar, for both sides of its TCP port: bytes to requests and replies, and the names of image files.

Sources: DECTRIS User Manual PILATUS3 2.1 (chapters 6, 7, 14) and PILATUS2 1.5, as areaDetector/ADPilatus ships them;
what its public clients send and parse (areaDetector/ADPilatus, esrf-bliss/Lima-camera-pilatus,
maxiv-science/pilatus-streamer).

    request    one line of text; ended by NUL (DECTRIS' own client), newline (ADPilatus) or 0x18 (LImA)
    reply      `<code> OK|ERR <text>`, ended by 0x18. Newlines may stand inside.

One reading may bring several replies, or a part of one. Sentences differ between versions of tvx, so only codes and
numbers are read from them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum

import msgspec

from maxdaq_tango.errors import WireError

DEFAULT_PORT = 41234
PROXY_PORT = 8888
"""Of maxiv-science/pilatus-streamer, which passes camserver's commands on."""
END_OF_REPLY = b"\x18"
REQUEST_ENDS = b"\x00\n\x18"
END_OF_REQUEST = b"\x00"
"""What we send: DECTRIS' own client does, and MAX IV's proxy understands nothing else."""
LONGEST = 1 << 20
"""Bytes without an end; more is no camserver."""


class Code(IntEnum):
    """What a reply is about."""

    NO_ACCESS = -1
    UNKNOWN_COMMAND = 1
    CAMERA_SETUP = 2
    DISK_FREE = 5
    LAST_IMAGE = 6
    EXPOSURE_FINISHED = 7
    """An event: it comes when the last image has been written, whatever was asked last."""
    IMAGE_PATH = 10
    KILLED = 13
    """An event as well."""
    ACKNOWLEDGED = 15
    PROCESS_ID = 16
    TELEMETRY = 18
    VERSION = 24
    TEMPERATURES = 215


EVENTS = frozenset({Code.EXPOSURE_FINISHED, Code.KILLED})

STARTS = ("Exposure", "ExtTrigger", "ExtMTrigger", "ExtEnable")
"""Commands that begin an exposure; each takes the name of a file."""
SLOW = ("SetThreshold", "SetEnergy", "SetCu", "SetMo", "SetCr", "SetFe", "SetAg")
"""All chips are trimmed anew: up to 96 s for a 6M. NImages and GapFill have their defaults afterwards."""
COMMANDS = (
    *STARTS,
    *SLOW,
    "NImages",
    "ExpTime",
    "ExpPeriod",
    "Delay",
    "NExpFrame",
    "ImgPath",
    "GapFill",
    "SetAckInt",
    "MXsettings",
    "HeaderString",
    "LdBadPixMap",
    "LdFlatField",
    "RateCorrLUTDir",
    "Tau",
    "ReadoutTime",
    "SetRetriggerMode",
    "DebTime",
    "THread",
    "Df",
    "Telemetry",
    "Version",
    "CamSetup",
    "ExpEnd",
    "ShowPID",
    "dbglvl",
    "ResetCam",
    "ResetModulePower",
    "K",
    "camcmd",
)
MX_KEYS = (
    "Wavelength",
    "Energy_range",
    "Detector_distance",
    "Detector_Voffset",
    "Beam_xy",
    "Flux",
    "Filter_transmission",
    "Start_angle",
    "Angle_increment",
    "Detector_2theta",
    "Polarization",
    "Alpha",
    "Kappa",
    "Phi",
    "Phi_increment",
    "Chi",
    "Chi_increment",
    "Omega",
    "Omega_increment",
    "Oscillation_axis",
    "N_oscillations",
    "Start_position",
    "Position_increment",
    "Shutter_time",
)
"""Words of `MXsettings`; each stands with its value in the header of every image that follows."""

ANSWER_S, SLOW_ANSWER_S, START_S = 5.0, 110.0, 10.0
"""How long an answer may take: of most commands, of SLOW ones, of STARTS (which make ready first)."""

MOST_IMAGES = 65_535
LONGEST_EXPOSURE_S, SHORTEST_EXPOSURE_S = 60 * 86_400.0, 1e-6
SHORTEST_PERIOD_S = 2e-3
READOUT_S = {2: 3e-3, 3: 0.95e-3}
"""By generation: what ExpPeriod must be longer than ExpTime."""
LONGEST_HEADER_STRING = 68


class Reply(msgspec.Struct, frozen=True):
    """One answer or event."""

    code: int
    ok: bool
    text: str

    @property
    def is_event(self) -> bool:
        """It answers nothing that was asked."""
        return self.code in EVENTS

    def encode(self) -> bytes:
        """As camserver sends it."""
        return f"{self.code} {'OK' if self.ok else 'ERR'} {self.text}".encode("latin-1", "replace") + END_OF_REPLY


_REPLY = re.compile(r"\s*(-?\d{1,9})\s+(OK|ERR)(?:[ \t](.*))?\Z", re.DOTALL)


def parse_reply(text: str) -> Reply:
    """One reply without its end. WireError when it is none."""
    found = _REPLY.match(text)
    if found is None:
        raise WireError("read a reply of camserver", answer=repr(text[:60]), accepted="<code> OK|ERR <text>")
    return Reply(int(found[1]), found[2] == "OK", (found[3] or "").strip(" \t"))


class _Pieces:
    """Cuts a stream of bytes at its ends, however it comes in."""

    def __init__(self, ends: bytes) -> None:
        self._ends = re.compile(b"[" + re.escape(ends) + b"]")
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The pieces that are complete now."""
        *complete, self._rest = self._ends.split(self._rest + data)
        if len(self._rest) > LONGEST:
            length, self._rest = len(self._rest), b""
            raise WireError("read from camserver's port", answer=f"{length} bytes without an end", accepted="0x18")
        return [piece.decode("latin-1") for piece in complete]


class ReplyReader:
    """The client's ear."""

    def __init__(self) -> None:
        self._pieces = _Pieces(END_OF_REPLY)

    def feed(self, data: bytes) -> list[Reply]:
        """Replies that are complete now. WireError when one is none: then whoever answers is no camserver."""
        return [parse_reply(piece) for piece in self._pieces.feed(data) if piece.strip()]


class RequestReader:
    """The server's ear."""

    def __init__(self) -> None:
        self._pieces = _Pieces(REQUEST_ENDS)

    def feed(self, data: bytes) -> list[str]:
        """Lines that are complete now, without those that are empty."""
        return [line for piece in self._pieces.feed(data) if (line := piece.strip())]


def encode_request(line: str) -> bytes:
    """A request on its way. WireError when it would be taken for two."""
    data = line.encode("latin-1", "replace")
    if any(end in data for end in (*REQUEST_ENDS, 0x0D)):
        raise WireError("send a request to camserver", answer=repr(line[:60]), accepted="one line of text")
    return data + END_OF_REQUEST


def command_named(word: str) -> str | None:
    """The command that a word stands for: it may be shortened as long as only one begins with it. None: no such one."""
    small = word.lower()
    exact = [name for name in COMMANDS if name.lower() == small]
    found = exact or [name for name in COMMANDS if small and name.lower().startswith(small)]
    return found[0] if len(found) == 1 else None


def starts_exposure(line: str) -> bool:
    """Does this request begin an exposure?"""
    word, _, argument = line.strip().partition(" ")
    return command_named(word) in STARTS and bool(argument.strip())


def kills(data: bytes | str) -> bool:
    """The original server looks for this letter in whatever comes in while it exposes, and stops when it finds it."""
    text = data.decode("latin-1") if isinstance(data, bytes) else data
    return "k" in text.lower()


# --- numbers in sentences ---------------------------------------------------------------------------------------------

_NUMBER = r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?"


def number_before(text: str, unit: str) -> float | None:
    """The first number that stands before this unit: `threshold: 6300 eV`, `set to: 0.1000000 sec.`"""
    found = re.search(rf"({_NUMBER})\s*{unit}\b", text)
    return float(found[1]) if found else None


def last_number(text: str) -> float | None:
    """The last number of an answer such as `N images set to: 10`."""
    found = re.findall(_NUMBER, text)
    return float(found[-1]) if found else None


def threshold_in(text: str) -> tuple[float, str] | None:
    """Threshold in eV and gain in the answer to `SetThreshold` without argument; None: none has been set."""
    found = re.search(rf"threshold:\s*({_NUMBER})\s*eV", text, re.IGNORECASE)
    if not found:
        return None
    gain = re.search(r"\b(low|mid|high|uhigh|ultra high)\s*(?:gain|G)\b", text)
    return float(found[1]), f"{gain[1]}G" if gain else ""


def channels_in(text: str) -> list[tuple[float, float]]:
    """(degrees Celsius, per cent of humidity) of each channel in the answer to `THread`."""
    pairs = re.findall(rf"=\s*({_NUMBER})\s*C.*?=\s*({_NUMBER})\s*%", text)
    return [(float(celsius), float(humidity)) for celsius, humidity in pairs]


def text_after(label: str, text: str) -> str:
    """What stands behind `label:` in an answer of several lines, or on the line below it; "" when there is nothing."""
    found = re.search(rf"{label}:[ \t]*\n?[ \t]*([^\n]*)", text, re.IGNORECASE)
    return found[1].strip() if found else ""


def state_in(setup: str) -> str:
    """Camserver's word for its state in the answer to CamSetup, in small letters; "" when there is none."""
    return text_after("Camera state", setup).lower()


def is_exposing_word(state: str) -> bool:
    """Does this word say that it exposes?"""
    return "expos" in state or "acquir" in state


# --- names of files ---------------------------------------------------------------------------------------------------

_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}\Z")
_COUNTED = re.compile(r"\A(.*_)(\d{3,})\Z", re.DOTALL)
DEFAULT_EXTENSION = ".tif"
EXTENSIONS = (".cbf", ".tif", ".tiff", ".edf", ".img", ".raw")


def image_name(typed: str, number: int, count: int) -> str:
    """What camserver calls image `number`, from 0, of the `count` that a command with the name `typed` makes.

    One image has the name as it was typed. Of more, a name that ends in `_` and three digits or more gives the first
    number and its width; any other gets `_00000`.
    """
    extension = _EXTENSION.search(typed)
    stem = typed[: extension.start()] if extension else typed
    suffix = extension[0] if extension else DEFAULT_EXTENSION
    if count == 1:
        return stem + suffix
    counted = _COUNTED.match(stem)
    base, first = (counted[1], counted[2]) if counted else (f"{stem}_", "00000")
    return f"{base}{int(first) + number:0{len(first)}d}{suffix}"


def mx_line(settings: Iterable[tuple[str, object]]) -> str:
    """`MXsettings` with its words. WireError for a key that camserver does not have, or a value that is two words."""
    words = []
    for key, value in settings:
        text = str(value)
        known = next((name for name in MX_KEYS if name.lower() == key.lower()), None)
        if known is None:
            raise WireError(
                f"set the MX setting {key!r}", answer="there is none of that name", accepted=", ".join(MX_KEYS)
            )
        if not text.strip() or len(text.split()) > (2 if known in ("Beam_xy", "Energy_range") else 1):
            raise WireError(f"set the MX setting {known}", answer=repr(text[:60]), accepted="one word or number")
        words.append(f"{known} {' '.join(text.split())}")
    return f"MXsettings {' '.join(words)}"
