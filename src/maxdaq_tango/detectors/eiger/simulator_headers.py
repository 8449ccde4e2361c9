"""What a series of the simulated detector is, frozen at arm, and what its header tells of it in both formats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cbor2
import msgspec
import numpy as np
import numpy.typing as npt

from maxdaq_tango.detectors.eiger.parameters import HC_EV_ANGSTROM, HEADER_KEYS
from maxdaq_tango.detectors.simulation.faults import Faults

Array = npt.NDArray[Any]


class SeriesPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a series' messages depend on, taken from the settings at arm."""

    series_id: int
    unique_id: str
    stream_format: str
    """legacy, cbor, or "" when the stream is disabled."""
    header_detail: str
    header_appendix: str
    image_appendix: str
    compression: str
    seed: int
    shape: tuple[int, int]
    dtype: str
    channels: tuple[str, ...]
    mask: Array | None
    """Pixels to mask, None = do not mask any."""
    mask_to_zero: bool
    config: Mapping[str, Any]
    """All values of detector/config."""
    arrays: Mapping[str, Array]
    """By SIMPLON key: threshold/1/flatfield ..., countrate_correction_table."""
    armed_at: str
    """ISO 8601 with zone."""
    armed_s: float
    """Detector clock."""
    subframes: int
    readout_s: float
    frame_total: int
    faults: Faults


def appendix_of(faults: Faults, appendix: str) -> str:
    """The header_appendix that is sent: MAX IV's sharing scripts name the file in there."""
    return msgspec.json.encode({"filename": faults.filename}).decode() if faults.filename else appendix


def v1_config(plan: SeriesPlan) -> dict[str, Any]:
    """The configuration part of a v1 header."""
    config = {key: plan.config[key] for key in HEADER_KEYS}
    config["roi_mode"] = "" if config["roi_mode"] == "disabled" else config["roi_mode"]
    # As recorded: time from the start of one readout to the next, not of one image to the next.
    config["frame_period"] = config["frame_count_time"] + config["detector_readout_time"]
    return dict(sorted(config.items()))


def v2_fields(plan: SeriesPlan) -> dict[str, Any]:
    """Everything of a v2 start message but its identity."""
    config = plan.config
    thresholds = [name.removeprefix("threshold_") for name in plan.channels if name != "difference"]
    fields = {
        "arm_date": cbor2.CBORTag(0, plan.armed_at),
        "beam_center_x": config["beam_center_x"],
        "beam_center_y": config["beam_center_y"],
        "channels": list(plan.channels),
        "count_time": config["count_time"],
        "countrate_correction_enabled": config["countrate_correction_applied"],
        "countrate_correction_lookup_table": _lookup_table(plan),
        "detector_description": config["description"],
        "detector_serial_number": config["detector_number"],
        "detector_translation": list(config["detector_translation"]),
        "flatfield": {f"threshold_{n}": plan.arrays[f"threshold/{n}/flatfield"] for n in thresholds},
        "flatfield_enabled": config["flatfield_correction_applied"],
        "frame_time": config["frame_time"],
        "goniometer": {
            axis: {"increment": config[f"{axis}_increment"], "start": config[f"{axis}_start"]}
            for axis in ("chi", "kappa", "omega", "phi", "two_theta")
        },
        "image_dtype": plan.dtype,
        "image_size_x": plan.shape[1],
        "image_size_y": plan.shape[0],
        "incident_energy": config["incident_energy"],
        "incident_wavelength": HC_EV_ANGSTROM / config["incident_energy"],
        "number_of_images": plan.frame_total,
        "pixel_mask": {f"threshold_{n}": plan.arrays[f"threshold/{n}/pixel_mask"] for n in thresholds},
        "pixel_mask_enabled": config["pixel_mask_applied"],
        "pixel_size_x": config["x_pixel_size"],
        "pixel_size_y": config["y_pixel_size"],
        "saturation_value": config["countrate_correction_count_cutoff"],
        "sensor_material": config["sensor_material"],
        "sensor_thickness": config["sensor_thickness"],
        # Of all thresholds, enabled or not: so sent the EIGER2 16M of the tickit-devices wheel.
        "threshold_energy": {
            f"threshold_{n}": config[f"threshold/{n}/energy"] for n in range(1, 5) if f"threshold/{n}/energy" in config
        },
        "virtual_pixel_interpolation_enabled": config["virtual_pixel_correction_applied"],
    }
    if plan.header_appendix:
        fields["user_data"] = plan.header_appendix
    return fields


def _lookup_table(plan: SeriesPlan) -> Array:
    """Corrected count for each observed count up to the cutoff, at most 65536 entries."""
    cutoff = min(int(plan.config["countrate_correction_count_cutoff"]), 65535)
    observed = np.arange(cutoff + 1, dtype=np.float64)
    rate = observed / plan.config["count_time"]
    corrected: Array = np.minimum(observed / np.maximum(1 - rate * 5e-8, 0.05), 2.0**32 - 1).astype(np.uint32)
    return corrected
