"""What crystallographers set for a collection, and switches of the detector's other modules: more of the same table.

They are looked at less often: nobody changes them during a scan.
"""

from __future__ import annotations

from maxdaq_tango.detectors.eiger.attributes import FamilyAttribute, told_family

AXES = {"Omega": "omega", "Kappa": "kappa", "Phi": "phi", "Chi": "chi", "TwoTheta": "two_theta"}
"""Our name > SIMPLON's."""


def _axis(name: str, key: str) -> tuple[FamilyAttribute, FamilyAttribute]:
    return (
        FamilyAttribute(
            f"{name}Start",
            f"{key}_start",
            float,
            f"{name} at the start",
            f"Angle {key} of the first frame; goes into the header.",
            "deg",
            "%.5f",
            writable=True,
        ),
        FamilyAttribute(
            f"{name}Increment",
            f"{key}_increment",
            float,
            f"{name} per frame",
            f"What {key} turns during a frame; goes into the header.",
            "deg",
            "%.6f",
            writable=True,
        ),
    )


def _switch(name: str, key: str, label: str, doc: str) -> FamilyAttribute:
    return FamilyAttribute(name, key, bool, label, doc, writable=True, expert=True)


def _text(name: str, key: str, label: str, doc: str, *, writable: bool = True, status: bool = False) -> FamilyAttribute:
    return FamilyAttribute(name, key, str, label, doc, writable=writable, status=status, expert=True)


COLLECTION = (
    FamilyAttribute(
        "Wavelength",
        "wavelength",
        float,
        "Wavelength",
        "Of the photons; follows Energy, and Energy follows it.",
        "angstrom",
        "%.6f",
        writable=True,
    ),
    *(attribute for name, key in AXES.items() for attribute in _axis(name, key)),
    _switch("FlatfieldCorrection", "flatfield_correction_applied", "Flat field", "Frames are corrected by it."),
    _switch("AutoSummation", "auto_summation", "Auto summation", "Long exposures are summed from short ones."),
    _switch("CountrateCorrection", "countrate_correction_applied", "Count rate correction", "For pile-up of photons."),
    _switch("PixelMaskApplied", "pixel_mask_applied", "Pixel mask", "Masked pixels have the largest value."),
    FamilyAttribute(
        "CountrateCutoff",
        "countrate_correction_count_cutoff",
        int,
        "Count rate cut-off",
        "Counts of a frame above which the count rate correction gives up.",
        "count",
        "%d",
    ),
    _text("StreamMode", "stream/mode", "Stream", "enabled or disabled. Arm switches it on: frames go by it."),
    _text("StreamHeaderDetail", "stream/header_detail", "Header detail", "all, basic or none; until the server ends."),
    _text("HeaderAppendix", "stream/header_appendix", "Header appendix", "Text that the start message carries."),
    _text("ImageAppendix", "stream/image_appendix", "Image appendix", "Text that each frame carries in stream v1."),
    _text(
        "StreamState", "stream/state", "Stream state", "disabled, ready, acquire, error.", writable=False, status=True
    ),
    _text("MonitorMode", "monitor/mode", "Monitor", "The detector's own preview: enabled or disabled."),
    _switch("MonitorDiscardNew", "monitor/discard_new", "Monitor keeps old", "A full preview buffer drops new frames."),
    FamilyAttribute(
        "BufferFree",
        "filewriter/buffer_free",
        int,
        "Buffer free",
        "Room for files in the control unit, as it says: KB in SIMPLON 1.6, bytes in 1.8.",
        "",
        "%d",
        status=True,
        expert=True,
    ),
    _text("DetectorTime", "time", "Detector time", "Clock of the control unit.", writable=False, status=True),
    _text("DetectorErrors", "error", "Detector errors", "The detector's list of errors.", writable=False, status=True),
)
"""Beside `attributes.FAMILY`."""


class CollectionAttributes:
    """More attributes of `EigerDetector`; the functions get the device."""

    for _item in COLLECTION:
        locals()[_item.name] = told_family(_item)
    del _item
