"""Parameters of the simulated detector: typed, ranged, and coupled the way the real one couples them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET

from maxdaq_tango.detectors.eiger import parameters as tables
from maxdaq_tango.detectors.eiger.darray import decode_darray, encode_darray
from maxdaq_tango.detectors.eiger.parameters import HC_EV_ANGSTROM, K_ALPHA_EV, DetectorModel, Spec
from maxdaq_tango.detectors.eiger.protocol import ONE_FRAME_MODES, Parameter
from maxdaq_tango.errors import DetectorRefused, WireError

Array = npt.NDArray[Any]


class Refusal(DetectorRefused):
    """The simulated detector says no; `status` is the HTTP status it says it with."""

    def __init__(self, status: int, text: str, accepted: str = "") -> None:
        super().__init__(text, accepted=accepted)
        self.status = status


class Settings:
    """A table of parameters with their values. Not thread-safe: the simulator's owner holds the lock."""

    def __init__(self, specs: Mapping[str, Spec], *, single_precision: bool = False) -> None:
        self.specs = dict(specs)
        self._single = single_precision
        self.values: dict[str, Any] = {}
        self.reset()

    def reset(self) -> None:
        """Everything as after initialize."""
        self.values = {key: self.rounded(spec, spec.default) for key, spec in self.specs.items()}

    def keys(self) -> list[str]:
        """What the server lists; some real parameters are not in it."""
        return sorted(key for key, spec in self.specs.items() if spec.listed)

    def spec(self, key: str) -> Spec:
        """The row of a parameter; a 404 when there is none."""
        try:
            return self.specs[key]
        except KeyError:
            raise Refusal(404, f"Parameter {key} does not exist", "a name listed by keys") from None

    def envelope(self, key: str) -> Parameter:
        """The answer to GET."""
        spec = self.spec(key)
        return Parameter(
            value=self._json_value(spec),
            value_type={"darray": "uint" if "mask" in key else "float", "float[]": "float"}.get(
                spec.value_type, spec.value_type
            ),
            min=UNSET if spec.minimum is None else self.rounded(spec, spec.minimum),
            max=UNSET if spec.maximum is None else self.rounded(spec, spec.maximum),
            allowed_values=list(spec.allowed) if spec.allowed else UNSET,
            unit=spec.unit or UNSET,
            access_mode=spec.access,
        )

    def write(self, key: str, value: Any) -> list[str]:
        """PUT: check, store, and name what may have changed. Raises `Refusal`."""
        self.values[key] = self.checked(key, value)
        return [key]

    def checked(self, key: str, value: Any) -> Any:
        """The value as it would be stored. Raises `Refusal` on a wrong type, range or access."""
        spec = self.spec(key)
        if "w" not in spec.access:
            raise Refusal(400, f"Parameter {key} is read-only")
        if not _fits(spec.value_type, value):
            raise Refusal(
                400,
                f"Parameter {key} cannot be set to {_short(value)}: wrong type",
                f"a value of type {spec.value_type}",
            )
        if spec.allowed and value not in spec.allowed:
            allowed = ", ".join(repr(choice) for choice in spec.allowed)
            raise Refusal(400, f"Parameter {key} cannot be set to {_short(value)}: not allowed", allowed)
        if spec.minimum is not None and spec.maximum is not None and not spec.minimum <= value <= spec.maximum:
            raise Refusal(
                400,
                f"Parameter {key} cannot be set to {_short(value)}: out of range",
                f"{spec.minimum} to {spec.maximum} {spec.unit}".rstrip(),
            )
        return self.rounded(spec, value)

    def rounded(self, spec: Spec, value: Any) -> Any:
        """As the hardware keeps it: firmware 1.6 stores single precision, so what is read back differs a little."""
        if spec.value_type == "float":
            return float(np.float32(value)) if self._single else float(value)
        return value

    def _json_value(self, spec: Spec) -> Any:
        return self.values[spec.key]


