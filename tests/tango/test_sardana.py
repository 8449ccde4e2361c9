"""Scans of a real Sardana server over simulated detectors, through its Door; every frame is compared with what was sent."""

from __future__ import annotations

import os

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np
import pytest
from sardana_site import SardanaServer, sardana_bin

from maxdaq_tango.detectors.simulation.pattern import FramePattern
from maxdaq_tango.integrations.sardana import CONTROLLERS, MACROS, RECORDERS

pytestmark = [pytest.mark.counterpart, pytest.mark.timeout(180)]

SHAPE = (64, 48)
SEEDS = {"left": 3, "right": 4}

DESCRIPTION = """
tango_host: {tango_host}
pools:
  {name}:
    tango_server: Sardana/{name}
    tango_device: pool/{name}/1
    tango_alias: Pool_{name}
    pool_path:
    - {controllers}
    controllers:
      {name}_motctrl:
        type: Motor
        python_module: DummyMotorController.py
        python_class: DummyMotorController
        elements:
          {name}_mot:
            axis: 1
            attributes:
              Acceleration: 0.1
              Deceleration: 0.1
              Velocity: 20
      {name}_daqctrl:
        type: TwoDExpChannel
        python_module: maxdaq_detectors.py
        python_class: MaxdaqTwoDController
        properties:
          Device: {daq}
          ImageFolder: {data}
        elements:
          left: {{axis: 1}}
          right: {{axis: 2}}
      {name}_onectrl:
        type: TwoDExpChannel
        python_module: maxdaq_detectors.py
        python_class: MaxdaqTwoDController
        properties:
          Device: {detector}
          ImageFolder: {data}
        elements:
          alone: {{axis: 1}}
      {name}_countctrl:
        type: CTExpChannel
        python_module: maxdaq_counters.py
        python_class: MaxdaqCounterController
        properties:
          Device: {daq}
          Counters:
          - nFramesReceived
          - Verdict
        elements:
          received: {{axis: 1}}
          verdict: {{axis: 2}}
      {name}_tgctrl:
        type: TriggerGate
        python_module: maxdaq_triggers.py
        python_class: MaxdaqSimulatedTriggerController
        properties:
          Simulators:
          - http://127.0.0.1:{left_port}
          - http://127.0.0.1:{right_port}
        elements:
          trigger: {{axis: 1}}
    measurement_groups:
      both:
        channels:
        - left
        - right
        - received
        - verdict
      one:
        channels:
        - alone
      fast:
        channels:
        - left: {{synchronizer: trigger}}
        - right: {{synchronizer: trigger}}
macro_servers:
  {name}:
    tango_server: Sardana/{name}
    tango_device: macroserver/{name}/1
    tango_alias: MS_{name}
    pools:
    - Pool_{name}
    macro_path:
    - {macros}
    recorder_path:
    - {recorders}
    environment_db: {folder}/environment
    environment:
      variables:
        ActiveMntGrp: both
        ScanDir: {data}
        ScanFile: scan-{{ScanID:04d}}.h5
        ScanRecorder: MaxdaqNXscanRecorder
    general_hooks:
      maxdaq_scan:
        - pre-scan
      maxdaq_scan_end:
        - post-scan
    doors:
      Door_{name}:
        tango_device: door/{name}/1
"""


@pytest.fixture(scope="module")
def clients(site, make_clients, wait_on):
    sardana_bin()
    devices = {}
    for member, seed in SEEDS.items():
        site.simulate(member, "--seed", str(seed))
        devices[f"{member}_receiver"] = site.receiver(member, Grace=0.5, CheckpointInterval=0.1)
        devices[member] = site.eiger(member, devices[f"{member}_receiver"])
    devices["daq"] = site.controller("main", devices["left"], devices["right"])
    made = make_clients(site, **devices)
    wait_on(made.left, made.right, made.daq)
    return made


def description(clients, folder) -> str:
    return DESCRIPTION.format(
        tango_host=os.environ["TANGO_HOST"],
        name="scans",
        controllers=CONTROLLERS,
        macros=MACROS,
        recorders=RECORDERS,
        folder=folder,
        data=clients.site.data,
        daq=clients.names["daq"],
        detector=clients.names["left"],
        left_port=clients.site.simulators["left"].port,
        right_port=clients.site.simulators["right"].port,
    )


@pytest.fixture(scope="module")
def sardana(clients, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sardana")
    server = SardanaServer(folder, description(clients, folder), pool="scans", door="door/scans/1")
    yield server
    server.close()


@pytest.fixture
def door(sardana):
    return sardana.door


def test_ct_reads_images(door):
    result = door.must("ct", "0.01")
    print(result.text())
    assert "left" in result.text("Output")
