"""What a SIMPLON parameter accepts and whether it kept what it got: type, limits, rounding. Sans-IO, the client's side.

Sources as in `protocol.py`; what decided a limit or a tolerance stands beside it.
"""

from __future__ import annotations

import math
from typing import Any

from maxdaq_tango.detectors.contract import Range
from maxdaq_tango.detectors.eiger.protocol import SLOW_PARAMETERS, Module, Parameter
from maxdaq_tango.errors import DetectorRefused

BIG_PARAMETERS = ("flatfield", "pixel_mask", "countrate_correction_table")
"""Arrays of megabytes (also below threshold/n): never read as a matter of course, the stream's header carries them."""

COMMON_NAMES = {
    "energy_ev": ("photon_energy", "incident_energy"),
    "threshold_ev": ("threshold_energy", "threshold/1/energy"),
    "exposure_time_s": ("count_time",),
    "frame_period_s": ("frame_time",),
    "frames_per_trigger": ("nimages",),
    "trigger_count": ("ntrigger",),
    "detector_distance_m": ("detector_distance",),
    "beam_center_x_px": ("beam_center_x",),
    "beam_center_y_px": ("beam_center_y",),
}
"""Our name -> SIMPLON's names of the same value; the first that exists counts."""

KNOWN_CONFIG_KEYS = (
    "auto_summation", "beam_center_x", "beam_center_y", "bit_depth_image", "bit_depth_readout", "chi_increment",
    "chi_start", "compression", "count_time", "counting_mode", "countrate_correction_applied",
    "countrate_correction_count_cutoff", "data_collection_date", "description", "detector_distance", "detector_number",
    "detector_readout_time", "eiger_fw_version", "element", "flatfield_correction_applied", "frame_count_time",
    "frame_time", "incident_energy", "kappa_increment", "kappa_start", "mask_to_zero", "nimages", "ntrigger",
    "number_of_excluded_pixels", "omega_increment", "omega_start", "phi_increment", "phi_start", "photon_energy",
    "pixel_mask_applied", "roi_mode", "sensor_material", "sensor_thickness", "software_version", "threshold/1/energy",
    "threshold/1/mode", "threshold/2/energy", "threshold/2/mode", "threshold_energy", "trigger_mode",
    "trigger_start_delay", "two_theta_increment", "two_theta_start", "virtual_pixel_correction_applied", "wavelength",
    "x_pixel_size", "x_pixels_in_detector", "y_pixel_size", "y_pixels_in_detector",
)  # fmt: skip
"""Tried one by one where the detector does not list its keys (eiger-simulator)."""

KNOWN_MODULE_KEYS = {
    Module.STREAM: ("mode", "format", "header_detail", "header_appendix", "image_appendix"),
    Module.MONITOR: ("mode", "buffer_size", "discard_new"),
    Module.FILEWRITER: ("mode", "name_pattern", "nimages_per_file", "image_nr_start", "compression_enabled"),
}
"""The same for the modules beside the detector."""

UNLISTED_CONFIG_KEYS = ("wavelength",)
"""Exist although the real key list leaves them out (found by the authors of fastcs-eiger)."""

SLOW_EPSILON = {"photon_energy": 0.05, "incident_energy": 0.05, "threshold_energy": 0.05, "wavelength": 0.0005}
"""Smaller changes are not written: writing recomputes the flatfield for seconds. eV and Angstrom, as ADEiger has it."""
THRESHOLD_EPSILON_EV = 0.05

RELATIVE_TOLERANCE = 5e-6
"""The detector control unit stores float32; a recorded EIGER1 had frame_time 1.0000029 s for 1 s."""
TIME_RESOLUTION_S = 2e-7
"""Two ticks of 100 ns: the same detector had count_time 0.9999999 s for 1 s."""


def is_big(key: str) -> bool:
    """True for arrays of one value a pixel and for tables."""
    return key.rsplit("/", 1)[-1] in BIG_PARAMETERS


