"""What an ORCA shows beside the attributes of every detector: DCAM properties and the streamer's account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maxdaq_tango.detectors.orca.properties import CoolerStatus, Property
from maxdaq_tango.detectors.orca.protocol import PropertyState
from maxdaq_tango.tango_support.attributes import told


@dataclass(frozen=True)
class FamilyAttribute:
    """One DCAM property as an attribute; one that a model does not have reads as invalid."""

    name: str
    property: Property
    dtype: type
    """str: the camera's own word for the value of a mode."""
    label: str
    doc: str
    unit: str = ""
    format: str = ""
    writable: bool = False
    expert: bool = False

    def of(self, state: PropertyState) -> Any:
        """The value to show; None where the camera tells none."""
        if state.value is None:
            return None
        if self.dtype is not str:
            return self.dtype(state.value)
        if self.property is Property.SENSOR_COOLER_STATUS and state.word is None:
            known = set(CoolerStatus)
            return CoolerStatus(int(state.value)).name if int(state.value) in known else f"error {state.value:g}"
        return state.word or f"{state.value:g}"


FAMILY = (
    FamilyAttribute(
        "Binning",
        Property.BINNING,
        int,
        "Binning",
        "Pixels of the sensor that become one, in each direction.",
        "",
        "%d",
        writable=True,
    ),
    FamilyAttribute(
        "PixelType",
        Property.IMAGE_PIXEL_TYPE,
        str,
        "Pixel type",
        "MONO8, MONO16, MONO12 or MONO12P; the last two travel packed and are stored as uint16.",
        writable=True,
    ),
    FamilyAttribute("BitDepth", Property.BITS_PER_CHANNEL, int, "Bit depth", "Bits of a pixel.", "bit", "%d"),
    FamilyAttribute(
        "HighDynamicRange",
        Property.HIGH_DYNAMIC_RANGE_MODE,
        str,
        "High dynamic range",
        "OFF: 12 bits, ON: 16 bits (ORCA-Lightning).",
        writable=True,
    ),
    FamilyAttribute(
        "ReadoutSpeed",
        Property.READOUT_SPEED,
        str,
        "Readout speed",
        "The camera's word for it: slower is quieter.",
        writable=True,
    ),
    FamilyAttribute(
        "SensorMode",
        Property.SENSOR_MODE,
        str,
        "Sensor mode",
        "AREA, PROGRESSIVE or PHOTON NUMBER.",
        writable=True,
        expert=True,
    ),
    FamilyAttribute(
        "TriggerPolarity",
        Property.TRIGGER_POLARITY,
        str,
        "Trigger polarity",
        "NEGATIVE: falling edge or low level, POSITIVE: rising edge or high level.",
        writable=True,
    ),
    FamilyAttribute(
        "TriggerDelay",
        Property.TRIGGER_DELAY,
        float,
        "Trigger delay",
        "From trigger to exposure.",
        "s",
        "%.6f",
        writable=True,
        expert=True,
    ),
    FamilyAttribute(
        "TriggerGlobalExposure",
        Property.TRIGGER_GLOBAL_EXPOSURE,
        str,
        "Global exposure",
        "How rows are exposed with a trigger, in the camera's words.",
        writable=True,
        expert=True,
    ),
    FamilyAttribute(
        "OutputTriggerKind",
        Property.OUTPUT_TRIGGER_KIND,
        str,
        "Output trigger",
        "What the first output connector tells, in the camera's words.",
        writable=True,
        expert=True,
    ),
    FamilyAttribute(
        "SensorTemperature",
        Property.SENSOR_TEMPERATURE,
        float,
        "Sensor temperature",
        "Of the sensor.",
        "degC",
        "%.1f",
    ),
    FamilyAttribute(
        "SensorTemperatureTarget",
        Property.SENSOR_TEMPERATURE_TARGET,
        float,
        "Target temperature",
        "That the cooler works towards.",
        "degC",
        "%.1f",
        writable=True,
    ),
    FamilyAttribute("SensorCooler", Property.SENSOR_COOLER, str, "Sensor cooler", "OFF, ON or MAX.", writable=True),
    FamilyAttribute(
        "SensorCoolerStatus", Property.SENSOR_COOLER_STATUS, str, "Cooler status", "OFF, BUSY, READY, or an error."
    ),
    FamilyAttribute(
        "MinTriggerInterval",
        Property.TIMING_MIN_TRIGGER_INTERVAL,
        float,
        "Trigger interval",
        "Shortest time between two triggers that both make a frame.",
        "s",
        "%.6f",
        expert=True,
    ),
)
"""What an ORCA has beside the common attributes."""

COUNTS = {
    "FramesLostInCamera": (
        "lost_in_camera",
        "Lost in the camera",
        "Frames of the last series that were exposed and never transferred: gaps in the camera's own count.",
    ),
    "FramesLostInRing": (
        "lost_in_ring",
        "Lost in the ring",
        "Frames of the last series that were overwritten because receiver or computer were too slow.",
    ),
    "FramesNotSent": (
        "not_sent",
        "Not sent",
        "Frames of the last series that were given up: at an Abort, or because nobody took them.",
    ),
    "FramesWaiting": ("waiting", "Waiting", "Frames that wait in the streamer for the receiver."),
}
"""Attribute > (field of `Counts`, label, doc)."""


def _told(item: FamilyAttribute) -> Any:
    return told(
        lambda self: self.family_values.get(item.name),
        (lambda self, value: self.set_family(item, value)) if item.writable else None,
        dtype=item.dtype,
        label=item.label,
        unit=item.unit,
        format=item.format,
        expert=item.expert,
        doc=f"{item.doc} DCAM property {item.property.name}; invalid where there is none.",
    )


def _count(field: str, label: str, doc: str) -> Any:
    return told(
        lambda self: getattr(self.counts, field) if self.counts else None,
        dtype=int,
        label=label,
        format="%d",
        doc=doc,
    )


class OrcaAttributes:
    """Attributes of `OrcaDetector`; the functions get the device."""

    for _item in FAMILY:
        locals()[_item.name] = _told(_item)
    del _item

    for _name, _words in COUNTS.items():
        locals()[_name] = _count(*_words)
    del _name, _words

    Roi = told(
        lambda self: self.region,
        lambda self, value: self.set_region(value),
        dtype=(int,),
        max_dim_x=4,
        label="Region of interest",
        unit="pixel",
        format="%d",
        doc="Left, top, columns, rows of the sensor that are read, before binning; 0 columns or rows = all.",
    )
    CaptureStatus = told(
        lambda self: self.capture_status,
        dtype=str,
        label="Capture status",
        expert=True,
        doc="DCAM's own word: STABLE, READY, BUSY, UNSTABLE or ERROR.",
    )
