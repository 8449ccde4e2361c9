"""An independent client, pylablib, opens our simulated camera as it would a real one, and takes frames."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from counterparts.make_environment import EnvironmentUnavailable, make_environment
from maxdaq_tango.detectors.orca import dcam_errors, properties
from maxdaq_tango.detectors.orca.simulator_server import OrcaSimulatorServer
from maxdaq_tango.detectors.simulation.pattern import expected_frame

pytestmark = pytest.mark.counterpart

PROGRAM = """
import json, sys
import numpy as np
import pylablib
pylablib.par["devices/only_windows_dlls"] = False
pylablib.par["devices/dlls/dcamapi"] = sys.argv[1]
from pylablib.devices import DCAM

told = {"cameras": DCAM.get_cameras_number()}
with DCAM.DCAMCamera() as camera:
    told["info"] = list(camera.get_device_info())
    told["size"] = list(camera.get_detector_size())
    told["attributes"] = sorted(camera.get_all_attributes())
    camera.set_exposure(0.005)
    told["exposure"] = camera.get_exposure()
    told["roi"] = list(camera.set_roi(16, 80, 8, 40, 2, 2))
    told["status"] = [camera.get_status()]
    frames = camera.grab(5)
    told["shapes"] = [[str(frame.dtype), *frame.shape] for frame in frames]
    np.save(sys.argv[2], np.stack(frames))
    camera.set_roi()
    camera.set_trigger_mode("software")
    camera.setup_acquisition("sequence", 10)
    told["status"].append(camera.get_status())
    camera.start_acquisition()
    told["status"].append(camera.get_status())
    camera.send_software_trigger()
    camera.wait_for_frame(timeout=10)
    told["software"] = [int(item.framestamp) for item in camera.read_multiple_images(return_info=True)[1]]
    camera.stop_acquisition()
    camera.clear_acquisition()
    told["status"].append(camera.get_status())
    for value in (50.0, 1e-9):
        try:
            camera.cav["EXPOSURE TIME"] = value
        except DCAM.DCAMError as error:
            told.setdefault("errors", []).append(error.name)
print(json.dumps(told))
"""


NUMBERS = """
import json
from pylablib.devices.DCAM import dcamapi4_defs, dcamprop_defs

print(json.dumps({
    "errors": {item.name: item.value for item in dcamapi4_defs.DCAMERR},
    "properties": [item.value for item in dcamprop_defs.DCAMIDPROP],
    "access": [item.value for item in dcamprop_defs.DCAMPROPATTRIBUTE],
}))
"""


def environment() -> Path:
    """The Python that has it: an environment of its own, for pylablib wants much."""
    try:
        return make_environment("pylablib")
    except EnvironmentUnavailable as reason:
        pytest.skip(str(reason))


def drive(server: OrcaSimulatorServer, folder: Path) -> dict[str, object]:
    """In a process of its own: pylablib keeps the library for ever."""
    assert server.library is not None
    shutil.copy(server.library, folder / "dcamapi.dll")  # the only name that it looks for
    shutil.copy(server.library.parent / "camera", folder / "camera")
    done = subprocess.run(
        [str(environment()), "-W", "ignore", "-c", PROGRAM, str(folder), str(folder / "frames.npy")],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("model", ["lightning", "quest"])
def test_pylablib_opens_it_sets_a_region_and_grabs_frames(
    make_server: Callable[..., OrcaSimulatorServer], tmp_path: Path, model: str
) -> None:
    server = make_server(model=model)
    told = drive(server, tmp_path)
    assert told["cameras"] == 1
    assert told["info"] == ["Hamamatsu", server.simulator.model.name, "S/N: 000001", "1.00.simulated"]
    assert told["size"] == [96, 64]
    assert told["exposure"] == pytest.approx(0.005, abs=1e-6)
    assert told["roi"] == [16, 80, 8, 40, 2, 2]
    assert told["shapes"] == [["uint16", 16, 32]] * 5
    assert told["status"] == ["stable", "ready", "busy", "stable"]
    assert told["software"] == [0]
    assert told["errors"] == (["DCAMERR_OUTOFRANGE"] * 2 if model == "lightning" else ["DCAMERR_OUTOFRANGE"])
    most = 4095 if model == "lightning" else 65535
    for number, frame in enumerate(np.load(tmp_path / "frames.npy")):
        assert np.array_equal(frame, np.minimum(expected_frame(1, number, (16, 32)), most))


def test_our_numbers_are_those_that_pylablib_knows() -> None:
    done = subprocess.run(
        [str(environment()), "-W", "ignore", "-c", NUMBERS], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    theirs = {name: value & 0xFFFFFFFF for name, value in told["errors"].items()}
    ours = {f"DCAMERR_{error.name}": error.value for error in dcam_errors.DcamError}
    assert ours == {name: theirs.get(name) for name in ours}
    ids = {value & 0xFFFFFFFF for value in told["properties"]}
    assert {number for number in properties.Property if number not in ids} == set()
    access = {value & 0xFFFFFFFF for value in told["access"]}
    assert {bit.value for bit in properties.Access} <= access
