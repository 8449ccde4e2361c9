"""What an Eiger shows beside the attributes of every detector: SIMPLON parameters and status values, as one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maxdaq_tango.detectors.eiger.acceptance import COMMON_NAMES
from maxdaq_tango.tango_support.attributes import told


@dataclass(frozen=True)
class FamilyAttribute:
    """One SIMPLON parameter as an attribute; one that a model does not have reads as invalid."""

    name: str
    key: str
    """A name of ours (`energy_ev`) or of SIMPLON's."""
    dtype: type
    label: str
    doc: str
    unit: str = ""
    format: str = ""
    writable: bool = False
    status: bool = False
    """A status value rather than a setting."""
    expert: bool = False


FAMILY = (
    FamilyAttribute(
        "Energy",
        "energy_ev",
        float,
        "Photon energy",
        "Photon energy that the detector is set to.",
        "eV",
        "%.1f",
        writable=True,
    ),
    FamilyAttribute(
        "Threshold",
        "threshold_ev",
        float,
        "Energy threshold",
        "Energy above which a photon counts; setting Energy sets it to half of that.",
        "eV",
        "%.1f",
        writable=True,
    ),
    FamilyAttribute(
        "BitDepth",
        "bit_depth_image",
        int,
        "Bit depth",
        "Bits of a pixel in the stream; follows from the frame time.",
        "bit",
        "%d",
    ),
    FamilyAttribute(
        "Compression",
        "compression",
        str,
        "Compression",
        "How the detector packs frames: bslz4, lz4 or none.",
        writable=True,
    ),
    FamilyAttribute(
        "RoiMode",
        "roi_mode",
        str,
        "Region of interest",
        "disabled, or a region that this model offers, such as 4M.",
        writable=True,
    ),
    FamilyAttribute(
        "BeamCenterX",
        "beam_center_x_px",
        float,
        "Beam centre x",
        "Column of the direct beam.",
        "pixel",
        "%.2f",
        writable=True,
    ),
    FamilyAttribute(
        "BeamCenterY",
        "beam_center_y_px",
        float,
        "Beam centre y",
        "Row of the direct beam.",
        "pixel",
        "%.2f",
        writable=True,
    ),
    FamilyAttribute(
        "DetectorDistance",
        "detector_distance_m",
        float,
        "Detector distance",
        "From sample to sensor.",
        "m",
        "%.5f",
        writable=True,
    ),
    FamilyAttribute(
        "CountingMode",
        "counting_mode",
        str,
        "Counting mode",
        "normal or retrigger.",
        writable=True,
        expert=True,
    ),
    FamilyAttribute(
        "TriggerStartDelay",
        "trigger_start_delay",
        float,
        "Trigger delay",
        "From trigger to first exposure.",
        "s",
        "%.6f",
        writable=True,
        expert=True,
    ),
    FamilyAttribute(
        "Temperature",
        "temperature",
        float,
        "Temperature",
        "Of the detector head.",
        "degC",
        "%.1f",
        status=True,
    ),
    FamilyAttribute(
        "Humidity",
        "humidity",
        float,
        "Humidity",
        "Relative humidity in the detector head.",
        "%",
        "%.1f",
        status=True,
    ),
    FamilyAttribute(
        "HighVoltageState",
        "high_voltage/state",
        str,
        "High voltage",
        "Of CdTe sensors: OFF, RAMPING or READY.",
        status=True,
    ),
    FamilyAttribute(
        "SensorMaterial",
        "sensor_material",
        str,
        "Sensor material",
        "Si or CdTe.",
    ),
    FamilyAttribute(
        "SensorThickness",
        "sensor_thickness",
        float,
        "Sensor thickness",
        "Of the sensor.",
        "m",
        "%.6f",
    ),
    FamilyAttribute(
        "PixelSizeX",
        "x_pixel_size",
        float,
        "Pixel size x",
        "Width of a pixel.",
        "m",
        "%.7f",
    ),
    FamilyAttribute(
        "PixelSizeY",
        "y_pixel_size",
        float,
        "Pixel size y",
        "Height of a pixel.",
        "m",
        "%.7f",
    ),
    FamilyAttribute(
        "XPixelsDetector",
        "x_pixels_in_detector",
        int,
        "Columns",
        "Of a frame without region of interest.",
        "pixel",
        "%d",
    ),
    FamilyAttribute(
        "YPixelsDetector",
        "y_pixels_in_detector",
        int,
        "Rows",
        "Of a frame without region of interest.",
        "pixel",
        "%d",
    ),
    FamilyAttribute(
        "Description",
        "description",
        str,
        "Description",
        "Model as the detector names itself.",
    ),
    FamilyAttribute(
        "DetectorNumber",
        "detector_number",
        str,
        "Serial number",
        "Of the detector.",
    ),
    FamilyAttribute(
        "SoftwareVersion",
        "software_version",
        str,
        "Software version",
        "Of the detector control unit.",
    ),
)
"""What an Eiger has beside the common attributes."""


def told_family(item: FamilyAttribute) -> Any:
    """The attribute of a row."""
    names = ", else ".join(COMMON_NAMES.get(item.key, (item.key,)))
    return told(
        lambda self: self.family_values.get(item.name),
        (lambda self, value: self.set_family(item, value)) if item.writable else None,
        dtype=item.dtype,
        label=item.label,
        unit=item.unit,
        format=item.format,
        expert=item.expert,
        doc=f"{item.doc} SIMPLON {'status' if item.status else 'parameter'} {names}; invalid where there is none.",
    )


class EigerAttributes:
    """Attributes of `EigerDetector`; the functions get the device."""

    for _item in FAMILY:
        locals()[_item.name] = told_family(_item)
    del _item

    SimplonState = told(
        lambda self: self.simplon_state,
        dtype=str,
        label="SIMPLON state",
        doc="The detector's own word: na, idle, ready, acquire, configure, initialize, test or error.",
    )
