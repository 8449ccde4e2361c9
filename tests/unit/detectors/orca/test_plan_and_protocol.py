"""Trigger modes in DCAM's words, and what driver and streamer say to each other."""

from __future__ import annotations

import pytest

from maxdaq_tango.detectors.orca.attributes import COUNTS, FAMILY
from maxdaq_tango.detectors.orca.plan import plan_series
from maxdaq_tango.detectors.orca.properties import Property, TriggerActive, TriggerSource, VendorTriggerMode
from maxdaq_tango.detectors.orca.protocol import (
    CameraFormat,
    Counts,
    PropertyState,
    parse_settings,
    property_number,
)
from maxdaq_tango.errors import ConfigurationError, DetectorRefused
from maxdaq_tango.model import AcquisitionSettings, Encoding, TriggerMode

S, M, A = TriggerSource, VendorTriggerMode, TriggerActive


@pytest.mark.parametrize(
    ("mode", "frames", "source", "vendor_mode", "active", "captures", "capture_frames"),
    [
        (TriggerMode.INTERNAL, 1, S.INTERNAL, M.NORMAL, A.EDGE, 1, 3),
        (TriggerMode.INTERNAL, 4, S.INTERNAL, M.NORMAL, A.EDGE, 1, 12),
        (TriggerMode.SOFTWARE, 1, S.SOFTWARE, M.NORMAL, A.EDGE, 1, 3),
        (TriggerMode.SOFTWARE, 4, S.SOFTWARE, M.START, A.EDGE, 3, 4),
        (TriggerMode.EXTERNAL_MULTI, 1, S.EXTERNAL, M.NORMAL, A.EDGE, 1, 3),
        (TriggerMode.EXTERNAL_MULTI, 4, S.EXTERNAL, M.START, A.EDGE, 3, 4),
        (TriggerMode.EXTERNAL_MULTI_GATE, 1, S.EXTERNAL, M.NORMAL, A.LEVEL, 1, 3),
        (TriggerMode.EXTERNAL_MULTI_GATE, 4, S.EXTERNAL, M.NORMAL, A.LEVEL, 1, 12),
    ],
)
def test_every_trigger_mode_has_its_plan(
    mode: TriggerMode,
    frames: int,
    source: S,
    vendor_mode: M,
    active: A,
    captures: int,
    capture_frames: int,
) -> None:
    settings = AcquisitionSettings(frames_per_trigger=frames, trigger_count=3, trigger_mode=mode)
    plan = plan_series(settings, shortest_period_s=0.1, interval_is_writable=False)
    assert (plan.source, plan.mode, plan.active) == (source, vendor_mode, active)
    assert (plan.captures, plan.capture_frames) == (captures, capture_frames)
    assert plan.frame_count == settings.frame_count
    assert plan.is_software == (mode in (TriggerMode.INTERNAL, TriggerMode.SOFTWARE))
    assert not plan.paced


@pytest.mark.parametrize("mode", [TriggerMode.INTERNAL, TriggerMode.SOFTWARE])
def test_a_pause_is_paced_by_triggers_only_where_the_camera_cannot_make_it(mode: TriggerMode) -> None:
    settings = AcquisitionSettings(latency_time_s=1.0, frames_per_trigger=2, trigger_mode=mode)
    assert plan_series(settings, shortest_period_s=0.1, interval_is_writable=False).paced
    assert not plan_series(settings, shortest_period_s=0.1, interval_is_writable=True).paced
    # A readout that is as long as the pause makes it by itself.
    assert not plan_series(settings, shortest_period_s=1.1, interval_is_writable=False).paced


def test_padded_rows_are_told_from_pixels() -> None:
    format = CameraFormat(
        rows=4, columns=6, pixel_type="MONO12P", bits=12, row_nbytes=16, frame_nbytes=80, offset_nbytes=16
    )
    assert (format.packed_row_nbytes, format.blob_nbytes, format.least_nbytes) == (9, 36, 16 + 3 * 16 + 9)
    assert format.frame_format.encoding is Encoding.MONO12P
    assert format.dtype == "uint16"


def test_properties_are_found_by_name_and_number() -> None:
    for name in ("EXPOSURE_TIME", "exposure time", "Exposure-Time", "0x001F0110", str(0x001F0110)):
        assert property_number(name) == Property.EXPOSURE_TIME
    with pytest.raises(DetectorRefused, match=r"there is no such name.*EXPOSURE_TIME"):
        property_number("EXPOSURE")


def test_settings_are_read_from_texts() -> None:
    texts = ["IMAGE_PIXEL_TYPE = MONO12P", "BINNING=2", "", "0x00200330=-20.5"]
    assert parse_settings(texts) == {"IMAGE_PIXEL_TYPE": "MONO12P", "BINNING": 2.0, "0x00200330": -20.5}
    for wrong in ("BINNING", "BINNING=", "COLOUR=red"):
        with pytest.raises(ConfigurationError, match="Accepted"):
            parse_settings([wrong])


def test_attributes_show_words_numbers_and_nothing_where_there_is_nothing() -> None:
    items = {item.name: item for item in FAMILY}
    state = PropertyState(id=1, name="x", value=2.0, choices={"ON": 2.0})
    assert items["HighDynamicRange"].of(state) == "ON"
    assert items["Binning"].of(state) == 2
    assert items["SensorCoolerStatus"].of(PropertyState(id=1, name="x", value=2.0)) == "READY"
    assert items["SensorCoolerStatus"].of(PropertyState(id=1, name="x", value=-3.0)) == "error -3"
    assert items["PixelType"].of(PropertyState(id=1, name="x", value=9.0)) == "9"
    assert items["Binning"].of(PropertyState(id=1, name="x", value=None)) is None
    assert {field for field, _, _ in COUNTS.values()} <= set(Counts.__struct_fields__)
