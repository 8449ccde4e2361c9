"""A link to another Tango device: what fails there is one of our errors here, in one clear sentence."""

from __future__ import annotations

import threading
import time
from typing import Any

import msgspec
import tango

from maxdaq_tango.errors import ConfigurationError, EngineError, MaxdaqError
from maxdaq_tango.model import latin_text
from maxdaq_tango.tango_support.failures import error_of, unpack
from maxdaq_tango.tango_support.steps import StepRecord

STEP_LOOK_S = 0.02
STEP_FIRST_LOOK_S = 0.002
"""Looks begin close together, as most steps are short, and take their time for a long one."""
STEP_LOST_S = 10.0
"""How long a device may be out of reach while one of its steps is awaited."""

_RECORDS = msgspec.json.Decoder(list[StepRecord])


class DeviceLink:
    """One device by name. Thread-safe; connects when first used, and again after a failure."""

    def __init__(self, name: str, *, offline: type[MaxdaqError] = EngineError, timeout_s: float = 3.0) -> None:
        self.name = name
        self._offline = offline
        self._timeout_ms = int(timeout_s * 1000)
        self._lock = threading.Lock()  # guards the making of the proxy
        self._proxy: tango.DeviceProxy | None = None

    def command(self, name: str, argument: Any = None) -> Any:
        """Run a command. A MaxdaqError of the other side comes out as itself."""
        try:
            proxy = self._connected()
            if isinstance(argument, str):
                argument = latin_text(argument)
            return proxy.command_inout(name) if argument is None else proxy.command_inout(name, argument)
        except tango.DevFailed as failed:
            raise error_of(failed, asked=name, of=self.name, otherwise=self._offline) from None

    def read(self, *names: str) -> list[Any]:
        """Read several attributes in one call; None where one is not known."""
        try:
            return [item.value for item in self._connected().read_attributes(list(names))]
        except tango.DevFailed as failed:
            asked = f"read {', '.join(names)}"
            raise error_of(failed, asked=asked, of=self.name, otherwise=self._offline) from None

    def write(self, name: str, value: Any) -> None:
        """Write an attribute. What the other side refuses is its own error."""
        try:
            self._connected().write_attribute(name, value)
        except tango.DevFailed as failed:
            outside = failed.args[0].reason == "API_WAttrOutsideLimit"
            kind = ConfigurationError if outside else self._offline
            raise error_of(failed, asked=f"set {name} to {value!r}", of=self.name, otherwise=kind) from None

    def limits(self, *names: str) -> dict[str, tuple[float | None, float | None]]:
        """Smallest and largest value of attributes, as their configuration says; None where it says nothing."""
        try:
            found = self._connected().get_attribute_config(list(names))
        except tango.DevFailed as failed:
            asked = f"read the limits of {', '.join(names)}"
            raise error_of(failed, asked=asked, of=self.name, otherwise=self._offline) from None
        return {one.name: (_number(one.min_value), _number(one.max_value)) for one in found}

    def attributes(self) -> frozenset[str]:
        """Names of all it has."""
        try:
            return frozenset(self._connected().get_attribute_list())
        except tango.DevFailed as failed:
            raise error_of(failed, asked="list the attributes", of=self.name, otherwise=self._offline) from None

    def step(self, name: str, argument: Any = None) -> None:
        """Run a command that starts a step, and wait for that step, however long it takes.

        The other side has its own deadlines; whoever cannot wait calls from a thread that nobody waits for.
        """
        number = int(self.command(name, argument))
        pause, look_s = threading.Event(), STEP_FIRST_LOOK_S
        lost_since_s: float | None = None
        while True:
            try:
                records = {record.number: record for record in _RECORDS.decode(self.read("StepResults")[0])}
            except MaxdaqError:
                now_s = time.monotonic()
                lost_since_s = lost_since_s if lost_since_s is not None else now_s
                if now_s - lost_since_s > STEP_LOST_S:
                    raise
                pause.wait(0.5)
                continue
            lost_since_s = None
            record = records.get(number)
            if record is None:
                raise self._offline(name, of=self.name, answer="the device was restarted while it was at it")
            if record.done:
                if record.error is not None:
                    raise unpack(record.error)
                return
            pause.wait(look_s)
            look_s = min(look_s * 1.5, STEP_LOOK_S)

    def property(self, name: str) -> str:
        """The first value of a property in the database, "" when it is not set."""
        try:
            values = self._connected().get_property(name)[name]
        except tango.DevFailed as failed:
            raise error_of(failed, asked=f"read property {name}", of=self.name, otherwise=self._offline) from None
        return str(values[0]) if values else ""

    def _connected(self) -> tango.DeviceProxy:
        with self._lock:
            if self._proxy is None:
                proxy = tango.DeviceProxy(self.name)
                proxy.set_timeout_millis(self._timeout_ms)
                self._proxy = proxy
            return self._proxy


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None  # "Not specified"
