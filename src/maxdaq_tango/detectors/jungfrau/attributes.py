"""What a Jungfrau shows beside the attributes of every detector, as one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maxdaq_tango.tango_support.attributes import told


@dataclass(frozen=True)
class FamilyAttribute:
    """One setting of slsdet as an attribute; one that a detector does not have reads as invalid."""

    name: str
    key: str
    """slsdet's."""
    dtype: type
    label: str
    doc: str
    unit: str = ""
    format: str = ""
    writable: bool = False
    expert: bool = False


FAMILY = (
    FamilyAttribute(
        "GainMode",
        "gainmode",
        str,
        "Gain mode",
        "DYNAMIC, FORCE_SWITCH_G1, FORCE_SWITCH_G2, FIX_G1 or FIX_G2. FIX_G0 can damage the detector, and is refused "
        "unless property AllowFixG0 allows it.",
        writable=True,
    ),
    FamilyAttribute("Settings", "settings", str, "Settings", "GAIN0 or HIGHGAIN0.", writable=True),
    FamilyAttribute(
        "HighVoltage", "highvoltage", int, "High voltage", "Of the sensor: 0, or 60 to 200.", "V", "%d", writable=True
    ),
    FamilyAttribute(
        "PowerChip", "powerchip", bool, "Chip powered", "Off after power-up and a temperature event.", writable=True
    ),
    FamilyAttribute(
        "ReadoutSpeed",
        "readoutspeed",
        str,
        "Read-out speed",
        "FULL_SPEED, HALF_SPEED or QUARTER_SPEED.",
        writable=True,
        expert=True,
    ),
    FamilyAttribute(
        "TriggerStartDelay",
        "delay",
        float,
        "Trigger delay",
        "From trigger to exposure.",
        "s",
        "%.7f",
        writable=True,
        expert=True,
    ),
    FamilyAttribute(
        "TemperatureThreshold",
        "temp_threshold",
        int,
        "Temperature threshold",
        "Above it the chip is switched off, if temperature control is enabled.",
        "degC",
        "%d",
        writable=True,
        expert=True,
    ),
    FamilyAttribute("TemperatureEvent", "temp_event", bool, "Temperature event", "The chip was switched off by heat."),
    FamilyAttribute("Interfaces", "numinterfaces", int, "UDP interfaces", "Of each module: 1 or 2.", format="%d"),
    FamilyAttribute("Modules", "nmod", int, "Modules", "Of the detector.", format="%d"),
    FamilyAttribute("DetectorNumber", "serialnumber", str, "Serial number", "Of the detector."),
    FamilyAttribute("ServerVersion", "detectorserverversion", str, "Server version", "Of the program in the detector."),
    FamilyAttribute("ClientVersion", "clientversion", str, "Client version", "Of the library slsdet."),
    FamilyAttribute("NextFrameNumber", "nextframenumber", int, "Next frame", "Number of the next frame.", format="%d"),
)


def _told(item: FamilyAttribute) -> Any:
    return told(
        lambda self: self.family_values.get(item.name),
        (lambda self, value: self.set_family(item, value)) if item.writable else None,
        dtype=item.dtype,
        label=item.label,
        unit=item.unit,
        format=item.format,
        expert=item.expert,
        doc=f"{item.doc} slsdet's {item.key}; invalid where there is none.",
    )


class JungfrauAttributes:
    """Attributes of `JungfrauDetector`; the functions get the device."""

    for _item in FAMILY:
        locals()[_item.name] = _told(_item)
    del _item

    Conversion = told(
        lambda self: self.conversion.to.value,
        lambda self, value: self.set_conversion(to=value),
        dtype=str,
        label="Conversion",
        memorized=True,
        doc="What is stored: raw (uint16, gain bits and ADC value), energy (float32, keV), photons (float32) or counts "
        "(photons rounded to int32). From the next Arm on.",
    )
    CalibrationFile = told(
        lambda self: self.conversion.calibration,
        lambda self, value: self.set_conversion(calibration=value),
        dtype=str,
        label="Calibration file",
        memorized=True,
        doc="Absolute path, as the receiver sees it, of pedestals and gains of every pixel (HDF5 or .npy).",
    )
    Energy = told(
        lambda self: self.conversion.photon_energy_ev,
        lambda self, value: self.set_conversion(photon_energy_ev=value),
        dtype=float,
        label="Photon energy",
        unit="eV",
        format="%.1f",
        minimum=0.0,
        memorized=True,
        doc="Of one photon, for Conversion to photons and counts; the detector is not told.",
    )
    FramesCaught = told(
        lambda self: self.driver_told("frames_caught"),
        dtype=(int,),
        label="Frames caught",
        format="%d",
        max_dim_x=64,
        doc="By each port of the receiver program, in the last series that has ended; one number where all have the "
        "same.",
    )
    MissingPackets = told(
        lambda self: self.driver_told("packets_missing"),
        dtype=(int,),
        label="Missing packets",
        format="%d",
        max_dim_x=64,
        doc="Of each port of the receiver program, in the last series that has ended; one number where all have the "
        "same.",
    )
