"""Stream v2 of the simulated Eiger, field by field beside messages of a real EIGER2 16M (DECTRIS firmware of 2023).

The recorded messages lie in the published wheel of tickit-devices. Its big arrays have been cut out there, so arrays
are compared in the image alone.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import cbor2
import pytest

from counterparts.make_environment import EnvironmentUnavailable, make_environment
from maxdaq_tango.detectors.eiger.simulator import EigerSimulator, SimulatorOptions
from maxdaq_tango.detectors.serving.messages import Request

pytestmark = pytest.mark.counterpart

CUT_OUT = b"\0\0\0\0"
ADDED_LATER = {"image_dtype"}
"""Keys that firmware newer than the recording sends (2024.1)."""


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    try:
        python = make_environment("tickit-devices")
    except EnvironmentUnavailable as reason:
        pytest.skip(str(reason))
    (folder,) = Path(python).parent.parent.glob("lib/python3*/site-packages/tickit_devices/eiger/data/stream2")
    return {name: cbor2.loads((folder / f"{name}.cbor").read_bytes()) for name in ("start", "image", "end")}


@pytest.fixture(scope="module")
def ours() -> dict[str, Any]:
    """One frame of a smaller simulated detector with the same exposure."""
    simulator, now = EigerSimulator(SimulatorOptions(rows=64, columns=48, initialise_time_s=0)), 0.0

    def put(path: str, body: str = "{}") -> None:
        answer = simulator.handle(Request("PUT", path, body.encode()), now)
        simulator.run_due(now + 1)
        assert answer.reply is not None
        assert answer.reply.status == 200, answer.reply

    put("/detector/api/1.8.0/command/initialize")
    put("/stream/api/1.8.0/config", '{"mode": {"value": "enabled"}, "format": {"value": "cbor"}}')
    put("/detector/api/1.8.0/config/count_time", '{"value": 0.004317472232502031}')
    put("/detector/api/1.8.0/config/frame_time", '{"value": 0.004317572232502031}')
    put("/detector/api/1.8.0/command/arm")
    put("/detector/api/1.8.0/command/trigger")
    messages = []
    while (message := simulator.queues.by_format["cbor"].take()) is not None:
        messages.append(cbor2.loads(bytes(message.parts[0])))
    return dict(zip(("start", "image", "end"), messages, strict=True))


def structure(value: Any, real: Any) -> Any:
    """Types all the way down, tags with their numbers; what was cut out of the recording is not looked at."""
    if real == CUT_OUT:
        return "cut out"
    if isinstance(value, cbor2.CBORTag):
        return (value.tag, structure(value.value, getattr(real, "value", None)))
    if hasattr(value, "keys"):
        return {key: structure(item, real.get(key) if hasattr(real, "keys") else None) for key, item in value.items()}
    if isinstance(value, list | tuple):
        reals = real if isinstance(real, list | tuple) and len(real) == len(value) else [None] * len(value)
        return [structure(item, other) for item, other in zip(value, reals, strict=True)]
    return "date" if isinstance(value, datetime) else type(value).__name__


def test_image_and_end_have_the_same_structure(ours, recorded):
    for name in ("image", "end"):
        assert structure(ours[name], recorded[name]) == structure(recorded[name], recorded[name])


def test_the_image_has_the_same_format(ours, recorded):
    mine, real = (message["image"]["data"]["threshold_1"].value for message in (ours, recorded))
    assert mine[1].tag == real[1].tag == 69
    assert list(mine[1].value.value[:2]) == list(real[1].value.value[:2])
    assert mine[1].value.value[2][8:12] == real[1].value.value[2][8:12]  # bytes of a block
    mine, real = (message["image"] for message in (ours, recorded))
    for key in ("start_time", "stop_time", "real_time"):
        assert mine[key][1] == real[key][1]
    assert mine["real_time"][0] == pytest.approx(real["real_time"][0], rel=1e-3)


def test_the_start_has_the_same_keys_and_types(ours, recorded):
    mine, real = ours["start"], recorded["start"]
    assert set(mine) - set(real) == ADDED_LATER
    assert set(real) <= set(mine)
    for key in set(real) - {"goniometer", "threshold_energy"}:
        assert structure(mine[key], real[key]) == structure(real[key], real[key]), key
    assert set(real["goniometer"]) <= set(mine["goniometer"])  # each beamline has its own axes
    for axes in (mine["goniometer"], real["goniometer"]):
        assert all(structure(axis, None) == {"increment": "float", "start": "float"} for axis in axes.values())
    assert mine["threshold_energy"].keys() == real["threshold_energy"].keys()
    for key in ("count_time", "frame_time", "number_of_images",
                "pixel_size_x", "sensor_thickness", "sensor_material"):  # fmt: skip
        assert mine[key] == pytest.approx(real[key]) if isinstance(real[key], float) else mine[key] == real[key], key
    assert list(mine["channels"]) == list(real["channels"])
    assert mine["saturation_value"] == pytest.approx(real["saturation_value"], rel=0.01)
