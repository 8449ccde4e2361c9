"""The topology: one file that says what runs, typed and checked before anything starts.

    name: laptop
    simulators:
      eiger: {family: eiger, rows: 1065, columns: 1030}
    servers:                        # server > instance > class > device, as dsconfig writes it
      EigerDetector:
        laptop:
          EigerDetector:
            laptop/detector/eiger:
              properties:
                Host: ${eiger.host}         # the real detector: its address instead
                Port: ${eiger.port}

Names, not list positions, identify things, so that one file can be laid over another (Helm values, Kustomize).
`${simulator.field}` stands for what the simulator answered when it started, `${data}` for the folder of this topology.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from maxdaq_tango.deployment.answers import answers_of
from maxdaq_tango.deployment.leaves import Port, Text
from maxdaq_tango.deployment.programs import SERVER_MODULES
from maxdaq_tango.deployment.simulators import Simulator
from maxdaq_tango.deployment.streamers import Streamer
from maxdaq_tango.deployment.typed_yaml import Described, Document, nearest
from maxdaq_tango.errors import ConfigurationError

Value = str | int | float | bool
"""A property value as YAML gives it. Tango stores text; `property_text` turns one into the other."""
Values = Annotated[Value | tuple[Value, ...], Described("text, a number, true or false, or a list of those")]


class EmbeddedDatabase(StrEnum):
    """Whether a Tango database of our own is started."""

    AUTO = "auto"
    """Only when TANGO_HOST is not set."""
    ALWAYS = "always"
    NEVER = "never"


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """The embedded Tango database, pytango-db on one SQLite file."""

    embedded: EmbeddedDatabase = EmbeddedDatabase.AUTO
    host: Text = "127.0.0.1"
    port: Port = 0
    file: Text = "tango.db"
    """Relative to the folder of the topology; `:memory:` forgets everything at the end."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One Tango device, in the words of dsconfig."""

    alias: str = ""
    properties: dict[str, Values] = {}
    attribute_properties: dict[str, dict[str, Values]] = {}
    """Attribute name > property name > value."""


Classes = dict[str, dict[str, Device]]
Servers = dict[str, dict[str, Classes]]


class Topology(msgspec.Struct, frozen=True, kw_only=True):
    """What runs together. Within a kind things start in the order of the file and stop in the reverse one."""

    name: Annotated[
        str,
        Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$"),
        Described("letters, digits, - and _; no - or _ first"),
    ]
    """Names the folder that holds the database and the logs."""
    host: Annotated[
        str,
        Meta(pattern=r"^(?!0\.0\.0\.0$)"),
        Described('127.0.0.1, an address of this computer, or "" for all'),
    ] = "127.0.0.1"
    """Where device servers listen. 0.0.0.0 is refused: servers would publish it as their address, and events would
    never arrive."""
    database: Database = Database()
    simulators: dict[str, Simulator] = {}
    streamers: dict[str, Streamer] = {}
    """Programs beside hardware that cannot stream by itself. They start after the simulators and may name their
    answers."""
    programs: dict[
        str, Annotated[tuple[str, ...], Meta(min_length=1), Described("a list of words, the program first")]
    ] = {}
    """Server name > command, for device servers that are not ours. `${python}` is the Python that runs this."""
    servers: Servers = {}

    def devices(self) -> Iterator[PlacedDevice]:
        """Every device with the place where it stands."""
        for server, instances in self.servers.items():
            for instance, classes in instances.items():
                for class_name, devices in classes.items():
                    for name, device in devices.items():
                        yield PlacedDevice(server, instance, class_name, name, device)


class PlacedDevice(msgspec.Struct, frozen=True):
    """A device and where the topology has it."""

    server: str
    instance: str
    class_name: str
    name: str
    device: Device

    @property
    def server_instance(self) -> str:
        """Tango's name of the process: `EigerDetector/laptop`."""
        return f"{self.server}/{self.instance}"

    @property
    def path(self) -> tuple[str, ...]:
        """The place in the file."""
        return ("servers", self.server, self.instance, self.class_name, self.name)


DEFAULT_TOPOLOGY = "simulated-eiger"
"""What `maxdaq up` starts when nobody says anything else."""

_REFERENCE = re.compile(r"\$\{([^}]*)\}")
_DEVICE_NAME = re.compile(r"^[A-Za-z0-9_.+-]+/[A-Za-z0-9_.+-]+/[A-Za-z0-9_.+-]+$")
_PLAIN_NAME = re.compile(r"^[A-Za-z0-9_.+-]+$")


