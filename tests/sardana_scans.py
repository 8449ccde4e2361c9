"""Two simulated detectors as Sardana is told of them, and what its scans leave, to be compared with what was sent."""

from __future__ import annotations

from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filter
import numpy as np

from maxdaq_tango.detectors.simulation.pattern import FramePattern

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
          Patience: 4.0
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
          Patience: 4.0
          ArmEarly: true
        elements:
          alone: {{axis: 1}}
      {name}_regionctrl:
        type: PseudoCounter
        python_module: maxdaq_regions.py
        python_class: MaxdaqRegionController
        physical_roles:
          image: alone
        properties:
          Region: 10:30, 5:40
        elements:
          region: {{axis: 1}}
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
      {name}_zerodctrl:
        type: ZeroDExpChannel
        python_module: maxdaq_counters.py
        python_class: MaxdaqZeroDController
        properties:
          Device: {daq}
          Counters:
          - nFramesReceived
        elements:
          during: {{axis: 1}}
      {name}_onedctrl:
        type: OneDExpChannel
        python_module: maxdaq_counters.py
        python_class: MaxdaqOneDController
        properties:
          Device: {daq}
          Counters:
          - DetectorFramesReceived
          - TriggerMode
        elements:
          frames_each: {{axis: 1}}
          words_each: {{axis: 2}}
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
      {name}_tgctrl2:
        type: TriggerGate
        python_module: maxdaq_triggers.py
        python_class: MaxdaqSimulatedTriggerController
        properties:
          Simulators:
          - http://127.0.0.1:{left_port}
          OneByOne: true
        elements:
          onebyone: {{axis: 1}}
      {name}_tgctrl3:
        type: TriggerGate
        python_module: maxdaq_triggers.py
        python_class: MaxdaqSimulatedTriggerController
        properties:
          Simulators:
          - http://127.0.0.1:{left_port}
          Signal: gate
        elements:
          gates: {{axis: 1}}
      {name}_tgctrl4:
        type: TriggerGate
        python_module: maxdaq_triggers.py
        python_class: MaxdaqSimulatedTriggerController
        properties:
          Simulators:
          - http://127.0.0.1:1
        elements:
          nobody: {{axis: 1}}
    measurement_groups:
      both:
        channels:
        - left
        - right
        - received
        - verdict
      shown:
        channels:
        - left
        - right
        - during
        - frames_each
      one:
        channels:
        - alone
      summed:
        channels:
        - alone
        - region
      each:
        channels:
        - alone: {{synchronizer: onebyone}}
      untriggered:
        channels:
        - alone: {{synchronizer: nobody}}
      gated:
        channels:
        - alone: {{synchronizer: gates, synchronization: Gate}}
      counted:
        channels:
        - alone: {{synchronizer: trigger}}
        - received: {{synchronizer: trigger}}
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


class ScanFile:
    """What a scan left."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with h5py.File(path) as file:
            (entry,) = (file[name] for name in file if name.startswith("entry"))
            measurement = entry["measurement"]
            self.links = {name: measurement.get(name, getlink=True) for name in measurement}
            self.data = {name: item[...] for name, item in measurement.items() if isinstance(item, h5py.Dataset)}
            self.failures = {name: value for name, value in entry.attrs.items() if name.startswith("maxdaq")}


def sent(member: str, like: np.ndarray, number: int) -> np.ndarray:
    """The frame that the simulator sent; the width of its pixels follows from the exposure."""
    kinds = [like.dtype.name] if like.dtype.kind == "u" else ["uint16", "uint32"]
    frames = [FramePattern(SEEDS[member], SHAPE, kind).frame(number) for kind in kinds]
    return next((frame for frame in frames if frame.max() == like.max()), frames[0])


def assert_sent(member: str, stack: np.ndarray, numbers) -> None:
    numbers = list(numbers)
    assert stack.shape == (len(numbers), *SHAPE)
    for frame, number in zip(stack, numbers, strict=True):
        np.testing.assert_array_equal(frame, sent(member, frame, number))


def assert_links(scan: ScanFile, *members: str) -> None:
    """One relative external link for each."""
    for member in members:
        link = scan.links[member]
        assert isinstance(link, h5py.ExternalLink)
        assert link.filename == f"{scan.path.stem}_{member}.h5"
