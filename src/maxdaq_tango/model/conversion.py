"""What detector units are turned into before they are stored, where a detector gives anything but counts."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from maxdaq_tango.errors import ConfigurationError


class ConvertTo(StrEnum):
    """What a pixel of the file means."""

    RAW = "raw"
    """What the detector sent: nothing is converted (the default)."""
    ENERGY = "energy"
    """Energy that the pixel has absorbed, float32, keV."""
    PHOTONS = "photons"
    """The same in photons of `photon_energy_ev`, float32: not rounded, so charge sharing stays visible."""
    COUNTS = "counts"
    """Photons rounded to int32."""

    @property
    def dtype(self) -> str:
        """Of the pixels; that of the detector where nothing is converted."""
        return {"raw": "", "counts": "int32"}.get(self.value, "float32")

    @property
    def unit(self) -> str:
        """Of the pixels."""
        return {"raw": "", "energy": "keV"}.get(self.value, "photons")


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """How, and by what. Part of a RunRequest."""

    to: ConvertTo = ConvertTo.RAW
    calibration: str = ""
    """Absolute path, where the receiver runs, of a file with pedestal and gain of every pixel."""
    photon_energy_ev: float = 0.0
    """For photons and counts."""

    def check(self) -> None:
        """ConfigurationError when it asks for what cannot be done."""
        asked = f"convert frames to {self.to.value}"
        if self.to is ConvertTo.RAW:
            return
        if not self.calibration.startswith("/"):
            raise ConfigurationError(
                asked,
                answer=f"the calibration is '{self.calibration}'",
                accepted="the absolute path of a file with pedestals and gains, as the receiver sees it",
            )
        if self.to is not ConvertTo.ENERGY and not 0 < self.photon_energy_ev < 1e7:
            raise ConfigurationError(
                asked, answer=f"the photon energy is {self.photon_energy_ev:g} eV", accepted="above 0 eV, below 10 MeV"
            )


RAW = Conversion()
"""Nothing is converted."""
