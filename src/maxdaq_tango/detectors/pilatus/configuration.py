"""A camserver's settings: written in the order it wants, read back from its answers, and told in our words.

Source: see `protocol.py`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from maxdaq_tango.detectors.contract import DetectorIdentity, Range
from maxdaq_tango.detectors.pilatus import protocol
from maxdaq_tango.detectors.pilatus.client import CamserverClient
from maxdaq_tango.detectors.pilatus.exposure_series import vendor_command
from maxdaq_tango.detectors.pilatus.protocol import Code
from maxdaq_tango.errors import DetectorRefused, WireError
from maxdaq_tango.model import AcquisitionSettings, TriggerMode

ENERGY_EPSILON_EV = 1.0
"""camserver tells whole eV, and trimming takes a minute."""
RESOLUTION_S = 1e-6
SHAPES = {
    "100K": (195, 487),
    "200K": (407, 487),
    "300K": (619, 487),
    "300K-W": (195, 1475),
    "1M": (1043, 981),
    "2M": (1679, 1475),
    "6M": (2527, 2463),
}
"""(rows, columns) by the word in the detector's name."""
GAINS = ("lowG", "midG", "highG")


class PilatusConfiguration:
    """The settings of the detector behind `client`. Every failure is one of the client's errors."""

    def __init__(self, client: CamserverClient, *, gap_fill: int, generation: int | None) -> None:
        """`generation` None: as the detector's name says."""
        self._client = client
        self._gap_fill = gap_fill
        self._known_generation = generation
        self._settling = threading.Lock()  # while chips are trimmed, and while a series is configured
        self.generation = generation or 3
        self.shape: tuple[int, ...] = ()
        self.threshold_ev: float | None = None
        self.energy_ev: float | None = None
        self.gain = ""
        self.exposure_s = self.period_s = 0.0
        self.images = 1
        self.header_string = ""
        self.mx: dict[str, str] = {}

    # --- getting to know it -------------------------------------------------------------------------------------------

    def identify(self) -> tuple[DetectorIdentity, str]:
        """Who answers, and camserver's word for its state. Asks nothing with a k in it: it may be exposing."""
        version = self._client.ask("Version", (Code.VERSION,)).text.rpartition(":")[2].strip()
        setup = self._client.ask("CamSetup", (Code.CAMERA_SETUP,)).text
        name = (
            " ".join(protocol.text_after("Camera definition", setup).split())
            or protocol.text_after("Camera name", setup)
            or "Pilatus"
        )
        model, _, serial = name.partition("S/N")
        model = model.rstrip(" ,")
        if self._known_generation is None:
            self.generation = 3 if re.search(r"PILATUS3(?!\d)", name, re.IGNORECASE) else 2
        size = re.search(r"\b(\d+)x(\d+)\b", model)
        words = [word for word in SHAPES if re.search(rf"\b{re.escape(word)}(?![\w-])", model, re.IGNORECASE)]
        self.shape = (int(size[2]), int(size[1])) if size else SHAPES[words[0]] if words else ()
        identity = DetectorIdentity(
            model=model,
            serial_number=serial.strip(" :,") or self._client.address,
            firmware=version,
            api_version="camserver",
        )
        return identity, protocol.state_in(setup)

    def take_over(self) -> None:
        """The first settings: whoever is not in control is told so here. Then what the detector is set to."""
        self._client.ask("SetAckInt 0")  # else 7 would also come in mid-series, and not only at the end
        self._ask_gap_fill()
        self.read_threshold()
        self.images, self.exposure_s, self.period_s = 1, self.number("ExpTime", "sec"), self.number("ExpPeriod", "sec")

    def number(self, name: str, unit: str) -> float:
        """A setting that is told in a sentence. DetectorRefused when there is no number in it."""
        text = self._client.ask(name).text
        value = protocol.number_before(text, unit)
        if value is None:
            raise DetectorRefused(name, of=self._client.address, answer=text, accepted=f"a number of {unit}")
        return value

    def read_threshold(self) -> None:
        """Threshold, gain and energy as they are; None where none has been set."""
        found = protocol.threshold_in(self._client.ask("SetThreshold").text)
        self.threshold_ev, self.gain = found or (None, "")
        self.energy_ev = protocol.number_before(self._client.ask("SetEnergy").text, "eV")

    def temperatures(self) -> list[tuple[float, float]]:
        """(degrees Celsius, per cent of humidity) of each channel. Not to be asked while it exposes."""
        return protocol.channels_in(self._client.ask("THread", (Code.TEMPERATURES,), patience_s=0.0).text)

    # --- thresholds ---------------------------------------------------------------------------------------------------

    def set_energy(self, energy_ev: float) -> float:
        """Photon energy, and half of it as threshold. Takes up to 96 s; left alone when it would hardly change."""
        if self.energy_ev is not None and abs(self.energy_ev - energy_ev) < ENERGY_EPSILON_EV:
            return self.energy_ev
        self._trim(f"SetEnergy {energy_ev:.0f}")
        if self.energy_ev is None:
            self.energy_ev = round(energy_ev)
        return self._agreed("SetEnergy", energy_ev, self.energy_ev)

    def set_threshold(self, threshold_ev: float) -> float:
        """Threshold at the present energy and gain. Takes up to 96 s; left alone when it would hardly change."""
        if self.threshold_ev is not None and abs(self.threshold_ev - threshold_ev) < ENERGY_EPSILON_EV:
            return self.threshold_ev
        energy = "" if self.energy_ev is None else f"energy {self.energy_ev:.0f} "
        self._trim(f"SetThreshold {energy}{threshold_ev:.0f}")
        return self._agreed("SetThreshold", threshold_ev, self.threshold_ev)

    def set_gain(self, gain: str) -> str:
        """lowG, midG or highG (Pilatus 2), at the present threshold."""
        if gain not in GAINS or self.threshold_ev is None:
            answer = "no threshold has been set" if gain in GAINS else ""
            raise DetectorRefused(
                f"set the gain to {gain!r}", of=self._client.address, answer=answer, accepted=", ".join(GAINS)
            )
        if gain != self.gain:
            self._trim(f"SetThreshold {gain} {self.threshold_ev:.0f}")
        return self.gain

    def _trim(self, line: str) -> None:
        with self._settling:
            self._client.ask(line, timeout_s=protocol.SLOW_ANSWER_S)
            # Trimming has reset these two.
            self._client.ask(f"NImages {self.images}")
            self._ask_gap_fill()
            self.read_threshold()

    @contextmanager
    def alone(self, asked: str, patience_s: float) -> Iterator[None]:
        """Nothing is trimmed meanwhile. DetectorRefused when that goes on for longer than `patience_s`."""
        if not self._settling.acquire(timeout=patience_s):
            raise DetectorRefused(
                asked,
                of=self._client.address,
                answer=f"the chips are still being trimmed ({self._client.asking or 'SetThreshold'})",
                accepted=f"{asked} when that is over: HardwareState has left CONFIGURING",
            )
        try:
            yield
        finally:
            self._settling.release()

    def _ask_gap_fill(self) -> None:
        self._client.ask(f"GapFill {self._gap_fill}")

    def _agreed(self, name: str, wanted: float, found: float | None) -> float:
        if found is None or abs(found - wanted) > ENERGY_EPSILON_EV:
            raise DetectorRefused(
                f"{name} {wanted:.0f}",
                of=self._client.address,
                answer=f"it took the value and made it {found}",
                accepted="an energy within the range of this detector",
            )
        return found

    # --- words for the image headers ----------------------------------------------------------------------------------

    def set_header_string(self, text: str) -> str:
        """A remark for the header of every image."""
        if len(text) > protocol.LONGEST_HEADER_STRING:
            raise DetectorRefused(
                f"set HeaderString to {len(text)} characters",
                of=self._client.address,
                accepted=f"up to {protocol.LONGEST_HEADER_STRING}",
            )
        self._client.ask(f'HeaderString "{text}"')
        self.header_string = text
        return text

    def set_mx(self, settings: dict[str, Any]) -> dict[str, str]:
        """Settings for crystallographers, into the header of every image; see `protocol.MX_KEYS`."""
        try:
            line = protocol.mx_line(settings.items())
        except WireError as error:
            raise DetectorRefused(
                error.asked, of=self._client.address, answer=error.answer, accepted=error.accepted
            ) from None
        if settings:
            self._client.ask(line)
        known = {name.lower(): name for name in protocol.MX_KEYS}
        self.mx |= {known[key.lower()]: str(value) for key, value in settings.items()}
        return self.mx

    # --- the series ---------------------------------------------------------------------------------------------------

    def apply(self, settings: AcquisitionSettings, folder: str) -> None:
        """Set counts, times and folder, and prove by the answers that the detector took them."""
        _, images = vendor_command(settings)
        self._check(settings, images)
        self._client.ask("SetAckInt 0")  # another client may have changed it since the last series
        self.set_images(min(images, protocol.MOST_IMAGES))
        self._client.ask("NExpFrame 1")
        self.set_exposure(settings.exposure_time_s, settings.latency_time_s)
        self._ask_gap_fill()
        if folder:
            self._client.ask(f"ImgPath {folder}", (Code.IMAGE_PATH,))

    def set_exposure(self, exposure_s: float, latency_s: float) -> None:
        """Of the images that the next start command makes."""
        self._check_exposure(exposure_s)
        period_s = max(exposure_s + max(latency_s, self.readout_s), protocol.SHORTEST_PERIOD_S)
        self.exposure_s = self._set("ExpTime", f"{exposure_s:.9g}", exposure_s, "sec")
        self.period_s = self._set("ExpPeriod", f"{period_s:.9g}", period_s, "sec")

    def set_images(self, count: int) -> None:
        """How many the next start command makes."""
        self.images = int(self._set("NImages", f"{count}", count, ""))

    @property
    def readout_s(self) -> float:
        """Dead time between two images, by generation."""
        return protocol.READOUT_S[self.generation]

    def limits(self) -> dict[str, Range]:
        """By our names; camserver states none, so these are the manual's."""
        most = float(protocol.MOST_IMAGES)
        return {
            "exposure_time_s": Range(protocol.SHORTEST_EXPOSURE_S, protocol.LONGEST_EXPOSURE_S),
            "frame_period_s": Range(
                max(protocol.SHORTEST_PERIOD_S, protocol.SHORTEST_EXPOSURE_S + self.readout_s),
                protocol.LONGEST_EXPOSURE_S + self.readout_s,
            ),
            "trigger_count": Range(1.0, most),
            "frames_per_trigger": Range(1.0, most),
        }

    def everything(self) -> dict[str, Any]:
        """What goes into the file and the stream's header; the first three are the words of MAX IV's readers."""
        return {
            "energy": self.energy_ev or 0,
            "threshold": self.threshold_ev or 0,
            "exptime": self.exposure_s,
            "ExpTime": self.exposure_s,
            "ExpPeriod": self.period_s,
            "NImages": self.images,
            "GapFill": self._gap_fill,
            "gain": self.gain,
            "HeaderString": self.header_string,
            "MXsettings": dict(self.mx),
        }

    def _check(self, settings: AcquisitionSettings, images: int) -> None:
        burst = settings.frames_per_trigger > 1 and settings.trigger_count > 1
        if settings.trigger_mode is TriggerMode.EXTERNAL_MULTI and burst:
            raise DetectorRefused(
                f"make {settings.frames_per_trigger} frames at each of {settings.trigger_count} external triggers",
                of=self._client.address,
                answer="a Pilatus makes one frame at each edge (ExtMTrigger), or all frames after one (ExtTrigger)",
                accepted="nFramesPerTrigger 1, or nTriggers 1",
            )
        self._check_exposure(settings.exposure_time_s)
        by_signals = settings.trigger_mode in (TriggerMode.EXTERNAL_MULTI, TriggerMode.EXTERNAL_MULTI_GATE)
        if by_signals and images > protocol.MOST_IMAGES:
            raise DetectorRefused(
                f"make {images} images in one go", of=self._client.address, accepted=f"1 to {protocol.MOST_IMAGES}"
            )

    def _check_exposure(self, seconds: float) -> None:
        least, most = protocol.SHORTEST_EXPOSURE_S, protocol.LONGEST_EXPOSURE_S
        if not least <= seconds <= most:
            asked, accepted = f"expose for {seconds:g} s", f"{least:g} to {most:g} s"
            raise DetectorRefused(asked, of=self._client.address, accepted=accepted)

    def _set(self, name: str, argument: str, wanted: float, unit: str) -> float:
        text = self._client.ask(f"{name} {argument}").text
        found = protocol.number_before(text, unit) if unit else protocol.last_number(text)
        if found is None or abs(found - wanted) > RESOLUTION_S + 1e-6 * wanted:
            raise DetectorRefused(
                f"{name} {argument}", of=self._client.address, answer=text, accepted="the same value in the answer"
            )
        return found
