"""The two cameras that can be simulated, as numbers. Pure.

Sources: property lists of C14120-20P (ORCA-Lightning) and C15550-20UP (ORCA-Quest) and the data sheets; what is
marked [?] is a guess, for the lists say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from maxdaq_tango.detectors.orca.properties import PixelType, SensorMode, TriggerSource


@dataclass(frozen=True)
class Model:
    """What differs between them."""

    name: str
    series: str
    columns: int
    rows: int
    column_step: int
    """Steps of the sub-array."""
    row_step: int
    line_times_s: tuple[float, ...]
    """By readout speed, from 1: time to read one row."""
    exposure_min_s: float
    exposure_max_s: float
    exposure_default_s: float
    sources: tuple[TriggerSource, ...]
    sensor_modes: tuple[SensorMode, ...]
    pixel_types: tuple[PixelType, ...]
    """Of the shallow mode where there are two depths. [?]"""
    binnings: tuple[int, ...] = (1, 2, 4)
    output_triggers: int = 3
    has_high_dynamic_range: bool = False
    """12 bits, or 16 with HIGH DYNAMIC RANGE MODE on; else always 16."""
    exposure_min_16_s: float = 0.0
    interval_is_writable: bool = False
    has_cooler_control: bool = False


MODELS = {
    "lightning": Model(
        name="C14120-20P",
        series="ORCA-Lightning",
        columns=4608,
        rows=2592,
        column_step=128,
        row_step=4,
        line_times_s=(8.195e-3 / 2592,),
        exposure_min_s=12.6e-6,
        exposure_min_16_s=50e-6,
        exposure_max_s=1.0,
        exposure_default_s=8.195e-3,
        sources=(TriggerSource.INTERNAL, TriggerSource.EXTERNAL, TriggerSource.SOFTWARE),
        sensor_modes=(SensorMode.AREA, SensorMode.PROGRESSIVE),
        pixel_types=(PixelType.MONO16, PixelType.MONO12, PixelType.MONO12P),
        has_high_dynamic_range=True,
    ),
    "quest": Model(
        name="C15550-20UP",
        series="ORCA-Quest",
        columns=4096,
        rows=2304,
        column_step=4,
        row_step=4,
        line_times_s=(172.8e-6 / 2, 7.2e-6 / 2),
        exposure_min_s=7.2e-6,
        exposure_max_s=1800.0,
        exposure_default_s=0.01,
        sources=tuple(TriggerSource),
        sensor_modes=tuple(SensorMode),
        pixel_types=(PixelType.MONO8, PixelType.MONO16),
        interval_is_writable=True,
        has_cooler_control=True,
    ),
}
"""By the name that a person types."""

SMALL_SENSOR = 1024
"""A simulated sensor with fewer columns has sub-arrays in small steps: 128 of 48 columns would be none."""
SMALL_STEP = 4