def is_threshold_mode(key: str) -> bool:
    """True for the switch of a threshold or of their difference; each enabled one is an image of its own in v2."""
    return key.startswith("threshold/") and key.endswith("/mode")


def is_slow(key: str) -> bool:
    """True when writing the parameter recomputes the flatfield."""
    return key in SLOW_PARAMETERS or epsilon_of(key) > 0


def epsilon_of(key: str) -> float:
    """Change below which a slow parameter is left alone, in its own unit; 0 for all others."""
    if key.startswith("threshold/") and key.endswith("/energy"):
        return THRESHOLD_EPSILON_EV
    return SLOW_EPSILON.get(key, 0.0)


def limits_of(parameter: Parameter) -> Range:
    """Limits as the detector states them. Equal ones are taken for none: eiger-simulator states 0..0 for an energy."""
    low, high = parameter.minimum, parameter.maximum
    if low is not None and high is not None and low >= high:
        return Range()
    return Range(low, high)


def accepted_text(parameter: Parameter) -> str:
    """What the parameter takes, in words; "" when the detector does not say."""
    if parameter.choices:
        return "one of " + ", ".join(repr(choice) for choice in parameter.choices)
    limits = limits_of(parameter)
    unit = f" {parameter.unit}" if isinstance(parameter.unit, str) and parameter.unit else ""
    low, high = limits.minimum, limits.maximum
    if low is not None and high is not None:
        return f"{low:g} to {high:g}{unit}"
    if low is not None:
        return f"{low:g}{unit} or more"
    if high is not None:
        return f"at most {high:g}{unit}"
    return f"a value of type {parameter.value_type}" if parameter.value_type else ""


def fit(key: str, parameter: Parameter, value: Any, of: str) -> Any:
    """`value` in the type the detector wants, after a check of everything it says it accepts.

    Whole floats become int and ints float where the detector wants that; nothing else is converted. Raises
    `DetectorRefused` before anything is sent, so that the error names the limits and not only the refusal.
    """
    asked = f"set {key} to {value!r}"
    accepted = accepted_text(parameter)
    if not parameter.is_writable:
        raise DetectorRefused(asked, of=of, answer="the parameter is read-only")
    fitted = _typed(parameter.value_type, value)
    if fitted is None:
        raise DetectorRefused(asked, of=of, answer=f"not a value of type {parameter.value_type}", accepted=accepted)
    if parameter.choices and fitted not in parameter.choices:
        raise DetectorRefused(asked, of=of, answer="not among the allowed values", accepted=accepted)
    if isinstance(fitted, int | float) and not isinstance(fitted, bool):
        limits = limits_of(parameter)
        slack = RELATIVE_TOLERANCE * abs(fitted)  # limits are float32 values printed as float64
        if limits.minimum is not None and fitted < limits.minimum - slack:
            raise DetectorRefused(asked, of=of, answer="below the lower limit", accepted=accepted)
        if limits.maximum is not None and fitted > limits.maximum + slack:
            raise DetectorRefused(asked, of=of, answer="above the upper limit", accepted=accepted)
    return fitted


def _typed(value_type: str, value: Any) -> Any:
    """`value` as `value_type`, None when it is of another kind. Unknown types are the detector's own business."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match value_type:
        case "bool":
            return value if isinstance(value, bool) else None
        case "float":
            return float(value) if number and math.isfinite(value) else None
        case "int" | "uint":
            if not number or not math.isfinite(value) or value != int(value):
                return None
            return int(value) if value_type == "int" or value >= 0 else None
        case "string":
            return str(value) if isinstance(value, str) else None
        case _:
            return value


def agree(asked: Any, got: Any, *, resolution: float = 0.0) -> bool:
    """True when a value read back is the one asked for, within float32 and the stated resolution."""
    for value in (asked, got):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return bool(asked == got)
    if isinstance(asked, int) and isinstance(got, int):
        return asked == got
    return math.isclose(asked, got, rel_tol=RELATIVE_TOLERANCE, abs_tol=resolution)
