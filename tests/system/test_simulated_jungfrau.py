"""The topology with a simulated Jungfrau that comes with the package: it comes up, and takes a series of full size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filters
import numpy as np
import pytest

from maxdaq_tango.deployment.interruption import Interruption
from maxdaq_tango.deployment.launcher import deployed
from maxdaq_tango.deployment.topology import built_in_topology, parse_topology
from maxdaq_tango.detectors.jungfrau.simulator_pixels import JungfrauPixels

CLIENT = """
import sys, tango
daq = tango.DeviceProxy("laptop/daq/controller")
daq.ExposureTime, daq.nFramesPerTrigger, daq.TriggerMode = 0.01, 5, "INTERNAL"
daq.DestinationFilename = sys.argv[1]
daq.Arm()
while daq.State() == tango.DevState.RUNNING:
    pass
print(daq.Verdict)
"""


@pytest.mark.timeout(180)
def test_a_series_is_taken_with_the_topology_that_comes_with_the_package(tmp_path: Path) -> None:
    topology = parse_topology(built_in_topology("simulated-jungfrau"), "built in")
    interruption = Interruption()
    with deployed(topology, tmp_path, interruption=interruption) as deployment:
        assert interruption.wait_until(lambda: {row.state for row in deployment.statuses()} == {"ON"}, 60)
        path = Path(deployment.answers["data"]) / "run.h5"
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, str(path)],
            env={**os.environ, "TANGO_HOST": deployment.tango_host},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stdout.strip()) == (0, "COMPLETE"), done.stderr
    pixels = JungfrauPixels(1, (512, 1024))
    with h5py.File(path, "r") as file:
        data = file["entry/instrument/jungfrau/data"]
        assert data.shape == (5, 2, 256, 1024)
        for number in range(5):
            np.testing.assert_array_equal(data[number], pixels.frame(number).reshape(2, 256, 1024))
