"""The attributes of `EigerDectrisFacade`, by EigerDectris' names, as one table. The functions get the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maxdaq_tango.tango_support.attributes import told


@dataclass(frozen=True)
class Passed:
    """An attribute that is one of the detector device, under another name."""

    name: str
    target: str
    dtype: Any
    label: str
    unit: str = ""
    format: str = ""
    writable: bool = True
    doc: str = ""


PASSED = (
    Passed("NbImages", "nFramesPerTrigger", int, "Images", "", "%d", doc="Of each trigger. "),
    Passed("NbTriggers", "nTriggers", int, "Triggers", "", "%d"),
    Passed("ImagesPerFile", "FramesPerFile", int, "Images per file", "", "%d", doc="0 = as the receiver does it. "),
    Passed("ReadoutTime", "ReadoutTime", float, "Readout time", "s", "%.9f", writable=False),
    Passed("BitDepth", "BitDepth", int, "Bit depth", "bit", "%d", writable=False),
    Passed("RoiMode", "RoiMode", str, "Region of interest"),
    Passed("Compression", "Compression", str, "Compression"),
    Passed("PhotonEnergy", "Energy", float, "Photon energy", "eV", "%.1f"),
    Passed("EnergyThreshold", "Threshold", float, "Energy threshold", "eV", "%.1f"),
    Passed("Wavelength", "Wavelength", float, "Wavelength", "angstrom", "%.6f"),
    Passed("FlatfieldEnabled", "FlatfieldCorrection", bool, "Flat field"),
    Passed("AutoSummationEnabled", "AutoSummation", bool, "Auto summation"),
    Passed("RateCorrectionEnabled", "CountrateCorrection", bool, "Count rate correction"),
    Passed("PixelMaskApplied", "PixelMaskApplied", bool, "Pixel mask"),
    Passed("CountrateCorrectionCountCutoff", "CountrateCutoff", int, "Cut-off", "count", "%d", writable=False),
    Passed("BeamCenterX", "BeamCenterX", float, "Beam centre x", "pixel", "%.2f"),
    Passed("BeamCenterY", "BeamCenterY", float, "Beam centre y", "pixel", "%.2f"),
    Passed("DetectorDistance", "DetectorDistance", float, "Detector distance", "m", "%.5f"),
    *(
        Passed(name, name, float, name, "deg", "%.6f")
        for axis in ("Omega", "Kappa", "Phi", "Chi", "TwoTheta")
        for name in (f"{axis}Start", f"{axis}Increment")
    ),
    Passed("HeaderDetail", "StreamHeaderDetail", str, "Header detail"),
    Passed("HeaderAppendix", "HeaderAppendix", str, "Header appendix"),
    Passed("ImageAppendix", "ImageAppendix", str, "Image appendix"),
    Passed("StreamState", "StreamState", str, "Stream state", writable=False),
    Passed("MonitorMode", "MonitorMode", str, "Monitor"),
    Passed("DiscardNew", "MonitorDiscardNew", bool, "Monitor keeps old images"),
    Passed("BufferFree", "BufferFree", int, "Buffer free", "", "%d", writable=False),
    Passed("Temperature", "Temperature", float, "Temperature", "degC", "%.1f", writable=False),
    Passed("Humidity", "Humidity", float, "Humidity", "%", "%.1f", writable=False),
    Passed("Time", "DetectorTime", str, "Detector time", writable=False),
    Passed("Description", "Description", str, "Description", writable=False),
    Passed("XPixelSize", "PixelSizeX", float, "Pixel size x", "m", "%.7f", writable=False),
    Passed("YPixelSize", "PixelSizeY", float, "Pixel size y", "m", "%.7f", writable=False),
    Passed("XPixelsDetector", "XPixelsDetector", int, "Columns", "pixel", "%d", writable=False),
    Passed("YPixelsDetector", "YPixelsDetector", int, "Rows", "pixel", "%d", writable=False),
    Passed("nFramesAcquired", "nFramesAcquired", int, "Frames acquired", "", "%d", writable=False),
    Passed("nFramesReceived", "nFramesReceived", int, "Frames received", "", "%d", writable=False),
)
ALSO_LOOKED_AT = ("ExposureTime", "FrameTime", "TriggerMode", "ExposurePerTrigger", "Metadata", "DetectorErrors")
"""For the attributes that are more than another name."""


def _passed(item: Passed) -> Any:
    return told(
        lambda self: self.behind.value(item.target),
        (lambda self, value: self.behind.write(item.target, value)) if item.writable else None,
        dtype=item.dtype,
        label=item.label,
        unit=item.unit,
        format=item.format,
        doc=f"{item.doc}Attribute {item.target} of the detector device.",
    )


class EigerDectrisAttributes:
    """Names that mean nothing here are not accepted silently: their docs say what they tell, or why they refuse."""

    for _item in PASSED:
        locals()[_item.name] = _passed(_item)
    del _item

    CountTime = told(
        lambda self: self.behind.value("ExposureTime"),
        lambda self, value: self.set_count_time(value),
        dtype=float,
        label="Count time",
        unit="s",
        format="%.7f",
        doc="Exposure of one image. A FrameTime that is too short for it follows, as SIMPLON does it.",
    )
    FrameTime = told(
        lambda self: self.behind.value("FrameTime"),
        lambda self, value: self.set_frame_time(value),
        dtype=float,
        label="Frame time",
        unit="s",
        format="%.7f",
        doc="From image to image. A CountTime that is too long for it follows, as SIMPLON does it.",
    )
    CountTimeInte = told(
        lambda self: self.count_time_inte,
        lambda self, value: self.set_count_time_inte(value),
        dtype=float,
        label="Count time of inte",
        unit="s",
        format="%.7f",
        minimum=0.0,
        doc="Exposure of the next Trigger in TriggerMode inte; 0 = CountTime.",
    )
    TriggerMode = told(
        lambda self: self.trigger_word,
        lambda self, value: self.set_trigger_mode(value),
        dtype=str,
        label="Trigger mode",
        doc="ints, inte, exts or exte.",
    )
    FilenamePattern = told(
        lambda self: self.file.pattern,
        lambda self, value: self.file.set_pattern(value),
        dtype=str,
        label="File name pattern",
        doc="Path without ending, below Root: the receiver writes <pattern>_master.h5. Empty = no file.",
    )
    FileWriterMode = told(
        lambda self: self.file.mode,
        lambda self, value: self.file.set_mode(value),
        dtype=str,
        label="File writer",
        doc="enabled: the receiver writes a file. disabled: it does not. The detector's own file writer is never on.",
    )
    FileWriterState = told(
        lambda self: self.writer_state,
        dtype=str,
        label="File writer state",
        doc="Of the receiver: disabled, ready, acquire, or error after a run that FAILED; invalid when nobody knows.",
    )
    ImageNbStart = told(
        lambda self: 1,
        lambda self, value: self.set_first_number(value),
        dtype=int,
        label="First image number",
        format="%d",
        doc="1, and nothing else: data files are counted from 1.",
    )
    DownloadDirectory = told(
        lambda self: self.file.root, dtype=str, label="Folder", doc="Property Root: where files are."
    )
    FilesInBuffer = told(
        lambda self: [],
        dtype=(str,),
        label="Files in the buffer",
        max_dim_x=1,
        doc="Always empty: files are written by the receiver, none lies in the detector's control unit.",
    )
    CollectionUUID = told(
        lambda self: self.collection_uuid,
        lambda self, value: self.set_collection_uuid(value),
        dtype=str,
        label="Collection UUID",
        doc="Stored in the file, as collection_uuid of the metadata.",
    )
    Error = told(
        lambda self: self.error,
        dtype=str,
        label="Error",
        doc="What the detector lists as errors, and what went wrong in the last series; empty when nothing did.",
    )
