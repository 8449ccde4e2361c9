"""Settings of every streamer, as a topology has them. Each becomes an option of the program.

A setting may name what a simulator answered, such as `${pilatus.folder}`.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from maxdaq_tango.deployment.leaves import KeyFile, Port, Text
from maxdaq_tango.deployment.typed_yaml import Described

ModulePorts = Annotated[tuple[Port, ...], Described("a list of ports, one for each module; 0 = any free one")]


Mebibytes = Annotated[int, msgspec.Meta(ge=1), Described("a whole number of MiB from 1")]


class PilatusStreamer(msgspec.Struct, frozen=True, kw_only=True, tag_field="family", tag="pilatus"):
    """Watches the folder of images of a camserver."""

    host: Text = "127.0.0.1"
    port: Port = 0
    stream_port: Port = 0
    folder: Text
    """Where images are renamed into."""
    delete: bool = False
    """Delete images that were given to the network."""
    curve_key: KeyFile = ""


class LambdaStreamer(msgspec.Struct, frozen=True, kw_only=True, tag_field="family", tag="lambda"):
    """Owns the vendor's library of a Lambda."""

    host: Text = "127.0.0.1"
    port: Port = 0
    stream_ports: ModulePorts = (0,)
    library: Text = "pyxsp"
    """Python module of the vendor's library, or of the simulator's."""
    system: Text = "/opt/xsp/config/system.yml"
    """Description of the system, as the library takes it."""
    place: tuple[Text, ...] = ()
    """X,Y,ROTATION of each module, in their order, where the library does not tell or is to be overruled."""
    full_shape: str = ""
    """ROWS,COLUMNS of the picture; empty = as small as holds all modules."""
    curve_key: KeyFile = ""


class OrcaStreamer(msgspec.Struct, frozen=True, kw_only=True, tag_field="family", tag="orca"):
    """Owns the vendor's library of a camera."""

    host: Text = "127.0.0.1"
    port: Port = 0
    stream_port: Port = 0
    library: Text = "libdcamapi.so.4"
    """Path of the vendor's library, or of the simulator's."""
    camera: Annotated[int, msgspec.Meta(ge=0), Described("a whole number from 0")] = 0
    """Which one of those that the library finds."""
    ring_mib: Mebibytes = 512
    """Memory that the camera writes into."""
    pool_mib: Mebibytes = 512
    """Memory for frames that wait for the receiver."""
    curve_key: KeyFile = ""


Streamer = PilatusStreamer | LambdaStreamer | OrcaStreamer
"""All that need one, told apart by `family`."""

STREAMER_ANSWERS = {
    "pilatus": {"host": "host", "port": "http", "stream_port": "stream"},
    "lambda": {"host": "host", "port": "http", "stream_ports": "streams"},
    "orca": {"host": "host", "port": "http", "stream_port": "stream"},
}
"""Family > what `${streamer.…}` may name > what the streamer itself calls it."""
