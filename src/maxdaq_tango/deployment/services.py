"""Simulators, streamers and device servers as services: what to run, and when they are ready."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

import msgspec
import tango

from maxdaq_tango.deployment.answers import answers_of, family_of, is_simulator, text_of
from maxdaq_tango.deployment.process import ChildProcess
from maxdaq_tango.deployment.programs import SERVER_MODULES, SIMULATOR_MODULES, STREAMER_MODULES
from maxdaq_tango.deployment.simulators import Simulator
from maxdaq_tango.deployment.streamers import Streamer
from maxdaq_tango.deployment.topology import Topology, substitute
from maxdaq_tango.errors import LaunchError


class ProgramService:
    """A simulated detector, or a streamer. The ports of the first start are kept, so that it is found again after a
    restart.
    """

    ready_timeout_s = 30.0

    def __init__(self, name: str, settings: Simulator | Streamer, answers: Mapping[str, str]) -> None:
        """`answers` is what `${…}` in a setting may stand for."""
        simulates, family = is_simulator(settings), family_of(settings)
        self.name = f"simulator-{name}" if simulates else f"streamer-{name}"
        self.program = name
        self._module = (SIMULATOR_MODULES if simulates else STREAMER_MODULES)[family]
        self._words = answers_of(settings)
        self._settings = {
            key: tuple(substitute(str(item), answers) for item in value)
            if isinstance(value, tuple)
            else substitute(value, answers)
            if isinstance(value, str)
            else value
            for key, value in msgspec.structs.asdict(settings).items()
        }
        self.answers: dict[str, str] = {}
        """What it said when it was ready: host and ports, a list of them with commas between."""
        self.trouble = ""
        """What it said then that it lacks: it runs, and has no vendor's library."""

    def command(self) -> Sequence[str]:
        """Every setting of the topology becomes an option of the same name, a list one option for each of its items.

        Yes is `--name`, no is `--no-name`.
        """
        options: list[str] = []
        for name, value in self._settings.items():
            word = name.replace("_", "-")
            if isinstance(value, bool):
                options.append(f"--{word}" if value else f"--no-{word}")
                continue
            for item in value if isinstance(value, tuple) else (value,):
                options += (f"--{word}", str(item))
        return (sys.executable, "-m", self._module, *options)

    def environment(self) -> Mapping[str, str]:
        """The line of JSON must reach the log at once."""
        return {"PYTHONUNBUFFERED": "1"}

    def prepare(self) -> None:
        """Nothing."""

    def ready(self, process: ChildProcess) -> bool:
        """It has printed its addresses."""
        for line in process.output().splitlines():
            if line.startswith("{"):
                try:
                    said = json.loads(line)
                except ValueError:
                    return False  # half a line: the rest is on its way
                missing = [word for word in self._words.values() if word not in said]
                if missing:
                    raise LaunchError(f"start {self.name}", answer=f"it told no {missing[0]}: {line}")
                self.answers = {key: text_of(said[word]) for key, word in self._words.items()}
                self.trouble = str(said.get("trouble") or "")
                for key, word in self._words.items():
                    if key in self._settings:
                        self._settings[key] = tuple(said[word]) if isinstance(said[word], list) else said[word]
                return True
        return False


class DeviceServerService:
    """A Tango device server and the devices that it must export."""

    ready_timeout_s = 60.0
    """Numba compiles on the first run of a new installation."""

    def __init__(
        self, server: str, instance: str, topology: Topology, tango_host: str, answers: Mapping[str, str]
    ) -> None:
        self.name = f"{server}/{instance}"
        self.devices = tuple(placed.name for placed in topology.devices() if placed.server_instance == self.name)
        self._server = server
        self._instance = instance
        self._command = topology.programs.get(server)
        self._endpoint = f"giop:tcp:{topology.host}:0"
        self._tango_host = tango_host
        self._answers = dict(answers)

    def command(self) -> Sequence[str]:
        """Ours as modules, others as the topology says; the instance and the end point follow either way."""
        if self._command is not None:
            words = tuple(substitute(word, {**self._answers, "python": sys.executable}) for word in self._command)
        else:
            words = (sys.executable, "-m", SERVER_MODULES[self._server])
        return (*words, self._instance, "-ORBendPoint", self._endpoint)

    def environment(self) -> Mapping[str, str]:
        """Its database."""
        return {"TANGO_HOST": self._tango_host, "PYTHONUNBUFFERED": "1"}

    def prepare(self) -> None:
        """Forget what a killed predecessor left in the database, or its devices would look exported.

        Only a dead one: a server of this name that answers belongs to somebody else, perhaps on another computer.
        """
        if _answers(f"tango://{self._tango_host}/dserver/{self.name}"):
            raise LaunchError(
                f"start {self.name}",
                of=f"the database {self._tango_host}",
                answer="a server of this name runs already",
                accepted="stop that one, or another instance name in the topology",
            )
        try:
            self._database().unexport_server(self.name)
        except tango.DevFailed as error:
            raise LaunchError(
                "register it as starting",
                of=f"{self.name} with the database {self._tango_host}",
                answer=error.args[0].desc.strip().splitlines()[0],
                accepted="a database that answers",
            ) from None

    def ready(self, process: ChildProcess) -> bool:
        """The admin device and every device answer a ping."""
        names = (f"dserver/{self.name}", *self.devices)
        try:
            database = self._database()
            # A proxy made too early is throttled to one attempt a second; the database knows without that.
            if not all(database.get_device_info(name).exported for name in names):
                return False
            for name in names:
                tango.DeviceProxy(f"tango://{self._tango_host}/{name}").ping()
        except tango.DevFailed:
            return False
        return True

    def _database(self) -> tango.Database:
        host, _, port = self._tango_host.partition(":")
        return tango.Database(host, int(port))


def _answers(device: str) -> bool:
    try:
        tango.DeviceProxy(device).ping()
    except tango.DevFailed:
        return False
    return True
