"""What a Lambda shows beside the attributes of every detector. Settings are the detector's own, in eV and words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from maxdaq_tango.detectors.xspectrum_lambda.protocol import Change, ModuleStatus
from maxdaq_tango.detectors.xspectrum_lambda.words import MOST_THRESHOLDS, BitDepth, CounterMode, Switch
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.tango_support.attributes import told

MOST_MODULES = 64


def _setting(name: str, make: Callable[[Any], Any] = lambda value: value) -> Callable[[Any], Any]:
    return lambda self: make(getattr(self.settings, name)) if self.settings is not None else None


def _first(values: tuple[float, ...]) -> float | None:
    return values[0] if values else None


def _word(kind: type[Switch] | type[CounterMode], name: str, text: str) -> Any:
    try:
        return kind(text.strip().upper())
    except ValueError:
        raise ConfigurationError(f"set {name} to '{text}'", accepted=" or ".join(kind)) from None


def bit_depth(number: int) -> BitDepth:
    """Or a ConfigurationError."""
    try:
        return BitDepth(number)
    except ValueError:
        raise ConfigurationError(f"set BitDepth to {number}", accepted="1, 6, 12 or 24") from None


def _of_modules(field: str) -> Callable[[Any], Any]:
    def read(self: Any) -> list[int]:
        modules: tuple[ModuleStatus, ...] = self.module_statuses
        return [getattr(module, field) for module in modules]

    return read


class LambdaAttributes:
    """Attributes of `LambdaDetector`; the functions get the device."""

    Energy = told(
        _setting("energy_ev"),
        lambda self, value: self.change("Energy", Change(energy_ev=value)),
        dtype=float,
        label="Photon energy",
        unit="eV",
        format="%.1f",
        doc="Photon energy that the detector corrects for. Forgotten when the detector is switched off.",
    )
    Threshold = told(
        _setting("thresholds_ev", _first),
        lambda self, value: self.change_threshold(value),
        dtype=float,
        label="Energy threshold",
        unit="eV",
        format="%.1f",
        doc="Lowest threshold, above which a photon counts; writing leaves the others. Invalid when there is none, as "
        "after a cold start: nothing can be acquired then.",
    )
    Thresholds = told(
        _setting("thresholds_ev", list),
        lambda self, value: self.change("Thresholds", Change(thresholds_ev=tuple(float(item) for item in value))),
        dtype=(float,),
        label="Energy thresholds",
        unit="eV",
        format="%.1f",
        max_dim_x=MOST_THRESHOLDS,
        doc="All thresholds; the second one is that of the second counter.",
    )
    BitDepth = told(
        _setting("bit_depth", int),
        lambda self, value: self.change("BitDepth", Change(bit_depth=bit_depth(value))),
        dtype=int,
        label="Bit depth",
        unit="bit",
        format="%d",
        doc="Bits that a pixel counts with: 1, 6, 12 or 24. At 24 nothing is counted while pixels are read.",
    )
    ChargeSumming = told(
        _setting("charge_summing", str),
        lambda self, value: self.change("ChargeSumming", Change(charge_summing=_word(Switch, "ChargeSumming", value))),
        dtype=str,
        label="Charge summing",
        doc="ON: the charge of a photon that falls on several pixels is summed before it is compared. ON or OFF.",
    )
    CounterMode = told(
        _setting("counter_mode", str),
        lambda self, value: self.change("CounterMode", Change(counter_mode=_word(CounterMode, "CounterMode", value))),
        dtype=str,
        label="Counters",
        doc="SINGLE, or DUAL: each exposure makes two frames, the even ones of the first threshold and the odd ones of "
        "the second.",
    )
    Gating = told(
        _setting("gating", str),
        lambda self, value: self.change("Gating", Change(gating=_word(Switch, "Gating", value))),
        dtype=str,
        label="Gating",
        doc="ON: pixels count only while the gate input is high. ON or OFF.",
    )
    Voltage = told(
        lambda self: _first(self.health.voltages_v),
        lambda self, value: self.change("Voltage", Change(voltage_v=value)),
        dtype=float,
        label="Sensor voltage",
        unit="V",
        format="%.1f",
        expert=True,
        doc="Of the first module as measured; writing sets that of all modules. Arm waits until it has settled.",
    )
    VoltageSettled = told(
        lambda self: self.health.voltages_settled,
        dtype=bool,
        label="Voltage settled",
        doc="The sensors of all modules have their voltage.",
    )
    Temperature = told(
        lambda self: max((max(item, default=0.0) for item in self.health.temperatures_degc), default=None),
        dtype=float,
        label="Temperature",
        unit="degC",
        format="%.1f",
        doc="The highest of all that the modules tell.",
    )
    Temperatures = told(
        lambda self: [degc for item in self.health.temperatures_degc for degc in item],
        dtype=(float,),
        label="Temperatures",
        unit="degC",
        format="%.1f",
        max_dim_x=8 * MOST_MODULES,
        expert=True,
        doc="Of every sensor, module by module.",
    )
    Humidity = told(
        lambda self: max(self.health.humidities_percent, default=None),
        dtype=float,
        label="Humidity",
        unit="%",
        format="%.1f",
        doc="The highest relative humidity of all modules.",
    )
    nModules = told(
        lambda self: self.module_count,
        dtype=int,
        label="Modules",
        format="%d",
        doc="That the library knows; each has a stream of its own.",
    )
    ModuleFramesSent = told(
        _of_modules("sent"),
        dtype=(int,),
        label="Frames sent",
        format="%d",
        max_dim_x=MOST_MODULES,
        doc="Of the present or last series, by the streamer, module by module.",
    )
    ModuleFramesFaulty = told(
        _of_modules("faulty"),
        dtype=(int,),
        label="Faulty frames",
        format="%d",
        max_dim_x=MOST_MODULES,
        doc="That the library called incomplete, or of a wrong size, module by module. They are not sent; the file has "
        "the module blank in that frame, and says so.",
    )
    ModuleFramesGivenUp = told(
        _of_modules("given_up"),
        dtype=(int,),
        label="Frames given up",
        format="%d",
        max_dim_x=MOST_MODULES,
        doc="That were taken from the detector and thrown away, module by module: nobody received them, they found no "
        "room before the end of a Stop, or Abort.",
    )
    SeriesNotes = told(
        lambda self: "; ".join(self.series_notes),
        dtype=str,
        label="Notes",
        doc="What is peculiar to the series that was configured last; for instance, exposures from edge to edge.",
    )
