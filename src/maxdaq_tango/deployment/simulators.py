"""Settings of every simulator, as a topology has them. Each becomes an option of the program."""

from __future__ import annotations

import msgspec

from maxdaq_tango.deployment.leaves import Faulty, KeyFile, Pixels, Port, Seed, Text
from maxdaq_tango.detectors.eiger.parameters import MODELS
from maxdaq_tango.detectors.eiger.protocol import API_VERSIONS
from maxdaq_tango.detectors.orca.simulator import OrcaOptions
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.stins_sender import StinsOptions
from maxdaq_tango.errors import ConfigurationError


class EigerSimulator(msgspec.Struct, frozen=True, kw_only=True, tag_field="family", tag="eiger"):
    """A simulated Eiger DCU: SIMPLON over HTTP, stream v1 and v2 over ZeroMQ."""

    host: Text = "127.0.0.1"
    port: Port = 0
    stream_port: Port = 0
    cbor_port: Port = 0
    rows: Pixels = 1065
    columns: Pixels = 1030
    seed: Seed = 1
    model: Text = "eiger2"
    api: Text = "1.8.0"
    """Version of SIMPLON that it speaks."""
    fault: Faulty = ()
    """What shall go wrong from the start, such as `drop=0.01`."""
    curve_key: KeyFile = ""
    """Path of a key file: both streams are encrypted (CURVE); empty = neither, as a detector's."""

    def __post_init__(self) -> None:
        Faults.parse(self.fault)
        if self.model not in MODELS:
            raise ConfigurationError(f"simulate the model {self.model!r}", accepted=", ".join(MODELS))
        if self.api not in API_VERSIONS:
            raise ConfigurationError(f"simulate SIMPLON {self.api!r}", accepted=", ".join(API_VERSIONS))


class StinsSimulator(msgspec.Struct, frozen=True, kw_only=True, tag_field="family", tag="stins"):
    """A sender of STINS series with a small control over HTTP."""

    host: Text = "127.0.0.1"
    port: Port = 0
    stream_port: Port = 0
    rows: Pixels = 1065
    columns: Pixels = 1030
    dtype: Text = "uint16"
    compression: Text = "bslz4"
    seed: Seed = 1
    fault: Faulty = ()
    curve_key: KeyFile = ""

    def __post_init__(self) -> None:
        Faults.parse(self.fault)
        StinsOptions(rows=self.rows, columns=self.columns, dtype=self.dtype, compression=self.compression)


class OrcaSimulator(msgspec.Struct, frozen=True, kw_only=True, tag_field="family", tag="orca"):
    """A simulated Hamamatsu ORCA, and a DCAM library that has it."""

    host: Text = "127.0.0.1"
    port: Port = 0
    """HTTP: faults, signals on the trigger input, the account."""
    camera_port: Port = 0
    """For the library."""
    library: str = ""
    """Where to put the library; empty = in a folder that goes with the simulator."""
    model: Text = "lightning"
    rows: Pixels = 2592
    columns: Pixels = 4608
    seed: Seed = 1
    fault: Faulty = ()

    def __post_init__(self) -> None:
        Faults.parse(self.fault)
        OrcaOptions(model=self.model, rows=self.rows, columns=self.columns)


Simulator = EigerSimulator | StinsSimulator | OrcaSimulator
"""All that can be simulated, told apart by `family`."""

SIMULATOR_ANSWERS = {
    "eiger": {"host": "host", "port": "http", "stream_port": "stream", "cbor_port": "cbor"},
    "stins": {"host": "host", "port": "http", "stream_port": "stream"},
    "orca": {"host": "host", "port": "http", "camera_port": "camera", "library": "library"},
}
"""Family > what `${simulator.…}` may name > what the simulator itself calls it."""
