"""Settings of every simulator, as a topology has them. Each becomes an option of the program."""

from __future__ import annotations

from typing import Annotated

import msgspec

from maxdaq_tango.deployment.leaves import Faulty, KeyFile, Modules, Pixels, Port, Seed, Text
from maxdaq_tango.deployment.typed_yaml import Described
from maxdaq_tango.detectors.eiger.parameters import MODELS
from maxdaq_tango.detectors.eiger.protocol import API_VERSIONS
from maxdaq_tango.detectors.jungfrau.simulator_stream import JungfrauOptions, parse_faults
from maxdaq_tango.detectors.orca.simulator import OrcaOptions
from maxdaq_tango.detectors.orca.simulator_faults import refuse_meaningless as refuse_meaningless_of_orca
from maxdaq_tango.detectors.pilatus.simulator_faults import refuse_meaningless
from maxdaq_tango.detectors.pilatus.simulator_work import SimulatorOptions as PilatusOptions
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.detectors.simulation.stins_sender import StinsOptions
from maxdaq_tango.detectors.xspectrum_lambda.simulator import check_faults
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


class JungfrauSimulator(msgspec.Struct, frozen=True, kw_only=True, tag_field="family", tag="jungfrau"):
    """A simulated Jungfrau: a control over HTTP in the place of slsdet's, slsReceiver's streams over ZeroMQ."""

    host: Text = "127.0.0.1"
    port: Port = 0
    stream_port: Port = 0
    """Of the first interface; the others follow."""
    modules: Annotated[int, msgspec.Meta(ge=1, le=32), Described("a whole number from 1 to 32")] = 1
    interfaces: Annotated[int, msgspec.Meta(ge=1, le=2), Described("1 or 2")] = 1
    """Of each module."""
    rows: Annotated[int, msgspec.Meta(ge=2, le=4096), Described("a whole number of pixels from 2 to 4096")] = 512
    """Of one module, and so are columns."""
    columns: Annotated[int, msgspec.Meta(ge=1, le=4096), Described("a whole number of pixels from 1 to 4096")] = 1024
    seed: Seed = 1
    server_version: Text = "10.0.1"
    """Of the detector server."""
    fault: Faulty = ()

    def __post_init__(self) -> None:
        parse_faults(self.fault)
        JungfrauOptions(interfaces=self.interfaces, rows=self.rows)


class PilatusSimulator(msgspec.Struct, frozen=True, kw_only=True, tag_field="family", tag="pilatus"):
    """A simulated camserver: commands on TCP, images in a folder, signals and faults over HTTP."""

    host: Text = "127.0.0.1"
    port: Port = 0
    camserver_port: Port = 0
    folder: str = ""
    """Where images appear; empty = a temporary folder of its own."""
    rows: Pixels = 619
    columns: Pixels = 487
    seed: Seed = 1
    generation: int = 3
    trim_time: float = 0.2
    """How long SetThreshold and its kin take, s."""
    fault: Faulty = ()

    def __post_init__(self) -> None:
        refuse_meaningless(Faults.parse(self.fault))
        PilatusOptions(rows=self.rows, columns=self.columns, generation=self.generation, trim_time_s=self.trim_time)


class LambdaSimulator(msgspec.Struct, frozen=True, kw_only=True, tag_field="family", tag="lambda"):
    """A simulated Lambda, for a streamer that loads the simulated library."""

    host: Text = "127.0.0.1"
    port: Port = 0
    modules: Modules = 4
    rows: Pixels = 516
    """Of one module, as are columns."""
    columns: Pixels = 1556
    seed: Seed = 1
    fault: Faulty = ()

    def __post_init__(self) -> None:
        check_faults(Faults.parse(self.fault))


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
        refuse_meaningless_of_orca(Faults.parse(self.fault))
        OrcaOptions(model=self.model, rows=self.rows, columns=self.columns)


Simulator = EigerSimulator | StinsSimulator | JungfrauSimulator | LambdaSimulator | OrcaSimulator | PilatusSimulator
"""All that can be simulated, told apart by `family`."""

SIMULATOR_ANSWERS = {
    "eiger": {"host": "host", "port": "http", "stream_port": "stream", "cbor_port": "cbor"},
    "jungfrau": {"host": "host", "port": "http", "stream_port": "stream"},
    "stins": {"host": "host", "port": "http", "stream_port": "stream"},
    "pilatus": {"host": "host", "port": "http", "camserver_port": "camserver", "folder": "folder"},
    "lambda": {"host": "host", "port": "http"},
    "orca": {"host": "host", "port": "http", "camera_port": "camera", "library": "library"},
}
"""Family > what `${simulator.…}` may name > what the simulator itself calls it."""
