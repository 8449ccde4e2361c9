"""A SIMPLON detector's settings: written in the order the vendor wants, read back, and told in our words.

Source: SIMPLON API reference 1.6 and 1.8; the couplings between parameters are in its chapter on the detector module.
"""

from __future__ import annotations

from typing import Any

import msgspec

from maxdaq_tango.detectors.contract import Range
from maxdaq_tango.detectors.eiger import acceptance, protocol
from maxdaq_tango.detectors.eiger.client import SimplonClient
from maxdaq_tango.detectors.eiger.protocol import Module, Parameter, Task, VendorTriggerMode
from maxdaq_tango.errors import DetectorRefused
from maxdaq_tango.model import AcquisitionSettings, StreamFormat, TriggerMode

PIXEL_TYPES = {8: "uint8", 16: "uint16", 32: "uint32"}
VENDOR_FORMATS = {StreamFormat.DECTRIS_V1: "legacy", StreamFormat.DECTRIS_V2: "cbor"}
OTHER_MODULES = (Module.STREAM, Module.MONITOR, Module.FILEWRITER)


def vendor_trigger(settings: AcquisitionSettings) -> tuple[VendorTriggerMode, int, int]:
    """Trigger mode, nimages and ntrigger for what was asked.

    INTERNAL is one software trigger for all frames; a gate makes one frame, so gates are counted as triggers.
    """
    per_trigger, triggers = settings.frames_per_trigger, settings.trigger_count
    match settings.trigger_mode:
        case TriggerMode.INTERNAL:
            return VendorTriggerMode.INTS, settings.frame_count, 1
        case TriggerMode.SOFTWARE if settings.exposure_per_trigger:
            return VendorTriggerMode.INTE, 1, triggers
        case TriggerMode.SOFTWARE:
            return VendorTriggerMode.INTS, per_trigger, triggers
        case TriggerMode.EXTERNAL_MULTI:
            return VendorTriggerMode.EXTS, per_trigger, triggers
        case TriggerMode.EXTERNAL_MULTI_GATE:
            return VendorTriggerMode.EXTE, 1, settings.frame_count


