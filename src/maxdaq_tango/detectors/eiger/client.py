"""Speaks SIMPLON over HTTP: reads, writes, commands, and turns every answer into a value or one of our errors.

One connection is for what may block (arm, trigger, initialize, slow settings): those wait for each other. All else has
a few of its own, so that `abort` and a look at the state pass while a trigger, or a `cancel` in another thread, lasts;
used by one thread they are one. Only status 200 is success, and no answer is parsed that nothing specifies.

A client remembers configuration values. What a write changed, as the detector tells in its answer, is forgotten and
read again when next wanted; what *other* clients of the same detector change is not noticed before `forget`.

Source: SIMPLON API reference 1.6 and 1.8, see `protocol.py` for the grammar.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from types import TracebackType
from typing import Any

import httpx

from maxdaq_tango.detectors.eiger import acceptance, protocol
from maxdaq_tango.detectors.eiger.protocol import DetectorCommand, Module, Parameter, Task
from maxdaq_tango.errors import DetectorOffline, DetectorRefused, DetectorTimeout, WireError

CONNECT_TIMEOUT_S = 3.0
KEEP_ALIVE_S = 2.0
"""Shorter than any server's (uvicorn: 5 s), so that a request rarely meets a connection which is just being closed."""
BLOCKING_COMMANDS = frozenset({DetectorCommand.INITIALIZE, DetectorCommand.ARM, DetectorCommand.TRIGGER})
QUICK_CONNECTIONS = 4
ANSWER_SHOWN = 300
"""Characters of a refusal that go into an error; a web server's page of HTML helps nobody."""

_TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""SIMPLON has no TLS. A client that is told nothing reads all certificates that there are: 23 ms, and 3.5 MiB that stay
with the allocator of each thread that ever connected."""


class SimplonClient:
    """The HTTP side of one detector control unit.

    Raises `DetectorRefused`, `DetectorTimeout` and `DetectorOffline`, nothing else.
    """

    def __init__(self, host: str, port: int = 80, api_version: str = "auto") -> None:
        """Nothing is sent before `connect`. `api_version` is one of `protocol.API_VERSIONS`, or auto to ask for it."""
        self.host = host
        self.base_url = f"http://{host}:{port}"
        self._wanted_version = api_version
        self._version = ""
        self._lock = threading.Lock()
        self._quick: httpx.Client | None = None
        self._blocking: httpx.Client | None = None
        self._blocking_socket: socket.socket | None = None
        self._known: dict[tuple[Module, str], Parameter] = {}
        self._absent: set[tuple[Module, Task, str]] = set()
        self._keys: dict[tuple[Module, Task], tuple[str, ...]] = {}

    # --- connection ---------------------------------------------------------------------------------------------------

    def connect(self) -> str:
        """Connect, find the API version and return it. May be called again, also after `close`."""
        self.close()
        self._quick = self._new_connections(QUICK_CONNECTIONS)
        self._blocking = self._new_connections(1)
        try:
            self._version = self._find_version()
        except BaseException:
            self.close()
            raise
        return self._version

    def close(self) -> None:
        """Let go of all connections and of everything remembered. A command in flight ends with an error."""
        self.interrupt()
        quick, blocking, self._quick, self._blocking = self._quick, self._blocking, None, None
        for connection in (quick, blocking):
            if connection is not None:
                connection.close()
        self._version = ""
        self.forget()

    def __enter__(self) -> SimplonClient:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def version(self) -> str:
        """API version in use, "" while not connected."""
        return self._version

    def interrupt(self) -> None:
        """Break off a blocking command that another thread waits for; that thread gets `DetectorOffline`.

        For a detector which never answers a trigger that was aborted (tickit-devices 0.4.1). Harmless otherwise.
        """
        with self._lock:
            waiting = self._blocking_socket
        if waiting is not None:
            with contextlib.suppress(OSError):  # the other thread may have closed it a moment ago
                waiting.shutdown(socket.SHUT_RDWR)

    def _new_connections(self, most: int) -> httpx.Client:
        # trust_env off: a beamline computer's web proxy has no business between us and a detector.
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=1, keepalive_expiry=KEEP_ALIVE_S)
        return httpx.Client(base_url=self.base_url, limits=limits, trust_env=False, verify=_TRUSTS_NOBODY)

    def _find_version(self) -> str:
        if self._wanted_version != "auto":
            # The version endpoint may be missing (tickit-devices): a given version is proved by the state it serves.
            self._get(f"find SIMPLON {self._wanted_version}", self._state_path(self._wanted_version))
            return self._wanted_version
        try:
            told = protocol.decode_parameter(self._get("find the API version", protocol.version_path()).content)
            return str(told.value)
        except (DetectorRefused, WireError):
            pass  # no version endpoint: try what we know, newest first
        for version in reversed(protocol.API_VERSIONS):
            with contextlib.suppress(DetectorRefused):
                self._get(f"find SIMPLON {version}", self._state_path(version))
                return version
        raise DetectorRefused(
            "find the SIMPLON API version",
            of=self.base_url,
            answer="neither a version endpoint nor a detector state under a known version",
            accepted=", ".join(protocol.API_VERSIONS),
        )

    @staticmethod
    def _state_path(version: str) -> str:
        return protocol.path(Module.DETECTOR, version, Task.STATUS, "state")

    # --- values -------------------------------------------------------------------------------------------------------

    def keys(self, module: Module, task: Task = Task.CONFIG) -> tuple[str, ...]:
        """Names of the parameters; () where the detector does not list them (eiger-simulator)."""
        known = self._keys.get((module, task))
        if known is None:
            asked = f"list the keys of {module}/{task}"
            try:
                known = protocol.decode_keys(self._get(asked, protocol.keys_path(module, self._version, task)).content)
            except (DetectorRefused, WireError):
                known = ()
            self._keys[module, task] = known
        return known

    def exists(self, module: Module, key: str, task: Task = Task.CONFIG) -> bool:
        """True when the parameter can be read. The key list alone does not decide: it leaves some out."""
        if key in self.keys(module, task):
            return True
        if (module, task, key) in self._absent:
            return False
        try:
            self.config(module, key) if task is Task.CONFIG else self.read(module, task, key)
        except DetectorRefused:
            self._absent.add((module, task, key))
            return False
        return True

    def read(self, module: Module, task: Task, key: str, timeout_s: float = protocol.READ_TIMEOUT_S) -> Parameter:
        """A parameter as the detector has it now; configuration values are remembered."""
        asked = f"read {module}/{task}/{key}"
        response = self._get(asked, protocol.path(module, self._version, task, key), timeout_s)
        try:
            parameter = protocol.decode_parameter(response.content)
        except WireError as error:
            raise DetectorRefused(asked, of=str(response.url), answer=error.answer, accepted=error.accepted) from error
        if task is Task.CONFIG:
            self._known[module, key] = parameter
        return parameter

    def config(self, module: Module, key: str) -> Parameter:
        """A configuration parameter, from memory when nothing has changed it since it was read."""
        return self._known.get((module, key)) or self.read(module, Task.CONFIG, key)

    def state(self, timeout_s: float = protocol.READ_TIMEOUT_S) -> str:
        """The detector's state as it spells it."""
        return str(self.read(Module.DETECTOR, Task.STATUS, "state", timeout_s).value)

    def write(self, module: Module, key: str, value: Any) -> Any:
        """Set a parameter after checking it against what the detector accepts; returns the value as it was sent."""
        path = protocol.path(module, self._version, Task.CONFIG, key)
        url = self.base_url + path
        parameter = self.config(module, key)
        fitted = acceptance.fit(f"{module}/{key}", parameter, value, url)
        slow = module is Module.DETECTOR and acceptance.is_slow(key)
        self._known.pop((module, key), None)
        try:
            response = self._ask(
                f"set {module}/{key} to {fitted!r}",
                "PUT",
                path,
                body=protocol.encode_value(fitted),
                timeout_s=protocol.CONFIG_TIMEOUT_S,
                blocking=slow,
            )
        except DetectorRefused as error:
            accepted = acceptance.accepted_text(parameter)
            raise DetectorRefused(error.asked, of=error.of, answer=error.answer, accepted=accepted) from None
        changed = protocol.decode_changed_keys(response.content)
        if changed:
            for name in changed:
                self._known.pop((module, name), None)
        else:  # it does not say what else changed: then anything of that module may have
            self._forget_module(module)
        return fitted

    def forget(self, *, writable_only: bool = False) -> None:
        """Drop remembered values, so that they are read again; `writable_only` keeps those that no client can set."""
        if writable_only:
            for name, held in tuple(self._known.items()):
                if held.is_writable:
                    self._known.pop(name, None)
            return
        self._known.clear()
        self._absent.clear()
        self._keys.clear()

    def _forget_module(self, module: Module) -> None:
        for name in tuple(self._known):  # a copy: another thread may be reading parameters
            if name[0] is module:
                self._known.pop(name, None)

    # --- commands -----------------------------------------------------------------------------------------------------

    def command(
        self,
        command: DetectorCommand,
        *,
        argument: Any = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """Give the detector a command and wait for its answer, whose meaning is the caller's to know.

        The deadline is the command's own (`protocol.COMMAND_TIMEOUTS_S`) unless one is given; `trigger` needs one.
        """
        if timeout_s is None:
            timeout_s = protocol.COMMAND_TIMEOUTS_S[command]
        response = self._ask(
            f"{command}" if argument is None else f"{command} with {argument!r}",
            "PUT",
            protocol.path(Module.DETECTOR, self._version, Task.COMMAND, command),
            body=None if argument is None else protocol.encode_value(argument),
            timeout_s=timeout_s,
            blocking=command in BLOCKING_COMMANDS,
            repeatable=False,
        )
        if command is DetectorCommand.INITIALIZE:
            self.forget()  # parameters come into being and get their defaults
        return response.content

    def monitor_image(self, timeout_s: float = 0.5) -> bytes:
        """The newest frame of the monitor as TIFF. `DetectorTimeout` when none came within `timeout_s`."""
        path = protocol.path(Module.MONITOR, self._version, Task.IMAGES, "monitor")
        query = f"{path}?timeout={max(0, round(timeout_s * 1000))}"
        return self._get("the newest monitor image", query, timeout_s + protocol.READ_TIMEOUT_S).content

    # --- transport ----------------------------------------------------------------------------------------------------

    def _get(self, asked: str, path: str, timeout_s: float = protocol.READ_TIMEOUT_S) -> httpx.Response:
        return self._ask(asked, "GET", path, timeout_s=timeout_s)

    def _ask(
        self,
        asked: str,
        method: str,
        path: str,
        *,
        timeout_s: float,
        body: bytes | None = None,
        blocking: bool = False,
        repeatable: bool = True,
    ) -> httpx.Response:
        """One request. A repeatable one is sent again when the server closed the idle connection under our hands."""
        url = self.base_url + path
        connection = self._blocking if blocking else self._quick
        if connection is None:
            raise DetectorOffline(asked, of=url, answer="not connected", accepted="connect first")
        request = connection.build_request(
            method,
            path,
            content=body,
            headers={"Content-Type": protocol.JSON_TYPE} if body is not None else None,
            timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s)),
            extensions={"trace": self._remember_socket} if blocking else None,
        )
        try:
            try:
                response = connection.send(request, follow_redirects=method == "GET")
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                if not repeatable or blocking:
                    raise
                response = connection.send(request, follow_redirects=method == "GET")
        except httpx.ConnectTimeout as error:
            raise DetectorOffline(asked, of=url, answer=f"no connection within {CONNECT_TIMEOUT_S:g} s") from error
        except httpx.PoolTimeout as error:
            answer = f"an earlier request still waits for its answer after {timeout_s:g} s"
            raise DetectorTimeout(asked, of=url, answer=answer) from error
        except httpx.TimeoutException as error:
            raise DetectorTimeout(asked, of=url, answer=f"no answer within {timeout_s:g} s") from error
        except (httpx.HTTPError, RuntimeError) as error:  # RuntimeError: another thread closed the client
            raise DetectorOffline(asked, of=url, answer=str(error) or type(error).__name__) from error
        if response.status_code == httpx.codes.REQUEST_TIMEOUT:
            raise DetectorTimeout(asked, of=url, answer=_refusal(response))
        if response.status_code != httpx.codes.OK:
            raise DetectorRefused(asked, of=url, answer=_refusal(response))
        return response

    def _remember_socket(self, event: str, details: dict[str, Any]) -> None:
        """httpx's trace hook: the only public way to the socket that `interrupt` must shut."""
        if event == "connection.connect_tcp.complete":
            with self._lock:
                self._blocking_socket = details["return_value"].get_extra_info("socket")


def _refusal(response: httpx.Response) -> str:
    """The detector's own words, shortened."""
    words = " ".join(response.text.split())
    if len(words) > ANSWER_SHOWN:
        words = words[:ANSWER_SHOWN] + " ..."
    return f"HTTP {response.status_code}: {words}" if words else f"HTTP {response.status_code}"
