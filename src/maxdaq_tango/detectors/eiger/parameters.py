"""What can be read and set on a SIMPLON detector: one row per parameter, and which writes change which others.

Keys, types, units and access from the SIMPLON API references 1.6 and 1.8; ranges of Eiger from a dump of a real
Eiger 500K (DiamondLightSource/eiger-detector, eiger_simulator.py), values and spelling of EIGER1 from the recorded
1M stream; EIGER2 and Pilatus4 ranges from their public data sheets. No timing figure here was checked on hardware.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

FLOAT32_MAX = 3.4028234663852886e38
UINT32_MAX = 4294967295
HC_EV_ANGSTROM = 12398.419843320026
"""Planck's constant times the speed of light: wavelength in Angstrom times energy in eV."""

K_ALPHA_EV: Mapping[str, float] = {
    "Cr": 5414.72, "Mn": 5898.75, "Fe": 6403.84, "Co": 6930.32, "Ni": 7478.15, "Cu": 8047.78, "Zn": 8638.86,
    "Ga": 9251.74, "Ge": 9886.42, "As": 10543.72, "Se": 11222.4, "Br": 11924.2, "Kr": 12649.0, "Rb": 13395.3,
    "Sr": 14165.0, "Y": 14958.4, "Zr": 15775.1, "Nb": 16615.1, "Mo": 17479.34, "Tc": 18367.1, "Ru": 19279.2,
    "Rh": 20216.1, "Pd": 21177.1, "Ag": 22162.92, "Cd": 23173.6, "In": 24209.7, "Sn": 25271.3, "Sb": 26359.1,
    "Te": 27472.3, "I": 28612.0, "Xe": 29779.0, "Cs": 30972.8, "Ba": 32193.6, "La": 33441.8, "Ce": 34719.7,
}  # fmt: skip
"""Energies that `element` stands for."""


