"""What a configured series will send, and the headers that go before it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maxdaq_tango.detectors.xspectrum_lambda.geometry import ModulePlace, full_shape
from maxdaq_tango.detectors.xspectrum_lambda.protocol import Configured, DetectorSettings, SeriesSettings
from maxdaq_tango.detectors.xspectrum_lambda.series import SeriesPlan
from maxdaq_tango.errors import ConfigurationError, DetectorRefused

RESOLUTION_S = 1e-6
RESOLUTION = 1e-3
"""An exposure time that is read back may differ by so much, or by so much of itself."""


def describe(
    plan: SeriesPlan,
    detector: DetectorSettings,
    *,
    exposure_s: float,
    ports: Sequence[int],
    shape: tuple[int, int],
    places: Sequence[ModulePlace | None],
    whole: tuple[int, int] | None,
    of: str,
) -> Configured:
    """DetectorRefused when the detector made something else of the exposure time, ConfigurationError when nobody knows
    where a module lies. `whole` is the shape of the picture; None = as small as it can be.
    """
    asked_s = plan.exposure_time_s
    if abs(exposure_s - asked_s) > max(RESOLUTION_S, RESOLUTION * asked_s):
        raise DetectorRefused(
            f"expose for {asked_s:g} s",
            of=of,
            answer=f"the detector made {exposure_s:g} s of it",
            accepted=f"{exposure_s:g} s",
        )
    known = tuple(place for place in places if place is not None)
    if len(known) != len(ports):
        raise ConfigurationError(
            "configure a series",
            of=of,
            answer=f"of {len(ports)} modules it is known where {len(known)} lie",
            accepted="--place X,Y,ROTATION for each module, in their order",
        )
    return Configured(
        ports=tuple(ports),
        module_shape=shape,
        places=known,
        full_shape=whole or full_shape(known, shape),
        dtype=plan.dtype,
        frame_count=plan.frame_count,
        exposure_time_s=exposure_s,
        frame_period_s=plan.frame_period_s,
        settings=detector,
        notes=plan.notes,
    )


def headers(plan: SeriesPlan, settings: SeriesSettings, configured: Configured) -> list[dict[str, Any]]:
    """Second part of the header of each module. Where it lies is its own, the rest is the same in all."""
    detector = configured.settings
    common = {
        **settings.metadata,
        "full_shape": configured.full_shape,
        "nimages": plan.frame_count,
        "exptime": configured.exposure_time_s,
        "frame_period": plan.frame_period_s,
        "energy": detector.energy_ev,
        "threshold": detector.thresholds_ev[0],
        "thresholds": detector.thresholds_ev,
        "bit_depth": int(detector.bit_depth),
        "charge_summing": detector.charge_summing,
        "counter_mode": detector.counter_mode,
        "gating": detector.gating,
        "subframes": plan.subframes,
        "xsp_trigger_mode": plan.trigger,
    }
    return [{**common, "x": place.x, "y": place.y, "rotation": place.rotation} for place in configured.places]
