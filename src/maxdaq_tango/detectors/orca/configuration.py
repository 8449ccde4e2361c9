"""Settings of a series written into a camera, in an order that works, and read back."""

from __future__ import annotations

from typing import Any, NamedTuple

from maxdaq_tango.detectors.orca.camera import OrcaCamera
from maxdaq_tango.detectors.orca.plan import CapturePlan, plan_series
from maxdaq_tango.detectors.orca.properties import Property, TriggerSource
from maxdaq_tango.detectors.orca.protocol import CameraFormat
from maxdaq_tango.errors import DetectorRefused
from maxdaq_tango.model import AcquisitionSettings

EXPOSURE_TOLERANCE = 1e-3
"""Exposures come in steps of the camera's line time."""
TOLD = {
    "sensor_temperature_c": Property.SENSOR_TEMPERATURE,
    "readout_time_s": Property.TIMING_READOUT_TIME,
    "readout_speed": Property.READOUT_SPEED,
    "sensor_mode": Property.SENSOR_MODE,
}
"""What goes into the file of a camera that has it."""


class CameraSettings(NamedTuple):
    """What a camera is ready for."""

    plan: CapturePlan
    format: CameraFormat
    period_s: float
    metadata: dict[str, Any]


def configure_camera(camera: OrcaCamera, settings: AcquisitionSettings, name: str) -> CameraSettings:
    """Apply the settings; no buffers may be attached. DetectorRefused with what would be accepted."""
    expose(camera, settings.exposure_time_s, name)
    plan = plan_series(
        settings,
        shortest_period_s=shortest_period_s(camera),
        interval_is_writable=camera.is_writable(Property.INTERNAL_FRAME_INTERVAL),
    )
    if plan.source is TriggerSource.EXTERNAL:
        camera.set_if_other(Property.TRIGGER_ACTIVE, plan.active)
    camera.set_if_other(Property.TRIGGER_MODE, plan.mode)
    camera.set_if_other(Property.TRIGGER_SOURCE, plan.source)
    if camera.is_writable(Property.INTERNAL_FRAME_INTERVAL):
        least, most = camera.limits(Property.INTERNAL_FRAME_INTERVAL)
        camera.set(Property.INTERNAL_FRAME_INTERVAL, min(max(settings.frame_period_s, least), most))
    format = camera.format()
    return CameraSettings(plan, format, _period_s(camera, plan, settings), _metadata(camera, plan, format))


def shortest_period_s(camera: OrcaCamera) -> float:
    """From frame to frame with the present exposure."""
    exposure, readout = camera.value(Property.EXPOSURE_TIME), camera.value_or(Property.TIMING_READOUT_TIME, 0.0)
    return max(exposure, readout)


def expose(camera: OrcaCamera, wanted_s: float, name: str) -> float:
    """Set the exposure time, s, and return what the camera made of it; DetectorRefused when that is another."""
    least, most = camera.limits(Property.EXPOSURE_TIME)
    asked = f"set ExposureTime to {wanted_s:g} s"
    if not least * (1 - EXPOSURE_TOLERANCE) <= wanted_s <= most * (1 + EXPOSURE_TOLERANCE):
        raise DetectorRefused(asked, of=name, accepted=f"{least:g} to {most:g} s")
    made_s = camera.set(Property.EXPOSURE_TIME, min(max(wanted_s, least), most))
    if abs(made_s - wanted_s) > max(EXPOSURE_TOLERANCE * wanted_s, least):
        raise DetectorRefused(asked, of=name, answer=f"it made {made_s:g} s of it")
    return made_s


def _period_s(camera: OrcaCamera, plan: CapturePlan, settings: AcquisitionSettings) -> float:
    shortest = shortest_period_s(camera)
    if plan.trigger_frames > 1 and not plan.paced:
        return camera.value_or(Property.INTERNAL_FRAME_INTERVAL, shortest)
    return max(shortest, settings.frame_period_s)


def _metadata(camera: OrcaCamera, plan: CapturePlan, format: CameraFormat) -> dict[str, Any]:
    region = camera.region()
    return {
        "exptime": camera.value(Property.EXPOSURE_TIME),
        "nimages": plan.frame_count,
        "trigger_source": plan.source.name,
        "trigger_mode": plan.mode.name,
        "region": [region.left, region.top, region.columns, region.rows],
        "binning": int(camera.value_or(Property.BINNING, 1)),
        "pixel_type": format.pixel_type,
        "bits": format.bits,
        **{name: camera.value(number) for name, number in TOLD.items() if camera.has(number)},
    }