class DetectorModel(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between the families that speak SIMPLON."""

    name: str
    """eiger, eiger2 or pilatus4."""
    description: str
    """As `detector/config/description` begins; the size follows."""
    serial_number: str
    pixel_size_m: float
    thresholds: int
    trigger_modes: tuple[str, ...]
    min_count_time_s: float
    min_frame_time_s: float
    readout_time_s: float
    """What `detector_readout_time` says."""
    gap_s: float
    """Shortest pause between two images. The documents equate it with the readout time; the recorded EIGER1 has
    frame_time - count_time = 3 us where it says 7.5 us, and the recording wins."""
    eight_bit_below_s: float
    """8-bit images when frame_time is shorter than this; 0 = never."""
    bit_depth_readout: int
    subframe_s: float
    """Longest single readout; longer exposures are summed."""
    cutoff_rate_hz: float
    """Counts a second and pixel at which the count-rate correction gives up."""
    energy_range_ev: tuple[float, float]
    threshold_range_ev: tuple[float, float]
    sensor_thickness_m: float


MODELS: Mapping[str, DetectorModel] = {
    model.name: model
    for model in (
        DetectorModel(
            name="eiger", description="Dectris EIGER1 Si", serial_number="E-02-9001", pixel_size_m=75e-6, thresholds=1,
            trigger_modes=("ints", "exts", "inte", "exte"), min_count_time_s=3e-6, min_frame_time_s=1.1e-4,
            readout_time_s=7.540540540540541e-06, gap_s=3e-6, eight_bit_below_s=0.0, bit_depth_readout=16,
            subframe_s=0.0013240272897398063, cutoff_rate_hz=2943293.3, energy_range_ev=(5000.0, 36000.0),
            threshold_range_ev=(2700.0, 18000.0), sensor_thickness_m=0.00045,
        ),
        DetectorModel(
            name="eiger2", description="Dectris EIGER2 Si", serial_number="E-32-9002", pixel_size_m=75e-6, thresholds=2,
            trigger_modes=("ints", "exts", "inte", "exte", "extg"), min_count_time_s=1e-7, min_frame_time_s=1e-4,
            readout_time_s=1e-7, gap_s=1e-7, eight_bit_below_s=1 / 2250, bit_depth_readout=16,
            subframe_s=0.0013240272897398063, cutoff_rate_hz=4984000.0, energy_range_ev=(3500.0, 40000.0),
            threshold_range_ev=(2700.0, 32000.0), sensor_thickness_m=0.00045,
        ),
        DetectorModel(
            name="pilatus4", description="Dectris PILATUS4 Si", serial_number="P-40-9003", pixel_size_m=150e-6,
            thresholds=4, trigger_modes=("ints", "exts", "inte", "exte", "extg"), min_count_time_s=1e-7,
            min_frame_time_s=1e-4, readout_time_s=1e-7, gap_s=1e-7, eight_bit_below_s=1 / 2000, bit_depth_readout=16,
            subframe_s=0.0013240272897398063, cutoff_rate_hz=1.0e7, energy_range_ev=(5000.0, 60000.0),
            threshold_range_ev=(3000.0, 60000.0), sensor_thickness_m=0.00045,
        ),
    )
}  # fmt: skip


class Spec(msgspec.Struct, frozen=True):
    """One parameter."""

    key: str
    value_type: str
    """bool, float, int, uint, string, float[] for a fixed triple, or darray."""
    default: Any
    access: str = "rw"
    minimum: float | None = None
    maximum: float | None = None
    allowed: tuple[Any, ...] = ()
    unit: str = ""
    listed: bool = True
    """False for what real detectors have but leave out of their key lists."""


def detector_config(model: DetectorModel, api: str, rows: int, columns: int) -> dict[str, Spec]:
    """Rows of `detector/config`; darrays have default None and are made by whoever knows the pixels."""
    modern = api != "1.6.0"
    energy = K_ALPHA_EV["Cu"]
    low, high = model.energy_range_ev
    specs = [
        Spec("auto_summation", "bool", True),
        Spec("beam_center_x", "float", 0.0, unit="pixel"),
        Spec("beam_center_y", "float", 0.0, unit="pixel"),
        Spec("bit_depth_image", "uint", 32, "r"),
        Spec("bit_depth_readout", "uint", model.bit_depth_readout, "r"),
        Spec("compression", "string", "bslz4", allowed=("lz4", "bslz4", "none") if modern else ("lz4", "bslz4")),
        Spec("count_time", "float", 0.1, "rw", model.min_count_time_s, 1800.0, unit="s"),
        Spec("countrate_correction_applied", "bool", True),
        Spec("countrate_correction_count_cutoff", "uint", 0, "r"),
        Spec("countrate_correction_table", "darray", None, "r"),
        Spec("data_collection_date", "string", ""),
        Spec("description", "string", f"{model.description} {columns}x{rows} (simulated)", "r"),
        Spec("detector_distance", "float", 0.0, unit="m"),
        Spec("detector_number", "string", model.serial_number, "r"),
        Spec("detector_readout_time", "float", model.readout_time_s, "r", unit="s"),
        Spec("detector_translation", "float[]", [0.0, 0.0, 0.0], unit="m"),
        Spec("eiger_fw_version", "string", "simulated-1.0", "r"),
        Spec("element", "string", "Cu", allowed=(*K_ALPHA_EV, "")),
        Spec("flatfield", "darray", None),
        Spec("flatfield_correction_applied", "bool", True),
        Spec("frame_count_time", "float", 0.0, "r", unit="s"),
        Spec("frame_time", "float", 0.1 + model.gap_s, "rw", model.min_frame_time_s, 360000.0, unit="s"),
        Spec("nimages", "uint", 1, "rw", 1, 2_000_000_000),
        Spec("ntrigger", "uint", 1, "rw", 1, 2_000_000_000),
        Spec("number_of_excluded_pixels", "uint", 0, "r"),
        Spec("photon_energy", "float", energy, "rw", low, high, unit="eV"),
        Spec("pixel_mask", "darray", None),
        Spec("pixel_mask_applied", "bool", True),
        Spec("roi_mode", "string", "disabled", allowed=_roi_modes(model, rows, modern)),
        Spec("sensor_material", "string", "Si", "r"),
        Spec("sensor_thickness", "float", model.sensor_thickness_m, "r", unit="m"),
        Spec("software_version", "string", f"{api[:3]}.6" if not modern else api, "r"),
        Spec("threshold_energy", "float", energy / 2, "rw", *model.threshold_range_ev, unit="eV"),
        Spec("trigger_mode", "string", "ints", allowed=model.trigger_modes),
        Spec("virtual_pixel_correction_applied", "bool", True),
        Spec("wavelength", "float", HC_EV_ANGSTROM / energy, "rw",
             HC_EV_ANGSTROM / high, HC_EV_ANGSTROM / low, unit="angstrom", listed=False),
        Spec("x_pixel_size", "float", model.pixel_size_m, "r", unit="m"),
        Spec("y_pixel_size", "float", model.pixel_size_m, "r", unit="m"),
        Spec("x_pixels_in_detector", "uint", columns, "r"),
        Spec("y_pixels_in_detector", "uint", rows, "r"),
    ]  # fmt: skip
    for axis in ("chi", "kappa", "omega", "phi", "two_theta"):
        specs += [
            Spec(f"{axis}_start", "float", 0.0, unit="degree"),
            Spec(f"{axis}_increment", "float", 0.0, unit="degree"),
        ]
    if modern:
        specs += _modern_config(model, energy)
    return {spec.key: _bounded(spec) for spec in specs}


def _modern_config(model: DetectorModel, energy: float) -> Iterator[Spec]:
    low, high = model.threshold_range_ev
    yield Spec("counting_mode", "string", "normal", allowed=("normal", "retrigger"))
    yield Spec("fast_arm", "bool", False)
    yield Spec("incident_energy", "float", energy, "rw", *model.energy_range_ev, unit="eV")
    yield Spec("incident_particle_type", "string", "photons", "r")
    yield Spec("mask_to_zero", "bool", False)
    yield Spec("trigger_start_delay", "float", 0.0, "rw", 0.0, 3600.0, unit="s")
    for name in ("instrument_name", "sample_name", "source_name"):
        yield Spec(name, "string", "")
    yield Spec("total_flux", "float", 0.0, unit="ph/s")
    if "extg" in model.trigger_modes:
        yield Spec("extg_mode", "string", "double", allowed=("single", "double"))
        yield Spec("nexpi", "uint", 1, "rw", 1, 65535)
    for n in range(1, model.thresholds + 1):
        default = min(high, energy * (0.5 if n == 1 else 1.4 + 0.2 * (n - 2)))
        yield Spec(f"threshold/{n}/energy", "float", default, "rw", low, high, unit="eV")
        yield Spec(f"threshold/{n}/mode", "string", "enabled" if n == 1 else "disabled", allowed=SWITCH)
        yield Spec(f"threshold/{n}/flatfield", "darray", None)
        yield Spec(f"threshold/{n}/pixel_mask", "darray", None)
        yield Spec(f"threshold/{n}/number_of_excluded_pixels", "uint", 0, "r")
    if model.thresholds > 1:
        yield Spec("threshold/difference/mode", "string", "disabled", allowed=SWITCH)
        yield Spec("threshold/difference/lower_threshold", "uint", 1, "r")
        yield Spec("threshold/difference/upper_threshold", "uint", 2, "r")


SWITCH = ("enabled", "disabled")


def _roi_modes(model: DetectorModel, rows: int, modern: bool) -> tuple[str, ...]:
    """4M on the large EIGER2. `lines` of one-module systems is left out: what it sends is not public."""
    if modern and model.name == "eiger2" and rows > 3000:
        return ("disabled", "4M")
    return ("disabled",)


def _bounded(spec: Spec) -> Spec:
    """Real detectors state the limits of the type where there are no others."""
    limits = {"float": (-FLOAT32_MAX, FLOAT32_MAX), "uint": (0, UINT32_MAX)}.get(spec.value_type)
    if limits is None or spec.minimum is not None:
        return spec
    return msgspec.structs.replace(spec, minimum=limits[0], maximum=limits[1])


def stream_config(api: str) -> dict[str, Spec]:
    """Rows of `stream/config`; stream v2 exists from 1.8 on."""
    specs = [
        Spec("mode", "string", "disabled", allowed=SWITCH),
        Spec("header_detail", "string", "basic", allowed=("all", "basic", "none")),
        Spec("header_appendix", "string", ""),
        Spec("image_appendix", "string", ""),
    ]
    if api != "1.6.0":
        specs.append(Spec("format", "string", "legacy", allowed=("legacy", "cbor")))
    return {spec.key: spec for spec in specs}


def monitor_config() -> dict[str, Spec]:
    """Rows of `monitor/config`."""
    specs = (
        Spec("mode", "string", "disabled", allowed=SWITCH),
        Spec("buffer_size", "uint", 100, "rw", 1, 10000),
        Spec("discard_new", "bool", False),
    )
    return {spec.key: spec for spec in specs}


def filewriter_config(api: str) -> dict[str, Spec]:
    """Rows of `filewriter/config`. Only `disabled` is offered as mode: nothing here pretends to write files."""
    specs = [
        Spec("mode", "string", "disabled", allowed=("disabled",)),
        Spec("name_pattern", "string", "series_$id"),
        Spec("nimages_per_file", "uint", 1000, "rw", 0, UINT32_MAX),
        Spec("image_nr_start", "uint", 1, "rw", 0, UINT32_MAX),
        Spec("compression_enabled", "bool", True),
    ]
    if api == "1.6.0":
        specs.append(Spec("transfer_mode", "string", "HTTP", allowed=("HTTP",)))
    else:
        specs.append(Spec("format", "string", "hdf5 nexus legacy nxmx",
                          allowed=("hdf5 nexus legacy nxmx", "hdf5 nexus v2024.2 nxmx")))  # fmt: skip
    return {spec.key: spec for spec in specs}


TIMING_KEYS = (
    "bit_depth_image", "bit_depth_readout", "count_time", "countrate_correction_count_cutoff", "frame_count_time",
    "frame_time",
)  # fmt: skip
_FLATFIELDS = tuple(f"threshold/{n}/flatfield" for n in range(1, 5))
_ENERGIES = tuple(f"threshold/{n}/energy" for n in range(1, 5))
_ENERGY_KEYS = (
    "element", "flatfield", "incident_energy", "photon_energy", "threshold_energy", *_ENERGIES, *_FLATFIELDS,
    "wavelength",
)  # fmt: skip
CHANGES: Mapping[str, tuple[str, ...]] = {
    "auto_summation": ("auto_summation", "frame_count_time"),
    "count_time": TIMING_KEYS,
    "frame_time": TIMING_KEYS,
    "flatfield": ("flatfield", "threshold/1/flatfield"),
    "threshold/1/flatfield": ("flatfield", "threshold/1/flatfield"),
    "pixel_mask": ("number_of_excluded_pixels", "pixel_mask", "threshold/1/pixel_mask"),
    "threshold/1/pixel_mask": ("number_of_excluded_pixels", "pixel_mask", "threshold/1/pixel_mask"),
    **dict.fromkeys(("photon_energy", "incident_energy", "element", "wavelength"), _ENERGY_KEYS),
    **dict.fromkeys(("threshold_energy", "threshold/1/energy"),
                    ("flatfield", "threshold/1/energy", "threshold_energy", *_FLATFIELDS)),
    **{f"threshold/{n}/energy": ("flatfield", f"threshold/{n}/energy", *_FLATFIELDS) for n in (2, 3, 4)},
    **{f"threshold/{n}/mode": (f"threshold/{n}/mode", "threshold/difference/mode") for n in (1, 2, 3, 4)},
    "roi_mode": ("roi_mode", *TIMING_KEYS),
    # Not a slip of ours: real firmware answers with a key that does not exist (fastcs-eiger, io.py).
    "threshold/difference/mode": ("difference_mode",),
}  # fmt: skip
"""Answer to a PUT: what may have changed, before keys that this detector does not have are left out."""

HEADER_KEYS = (
    "auto_summation", "beam_center_x", "beam_center_y", "bit_depth_image", "bit_depth_readout", "chi_increment",
    "chi_start", "compression", "count_time", "countrate_correction_applied", "countrate_correction_count_cutoff",
    "data_collection_date", "description", "detector_distance", "detector_number", "detector_readout_time",
    "detector_translation", "eiger_fw_version", "element", "flatfield_correction_applied", "frame_count_time",
    "frame_time", "kappa_increment", "kappa_start", "nimages", "ntrigger", "number_of_excluded_pixels",
    "omega_increment", "omega_start", "phi_increment", "phi_start", "photon_energy", "pixel_mask_applied", "roi_mode",
    "sensor_material", "sensor_thickness", "software_version", "threshold_energy", "trigger_mode",
    "two_theta_increment", "two_theta_start", "virtual_pixel_correction_applied", "wavelength", "x_pixel_size",
    "x_pixels_in_detector", "y_pixel_size", "y_pixels_in_detector",
)  # fmt: skip
"""What a v1 header tells, plus `frame_period`: exactly the 48 keys of the recorded EIGER1 stream."""