class EigerConfiguration:
    """The settings of the detector behind `client`. Every failure is one of the client's errors."""

    def __init__(self, client: SimplonClient) -> None:
        self._client = client

    # --- single parameters --------------------------------------------------------------------------------------------

    def value(self, key: str, default: Any = None) -> Any:
        """Value of a detector parameter, `default` where this model has none of that name."""
        if not self._client.exists(Module.DETECTOR, key):
            return default
        return self._client.config(Module.DETECTOR, key).value

    def number(self, key: str, default: float = 0.0) -> float:
        """The same for a number."""
        return float(self.value(key, default))

    def resolve(self, name: str) -> tuple[Module, str]:
        """Module and SIMPLON key of a name of ours, of SIMPLON's, or of `<module>/<key>`."""
        module, _, key = name.partition("/")
        if module in OTHER_MODULES and key:
            return Module(module), key
        candidates = acceptance.COMMON_NAMES.get(name, (name,))
        existing = (key for key in candidates if self._client.exists(Module.DETECTOR, key))
        return Module.DETECTOR, next(existing, candidates[0])

    @staticmethod
    def resolve_status(name: str) -> tuple[Module, Task, str]:
        """Where a status value is: `<module>/<key>`, or a key of the detector."""
        module, _, key = name.partition("/")
        return (Module(module), Task.STATUS, key) if module in OTHER_MODULES else (Module.DETECTOR, Task.STATUS, name)

    def names(self) -> tuple[str, ...]:
        """Every parameter but the big arrays; those of other modules with the module before them."""
        return tuple(name for module in (Module.DETECTOR, *OTHER_MODULES) for name in self._names_in(module))

    def _names_in(self, module: Module) -> list[str]:
        client = self._client
        listed = client.keys(module)
        if module is not Module.DETECTOR:
            keys = listed or acceptance.KNOWN_MODULE_KEYS[module]
            return [f"{module}/{key}" for key in keys if client.exists(module, key)]
        tried = acceptance.UNLISTED_CONFIG_KEYS if listed else acceptance.KNOWN_CONFIG_KEYS
        names = [key for key in listed if not acceptance.is_big(key)]
        return names + [key for key in tried if key not in listed and client.exists(module, key)]

    def read(self, name: str) -> Parameter:
        """A parameter as the detector has it now."""
        module, key = self.resolve(name)
        return self._client.read(module, Task.CONFIG, key)

    def remembered(self, name: str) -> Parameter:
        """The same, from memory when nothing has changed it since it was read."""
        return self._client.config(*self.resolve(name))

    def set(self, name: str, value: Any) -> Any:
        """Set one parameter and return what the detector made of it; slow ones only when they would really change."""
        module, key = self.resolve(name)
        if isinstance(value, dict):
            value = msgspec.json.encode(value).decode()
        epsilon = acceptance.epsilon_of(key) if module is Module.DETECTOR else 0.0
        now = self._client.read(module, Task.CONFIG, key).value
        if epsilon and isinstance(value, int | float) and abs(float(now) - value) < epsilon:
            return now
        self._client.write(module, key, value)
        return self._check(module, key, value, max(epsilon, acceptance.TIME_RESOLUTION_S))

    def set_if_different(self, key: str, value: Any, module: Module = Module.DETECTOR) -> bool:
        """Write only what is not already so; True when it was written."""
        if acceptance.agree(value, self._client.config(module, key).value):
            return False
        self._client.write(module, key, value)
        return True

    def switch(self, module: Module, *, on: bool) -> None:
        """Enable or disable a module: by word, or by a bool where the firmware has one (eiger-simulator's monitor)."""
        as_bool = self._client.config(module, "mode").value_type == "bool"
        self.set_if_different("mode", on if as_bool else ("enabled" if on else "disabled"), module)

    def _check(self, module: Module, key: str, wanted: Any, resolution: float) -> Any:
        """Read back from the detector, not from memory: it may not tell all that a later setting changed."""
        parameter = self._client.read(module, Task.CONFIG, key)
        if not acceptance.agree(wanted, parameter.value, resolution=resolution):
            raise DetectorRefused(
                f"set {module}/{key} to {wanted!r}",
                of=self._client.base_url,
                answer=f"it took the value and made it {parameter.value!r}",
                accepted=acceptance.accepted_text(parameter),
            )
        return parameter.value

    # --- groups -------------------------------------------------------------------------------------------------------

    def use_stream(self, wanted: StreamFormat | None, header_detail: str, *, monitor: bool | None) -> StreamFormat:
        """Switch on the stream and off the filewriter; returns the format, the newest one when none is asked for."""
        client = self._client
        has_choice = client.exists(Module.STREAM, "format")
        if wanted is StreamFormat.DECTRIS_V2 and not has_choice:
            raise DetectorRefused(
                "stream in dectris-v2",
                of=client.base_url,
                answer=f"SIMPLON {client.version} without stream/config/format",
                accepted="dectris-v1",
            )
        chosen = wanted or (StreamFormat.DECTRIS_V2 if has_choice else StreamFormat.DECTRIS_V1)
        if client.exists(Module.FILEWRITER, "mode"):
            self.switch(Module.FILEWRITER, on=False)
        if has_choice:
            self.set_if_different("format", VENDOR_FORMATS[chosen], Module.STREAM)
        self.set_if_different("header_detail", header_detail, Module.STREAM)
        self.switch(Module.STREAM, on=True)
        if monitor is not None:
            self.switch(Module.MONITOR, on=monitor)
        return chosen

    def apply(self, settings: AcquisitionSettings) -> None:
        """Set times, counts and trigger mode, and prove by reading back that the detector kept them."""
        self._client.forget(writable_only=True)  # another client may have changed what we remember
        mode, nimages, ntrigger = vendor_trigger(settings)
        steps: list[tuple[str, Any]] = [("trigger_mode", str(mode)), ("nimages", nimages)]
        if mode in protocol.ONE_FRAME_MODES:
            steps.reverse()  # the mode is refused while nimages > 1, and nimages > 1 is refused in the mode
        # count_time first: it pushes frame_time up, while a short frame_time cuts count_time.
        steps += [("ntrigger", ntrigger), ("count_time", settings.exposure_time_s)]
        written = [self.set_if_different(key, value) for key, value in steps]
        steps.append(("frame_time", self._frame_time(settings)))
        written.append(self.set_if_different(*steps[-1]))
        for key, value in steps if any(written) else ():  # else all of them were read a moment ago
            self._check(Module.DETECTOR, key, value, acceptance.TIME_RESOLUTION_S)

    def _frame_time(self, settings: AcquisitionSettings) -> float:
        """Exposure plus dead time; without a wish for dead time the shortest frame time that the detector states."""
        readout = self.number("detector_readout_time")
        frame_time = settings.exposure_time_s + max(settings.latency_time_s, readout)
        if settings.latency_time_s == 0:
            shortest = acceptance.limits_of(self._client.config(Module.DETECTOR, "frame_time")).minimum
            frame_time = max(frame_time, shortest or 0.0)
        return frame_time

    def limits(self) -> dict[str, Range]:
        """Limits by our names, from memory where nothing changed them; some depend on other settings."""
        found = {}
        for name in acceptance.COMMON_NAMES:
            module, key = self.resolve(name)
            if self._client.exists(module, key):
                found[name] = acceptance.limits_of(self._client.config(module, key))
        return found

    def image_shape(self, stream_format: StreamFormat) -> tuple[int, ...]:
        """(rows, columns), with the number of threshold images before them where v2 sends more than one."""
        shape = tuple(int(self.number(key)) for key in ("y_pixels_in_detector", "x_pixels_in_detector"))
        if not all(shape):
            return ()
        channels = 0
        if stream_format is StreamFormat.DECTRIS_V2:
            modes = [key for key in self._client.keys(Module.DETECTOR) if acceptance.is_threshold_mode(key)]
            channels = sum(self.value(key) == "enabled" for key in modes)
        return (channels, *shape) if channels > 1 else shape

    def pixel_type(self) -> str:
        """numpy name, "" while the detector has not decided."""
        return PIXEL_TYPES.get(int(self.number("bit_depth_image")), "")

    def everything(self) -> dict[str, Any]:
        """Values of the detector and stream modules but the big arrays, under SIMPLON's names: what goes into the file.

        Each that somebody may have changed is a request, which an Arm waits for: the other modules say nothing of the
        series and are left out.
        """
        names = self._names_in(Module.DETECTOR) + self._names_in(Module.STREAM)
        return {name: self._client.config(*self.resolve(name)).value for name in names}