class DetectorSettings(Settings):
    """`detector/config` with its couplings (SIMPLON 1.8, chapter on detector configuration)."""

    def __init__(
        self, model: DetectorModel, api: str, rows: int, columns: int, mask: Array, *, bit_depth: int | None = None
    ) -> None:
        self.model = model
        self.shape = (rows, columns)
        self._default_mask = mask
        self._default_flatfield = np.broadcast_to(np.float32(1), (rows, columns))
        self._excluded: dict[str, int] = {}
        """Masked pixels by mask, counted when needed: 16 million pixels at each PUT would be felt."""
        self._pinned_bit_depth = bit_depth
        self._arrays: dict[str, Array] = {}
        self._couplings: Mapping[str, Callable[[Any], None]] = {
            "count_time": self._count_time,
            "frame_time": self._frame_time,
            "photon_energy": self._energy,
            "incident_energy": self._energy,
            "element": self._element,
            "wavelength": self._wavelength,
            "threshold_energy": self._first_threshold,
            "threshold/1/energy": self._first_threshold,
            "roi_mode": lambda _value: self._reset_times(),
        }
        super().__init__(tables.detector_config(model, api, rows, columns), single_precision=api == "1.6.0")

    def reset(self) -> None:
        """Everything as after initialize, uploaded arrays gone."""
        super().reset()
        self._arrays = {}
        self._excluded.clear()
        self._derive()

    # --- arrays ---

    def array(self, key: str) -> Array:
        """A mask, flatfield or table as it stands."""
        self.spec(key)
        name = _array_name(key)
        if name in self._arrays:
            return self._arrays[name]
        if name == "countrate_correction_table":
            return _countrate_table(self.model.cutoff_rate_hz)
        return self._default_mask if "pixel_mask" in name else self._default_flatfield

    def delete(self, key: str) -> list[str]:
        """DELETE: an uploaded mask or flatfield gives way to the default."""
        spec = self.spec(key)
        if spec.value_type != "darray" or "w" not in spec.access:
            raise Refusal(400, f"Parameter {key} cannot be deleted", "a pixel mask or a flatfield")
        self._arrays.pop(_array_name(key), None)
        self._excluded.clear()
        self._derive()
        return self._changed(key)

    def _json_value(self, spec: Spec) -> Any:
        return encode_darray(self.array(spec.key)) if spec.value_type == "darray" else super()._json_value(spec)

    def _store_array(self, key: str, value: Any) -> None:
        try:
            array = decode_darray(value, shape=self.shape)
        except WireError as error:
            raise Refusal(400, f"Parameter {key}: {error}") from error
        if (array.dtype == np.uint32) != ("mask" in key):
            raise Refusal(400, f"Parameter {key}: type {array.dtype}", "<u4 for a mask, <f4 for a flatfield")
        array.flags.writeable = False
        self._arrays[_array_name(key)] = array
        self._excluded.clear()

    # --- writes ---

    def write(self, key: str, value: Any) -> list[str]:
        """PUT with all couplings; on a refusal nothing has changed."""
        before = (dict(self.values), dict(self._arrays))
        try:
            value = self.checked(key, value)
            self._cross_check(key, value)
            if self.specs[key].value_type == "darray":
                self._store_array(key, value)
            else:
                self.values[key] = value
            if key in self._couplings:
                self._couplings[key](value)
            elif key.startswith("threshold/") and key.endswith("/energy"):
                self._lose_flatfields()
            self._derive()
        except Refusal:
            self.values, self._arrays = before
            self._excluded.clear()
            raise
        return self._changed(key)

    def _changed(self, key: str) -> list[str]:
        named = tables.CHANGES.get(key, (key,))
        return [name for name in named if name in self.specs or name == "difference_mode"]

    def _cross_check(self, key: str, value: Any) -> None:
        if key == "trigger_mode" and value in ONE_FRAME_MODES and self.values["nimages"] != 1:
            raise Refusal(
                400, f"Parameter trigger_mode cannot be set to {value}: nimages is not 1", "nimages = 1 first"
            )
        if key == "nimages" and value != 1 and self.values["trigger_mode"] in ONE_FRAME_MODES:
            raise Refusal(
                400, f"Parameter nimages cannot be set to {value} in trigger mode {self.values['trigger_mode']}", "1"
            )
        if (
            key == "threshold/difference/mode"
            and value == "enabled"
            and not all(self.values[f"threshold/{n}/mode"] == "enabled" for n in range(1, self.model.thresholds + 1))
        ):
            raise Refusal(
                400,
                "Parameter threshold/difference/mode cannot be enabled",
                "every threshold/n/mode enabled first",
            )

    def _set(self, key: str, value: Any) -> None:
        """Store a value that follows from another; out of its range the whole write is refused."""
        spec = self.specs[key]
        if spec.minimum is not None and spec.maximum is not None and not spec.minimum <= value <= spec.maximum:
            raise Refusal(
                400, f"Parameter {key} would become {value:g}: out of range", f"{spec.minimum:g} to {spec.maximum:g}"
            )
        self.values[key] = self.rounded(spec, value)

    def _count_time(self, value: float) -> None:
        shortest = value + self.model.gap_s
        if self.values["frame_time"] < shortest:
            self._set("frame_time", max(shortest, self.specs["frame_time"].minimum or 0.0))

    def _frame_time(self, value: float) -> None:
        longest = value - self.model.gap_s
        if self.values["count_time"] > longest:
            self._set("count_time", longest)

    def _reset_times(self) -> None:
        for key in ("count_time", "frame_time"):
            self.values[key] = self.rounded(self.specs[key], self.specs[key].default)

    def _energy(self, value: float) -> None:
        self.values["element"] = ""
        self._set_energy(value)

    def _element(self, value: str) -> None:
        if value:
            self._set_energy(K_ALPHA_EV[value])

    def _wavelength(self, value: float) -> None:
        self.values["element"] = ""
        self._set_energy(HC_EV_ANGSTROM / value)
        self._set("wavelength", value)

    def _set_energy(self, energy: float) -> None:
        low, high = self.model.energy_range_ev
        energy = min(max(energy, low), high) if math.isclose(energy, low) or math.isclose(energy, high) else energy
        self._set("photon_energy", energy)
        if "incident_energy" in self.specs:
            self._set("incident_energy", energy)
        self.values["wavelength"] = self.rounded(self.specs["wavelength"], HC_EV_ANGSTROM / energy)
        self._first_threshold(self._inside(0.5 * energy))
        for n in range(2, self.model.thresholds + 1):
            if f"threshold/{n}/energy" in self.specs:
                self._set(f"threshold/{n}/energy", self._inside((1.4 + 0.2 * (n - 2)) * energy))

    def _inside(self, energy: float) -> float:
        """A threshold that follows the energy stops at its limits instead of making the energy impossible."""
        low, high = self.model.threshold_range_ev
        return min(max(energy, low), high)

    def _first_threshold(self, value: float) -> None:
        self._set("threshold_energy", value)
        if "threshold/1/energy" in self.specs:
            self._set("threshold/1/energy", value)
        self._lose_flatfields()

    def _lose_flatfields(self) -> None:
        """An uploaded flatfield belongs to its energy: the detector computes a new one."""
        for name in [name for name in self._arrays if name.endswith("flatfield")]:
            del self._arrays[name]

    def _derive(self) -> None:
        values = self.values
        count_time = values["count_time"]
        subframes = self.subframes
        values["frame_count_time"] = self.rounded(self.specs["frame_count_time"], count_time / subframes)
        values["bit_depth_image"] = bits = self._bit_depth(subframes)
        values["countrate_correction_count_cutoff"] = min(int(count_time * self.model.cutoff_rate_hz), 2**bits - 3)
        values["number_of_excluded_pixels"] = self._excluded_in("pixel_mask")
        for n in range(1, self.model.thresholds + 1):
            key = f"threshold/{n}/number_of_excluded_pixels"
            if key in self.specs:
                values[key] = self._excluded_in(f"threshold/{n}/pixel_mask")
        if "threshold/difference/mode" in values and not all(
            values[f"threshold/{n}/mode"] == "enabled" for n in range(1, self.model.thresholds + 1)
        ):
            values["threshold/difference/mode"] = "disabled"

    def _excluded_in(self, key: str) -> int:
        if key not in self._excluded:
            self._excluded[key] = int(np.count_nonzero(self.array(key)))
        return self._excluded[key]

    @property
    def subframes(self) -> int:
        """Readouts that are summed into one image."""
        return (
            max(1, math.ceil(self.values["count_time"] / self.model.subframe_s)) if self.values["auto_summation"] else 1
        )

    def _bit_depth(self, subframes: int) -> int:
        """8 bits at the highest rates, 32 when more than 16 readouts of 12 bits are summed.

        The 16 fits every public sample (0.1 s and 1 s: 32 bits, 4.3 ms: 16 bits); the firmware's rule is not public.
        """
        if self._pinned_bit_depth is not None:
            return self._pinned_bit_depth
        if self.values["frame_time"] < self.model.eight_bit_below_s:
            return 8
        return 32 if subframes > 16 else 16

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the images of one frame, in stream v2's spelling."""
        if "threshold/1/mode" not in self.values:
            return ("threshold_1",)
        on = [n for n in range(1, self.model.thresholds + 1) if self.values[f"threshold/{n}/mode"] == "enabled"]
        names = [f"threshold_{n}" for n in on]
        if self.values.get("threshold/difference/mode") == "enabled":
            names.append("difference")
        return tuple(names)


def _array_name(key: str) -> str:
    """`flatfield` and `threshold/1/flatfield` are one array, and so are the masks."""
    return f"threshold/1/{key}" if key in ("flatfield", "pixel_mask") else key


def _countrate_table(cutoff_rate_hz: float) -> Array:
    """(4000, 2): observed rate and true rate of a non-paralysable counter with 50 ns dead time, in Hz."""
    observed = np.linspace(0.0, cutoff_rate_hz, 4000)
    return np.stack([observed, observed / (1 - observed * 5e-8)], axis=1).astype(np.float32)


def _fits(value_type: str, value: Any) -> bool:
    match value_type:
        case "bool":
            return isinstance(value, bool)
        case "float":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "int" | "uint":
            return isinstance(value, int) and not isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "float[]":
            return (
                isinstance(value, list)
                and len(value) == 3
                and all(_fits("float", item) and abs(item) <= tables.FLOAT32_MAX for item in value)
            )
    return isinstance(value, dict)


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) < 80 else text[:77] + "..."
