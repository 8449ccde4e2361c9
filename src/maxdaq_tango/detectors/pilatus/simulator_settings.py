"""What the simulated camserver is set to, and the sentences in which it says so. Pure.

Source: see `protocol.py`. The words of each answer are those of tvx 7 as its clients' transcripts show them; other
versions word them differently, so nothing but numbers should be read from them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from maxdaq_tango.detectors.pilatus import protocol
from maxdaq_tango.detectors.pilatus.protocol import Code, Reply

LINES_EV = {"SetCu": 8048.0, "SetMo": 17479.0, "SetCr": 5415.0, "SetFe": 6404.0, "SetAg": 22163.0}
"""K-alpha of the element, to which the command of that name sets the photon energy."""
GAINS = ("lowG", "midG", "highG")
THRESHOLDS_EV = (1600.0, 64_000.0)
REMEMBERED = (
    "LdBadPixMap",
    "LdFlatField",
    "RateCorrLUTDir",
    "Tau",
    "ReadoutTime",
    "SetRetriggerMode",
    "DebTime",
    "dbglvl",
    "ResetModulePower",
)
"""Taken, kept as text, told again; they change no pixel of a simulation but for LdBadPixMap."""


class Refusal(Exception):
    """camserver says ERR with this text."""

    def __init__(self, text: str, code: int = Code.ACKNOWLEDGED) -> None:
        super().__init__(text)
        self.reply = Reply(code, False, text)


def acknowledged(text: str) -> Reply:
    """15 OK."""
    return Reply(Code.ACKNOWLEDGED, True, text)


class CamserverSettings:
    """Values and answers. `make_folder` makes a folder and returns what went wrong, "" when nothing did."""

    def __init__(self, generation: int, image_path: str, make_folder: Callable[[str], str]) -> None:
        self.generation = generation
        self._make_folder = make_folder
        self.images, self.exposures_per_frame = 1, 1
        self.exposure_s, self.period_s, self.delay_s = 1.0, 1.05, 0.0
        self.gap_fill, self.acknowledge_every = 0, 0
        self.image_path = with_slash(image_path)
        self.threshold_ev: float | None = None
        self.energy_ev: float | None = None
        self.gain = "midG"
        self.header_string = ""
        self.mx: dict[str, str] = {}
        self.texts: dict[str, str] = {}

    @property
    def readout_s(self) -> float:
        """Least time between two images."""
        return protocol.READOUT_S[self.generation]

    def answer(self, name: str, argument: str) -> Reply:
        """Set, or tell when there is no argument. Refusal. Slow commands, starts and questions are the owner's."""
        match name:
            case "NImages":
                if argument:
                    self.images = _whole(name, argument, 1, protocol.MOST_IMAGES)
                return acknowledged(f"N images set to: {self.images}")
            case "NExpFrame":
                if argument:
                    self.exposures_per_frame = _whole(name, argument, 1, protocol.MOST_IMAGES)
                return acknowledged(f"Exposures per frame set to: {self.exposures_per_frame}")
            case "ExpTime":
                if argument:
                    longest, shortest = protocol.LONGEST_EXPOSURE_S, protocol.SHORTEST_EXPOSURE_S
                    self.exposure_s = _seconds("exposure time", argument, shortest, longest)
                return acknowledged(f"Exposure time set to: {self.exposure_s:.7f} sec.")
            case "ExpPeriod":
                if argument:
                    longest = 2 * protocol.LONGEST_EXPOSURE_S
                    self.period_s = _seconds("exposure period", argument, protocol.SHORTEST_PERIOD_S, longest)
                return acknowledged(f"Exposure period set to: {self.period_s:.7f} sec")
            case "Delay":
                if argument:
                    self.delay_s = _seconds("delay", argument, 0.0, 63.999)
                return acknowledged(f"Delay time set to: {self.delay_s:.7f} sec.")
            case "GapFill":
                if argument:
                    self.gap_fill = _whole(name, argument, -1, 0)
                return acknowledged(f"Detector gap-fill is: {self.gap_fill}")
            case "SetAckInt":
                if argument:
                    self.acknowledge_every = _whole(name, argument, 0, protocol.MOST_IMAGES)
                return acknowledged(f"Acknowledgement interval is {self.acknowledge_every}")
            case "ImgPath":
                return self._image_path(argument)
            case "HeaderString":
                if len(argument.strip('"')) > protocol.LONGEST_HEADER_STRING:
                    raise Refusal("header string is too long")
                self.header_string = argument.strip('"') or self.header_string
                return acknowledged(f"Header string: {self.header_string}")
            case "MXsettings":
                return self._mx_settings(argument)
        if argument:
            self.texts[name] = argument
        return acknowledged(f"{name}: {self.texts.get(name, '(nil)')}")

    def threshold_told(self) -> Reply:
        """Without argument."""
        if self.threshold_ev is None:
            return acknowledged("Threshold has not been set")
        gain = self.gain.removesuffix("G")
        return acknowledged(
            f" Settings: {gain} gain; threshold: {self.threshold_ev:.0f} eV; vcmp: 0.654 V\n Trim file:\n"
            f"  /home/det/p2_det/config/calibration/autotrim_simulated_{gain}.dat"
        )

    def energy_told(self) -> Reply:
        """Without argument."""
        told = "Energy has not been set" if self.energy_ev is None else f" Energy setting: {self.energy_ev:.0f} eV"
        return acknowledged(told)

    def checked_energy(self, name: str, argument: str) -> tuple[float, float, str]:
        """Energy, threshold and gain that a slow command asks for. Refusal."""
        if name in LINES_EV:
            return LINES_EV[name], LINES_EV[name] / 2, self.gain
        words = argument.split()
        if name == "SetEnergy":
            energy = _number("energy", words[0])
            return energy, self._in_range(energy / 2), self.gain
        energy, gain = self.energy_ev or 0.0, self.gain
        if words[0].lower() == "energy" and len(words) > 1:
            energy, words = _number("energy", words[1]), words[2:]
        if words and not re.match(r"[-+.\d]", words[0]):
            found = next((known for known in GAINS if known.lower() == words[0].lower()), None)
            if found is None:
                raise Refusal("unknown gain setting")
            gain, words = found, words[1:]
        if len(words) != 1:
            raise Refusal("Usage: SetThreshold [energy E] [lowG|midG|highG] threshold")
        threshold = self._in_range(_number("threshold", words[0]))
        return energy or 2 * threshold, threshold, gain

    def trim(self, energy: float, threshold: float, gain: str) -> None:
        """A slow command is done. NImages and GapFill fall back, as on the real one."""
        self.energy_ev, self.threshold_ev, self.gain = energy, threshold, gain
        self.images, self.gap_fill = 1, 0

    def check_start(self) -> None:
        """Refusal when images would follow each other too closely."""
        if self.images > 1 and self.period_s < self.exposure_s + self.readout_s - 1e-9:
            raise Refusal("Illegal exposure period")

    @staticmethod
    def _in_range(threshold: float) -> float:
        if not THRESHOLDS_EV[0] <= threshold <= THRESHOLDS_EV[1]:
            raise Refusal(f"Requested threshold ({threshold:.0f} eV) is out of range")
        return threshold

    def _image_path(self, argument: str) -> Reply:
        if argument:
            path = argument if argument.startswith("/") else self.image_path + argument
            if self._make_folder(path):
                raise Refusal("mkdir() failed", Code.IMAGE_PATH)
            self.image_path = with_slash(path)
        return Reply(Code.IMAGE_PATH, True, self.image_path)

    def _mx_settings(self, argument: str) -> Reply:
        words = argument.replace(",", " ").split()
        while words:
            key = next((known for known in protocol.MX_KEYS if known.lower() == words[0].lower()), None)
            if key is None:
                raise Refusal(f"Unrecognized parameter: {words[0]}")
            values = 2 if key in ("Beam_xy", "Energy_range") else 1
            if len(words) <= values:
                raise Refusal(f"No value for parameter: {words[0]}")
            self.mx[key] = " ".join(words[1 : 1 + values])
            words = words[1 + values :]
        return acknowledged("\n".join(f" {key} {value}" for key, value in self.mx.items()) or "no MX settings")


def with_slash(path: str) -> str:
    """As camserver tells a folder."""
    return path if path.endswith("/") else path + "/"


def _number(what: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise Refusal(f"Invalid {what}: {text}") from None
    if value != value or abs(value) == float("inf"):
        raise Refusal(f"Invalid {what}: {text}")
    return value


def _whole(name: str, text: str, least: int, most: int) -> int:
    value = _number(name, text)
    if value != int(value) or not least <= value <= most:
        raise Refusal(f"Illegal value for {name}: {text}")
    return int(value)


def _seconds(what: str, text: str, least: float, most: float) -> float:
    value = _number(what, text)
    if not least <= value <= most:
        raise Refusal(f"Illegal {what}: {text}")
    return value