def built_in_topology(name: str = DEFAULT_TOPOLOGY) -> str:
    """The text of a topology that comes with the package."""
    return (resources.files("maxdaq_tango.deployment") / "topologies" / f"{name}.yaml").read_text()


def load_topology(path: Path) -> Topology:
    """Read and check a topology file."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigurationError(
            "read the topology", of=str(path), answer=reason, accepted="a YAML file; `maxdaq up --show` prints one"
        ) from None
    return parse_topology(text, str(path))


def parse_topology(text: str, name: str) -> Topology:
    """Check a topology text; `name` is what errors call it."""
    document = Document(text, name)
    topology = document.typed(Topology)
    _check_names(topology, document)
    _check_programs(topology, document)
    _check_references(topology, document)
    return topology


def property_text(values: Value | tuple[Value, ...], answers: Mapping[str, str]) -> list[str]:
    """A property as Tango stores it, with every `${…}` replaced; `answers` maps reference to text."""
    items = values if isinstance(values, tuple) else (values,)
    return [substitute(_plain(item), answers) for item in items]


def substitute(text: str, answers: Mapping[str, str]) -> str:
    """Replace every `${…}`; a reference without an answer is a ConfigurationError."""

    def answer(match: re.Match[str]) -> str:
        try:
            return answers[match[1]]
        except KeyError:
            raise ConfigurationError(f"fill in {match[0]}", accepted=", ".join(sorted(answers))) from None

    return _REFERENCE.sub(answer, text)


def _plain(item: Value) -> str:
    # Tango reads booleans strictly: Python's `True` would be refused.
    return str(item).lower() if isinstance(item, bool) else str(item)


def _check_names(topology: Topology, document: Document) -> None:
    for server, instances in topology.servers.items():
        for instance in instances:
            for word, path in ((server, ("servers", server)), (instance, ("servers", server, instance))):
                if not _PLAIN_NAME.match(word):
                    raise document.error(path, f"'{word}' is no name", "letters, digits and . _ + -")
    seen: dict[str, PlacedDevice] = {}
    for placed in topology.devices():
        if not _DEVICE_NAME.match(placed.name):
            accepted = "domain/family/member, such as laptop/detector/eiger"
            raise document.error(placed.path, f"'{placed.name}' is no device name", accepted)
        other = seen.setdefault(placed.name.lower(), placed)  # Tango does not tell case apart
        if other is not placed:
            raise document.error(
                placed.path, f"{other.server_instance} has this device already", "each device in one server"
            )


def _check_programs(topology: Topology, document: Document) -> None:
    known = [*SERVER_MODULES, *topology.programs]
    for server in topology.servers:
        if server not in known:
            raise document.error(
                ("servers", server),
                f"no program is known for this server{nearest(server, known)}",
                "one of " + ", ".join(known) + ", or a command under `programs`",
            )


def _check_references(topology: Topology, document: Document) -> None:
    known = ["data"]
    for kind, programs in (("simulators", topology.simulators), ("streamers", topology.streamers)):
        answers = []
        for name, settings in programs.items():
            if not re.match(r"^[A-Za-z0-9_-]+$", name):
                raise document.error((kind, name), f"'{name}' is no name", "letters, digits, - and _")
            if f"{name}.host" in known:
                raise document.error((kind, name), f"a simulator is called '{name}', too", "a name of its own")
            for key, value in msgspec.structs.asdict(settings).items():
                items = value if isinstance(value, tuple) else (value,)
                _check_texts(tuple(map(str, items)), known, (kind, name, key), document)
            answers += [f"{name}.{answer}" for answer in answers_of(settings)]
        known += answers
    for program, words in topology.programs.items():
        _check_texts(words, [*known, "python"], ("programs", program), document)
    for placed in topology.devices():
        for key, values in placed.device.properties.items():
            items = values if isinstance(values, tuple) else (values,)
            _check_texts(tuple(map(str, items)), known, (*placed.path, "properties", key), document)


def _check_texts(texts: tuple[str, ...], known: list[str], path: tuple[str, ...], document: Document) -> None:
    for text in texts:
        for reference in _REFERENCE.findall(text):
            if reference not in known:
                raise document.error(
                    path,
                    f"${{{reference}}} stands for nothing{nearest(reference, known)}",
                    ", ".join(f"${{{word}}}" for word in known),
                )
