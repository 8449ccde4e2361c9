"""Sardana's trigger of the simulated detectors: edges or gates on their trigger input, over their HTTP port.

    type: TriggerGate
    python_module: maxdaq_triggers.py
    python_class: MaxdaqSimulatedTriggerController
    properties:
      Simulators:
      - http://127.0.0.1:8080

Every simulator gets every trigger; each takes as many as it is armed for. Those of Eiger, Pilatus and Orca space the
triggers by their own clock. Those of Lambda and Jungfrau have to be told of each one (`OneByOne: true`), with the
jitter of a busy computer.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from sardana import State
from sardana.pool.controller import Access, DataAccess, DefaultValue, Description, FGet, TriggerGateController, Type
from sardana.pool.pooldefs import SynchDomain, SynchParam

from maxdaq_tango.errors import ConfigurationError, DetectorOffline, MaxdaqError

CALL_S = 5.0
SIGNALS = ("edge", "gate")


class MaxdaqSimulatedTriggerController(TriggerGateController):  # type: ignore[misc]
    """What a PandABox is to real detectors; axis 1 is the trigger input of all simulators."""

    gender = "Simulation"
    model = "maxdaq-tango"
    organization = "MAX IV"
    MaxDevice = 1

    ctrl_properties = {
        "Simulators": {Type: (str,), Description: "HTTP addresses of the simulators, http://host:port each."},
        "Signal": {Type: str, Description: "edge, or gate for detectors that are gated.", DefaultValue: "edge"},
        "OneByOne": {Type: bool, Description: "True: a request for each trigger.", DefaultValue: False},
    }

    ctrl_attributes = {
        "Trouble": {
            Type: str,
            FGet: "trouble",
            Description: "Why triggers could not be given in the last scan, empty when they could.",
            Access: DataAccess.ReadOnly,
        },
    }

    def __init__(self, inst: str, props: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(inst, props, *args, **kwargs)
        self._groups: list[dict[Any, Any]] = []
        self._trouble = ""
        self._thread: threading.Thread | None = None
        self._aborted = threading.Event()

    def trouble(self) -> str:
        """Of the last scan."""
        return self._trouble

    def PrepareOne(self, axis: int, nb_starts: int) -> None:
        """Check what it is told by its properties."""
        if self.Signal not in SIGNALS:
            raise ConfigurationError(
                f"send the signal '{self.Signal}'", of=self.GetName(), answer="no such signal", accepted="edge, gate"
            )
        for address in self.Simulators:
            if not address.startswith("http://"):
                raise ConfigurationError(
                    f"trigger '{address}'", of=self.GetName(), answer="no address", accepted="http://host:port"
                )

    def SynchOne(self, axis: int, configuration: Any) -> None:
        """Groups of triggers at equal distances, in time."""
        for group in configuration:
            if SynchDomain.Time not in group[SynchParam.Total]:
                raise ConfigurationError("trigger", of=self.GetName(), answer="by position", accepted="by time")
        self._groups = list(configuration)

    def PreStartOne(self, axis: int) -> bool:
        """Always ready."""
        return True

    def StartOne(self, axis: int) -> None:
        """In a thread: it lasts as long as its triggers."""
        self._trouble = ""
        self._aborted = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._aborted,), name=f"{self.GetName()} triggers")
        self._thread.daemon = True
        self._thread.start()

    def StateOne(self, axis: int) -> tuple[Any, str]:
        """Moving until the last trigger is over."""
        if self._thread is not None and self._thread.is_alive():
            return State.Moving, "Triggers are being given"
        return (State.Fault, self._trouble) if self._trouble else (State.On, "No triggers")

    def AbortOne(self, axis: int) -> None:
        """No more; those that a simulator was told of already, it gives to nobody when its series is over."""
        self._aborted.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(CALL_S)

    def SetAxisPar(self, axis: int, parameter: str, value: Any) -> None:
        """There is nothing to set."""

    # ---- inside ----

    def _run(self, aborted: threading.Event) -> None:
        try:
            for group in self._groups:
                delay_s = float(group.get(SynchParam.Delay, {}).get(SynchDomain.Time, 0.0))
                active_s, period_s = (
                    float(group[part][SynchDomain.Time]) for part in (SynchParam.Active, SynchParam.Total)
                )
                repeats = int(group[SynchParam.Repeats])
                if aborted.wait(delay_s):
                    return
                requests, count = (repeats, 1) if self.OneByOne else (1, repeats)
                began = time.monotonic()
                for number in range(1, requests + 1):
                    for address in self.Simulators:
                        self._fire(address, count, period_s, active_s)
                    if aborted.wait(max(0.0, began + number * count * period_s - time.monotonic())):
                        return
        except MaxdaqError as error:
            self._trouble = str(error)
            self._log.error(self._trouble)

    def _fire(self, address: str, count: int, period_s: float, active_s: float) -> None:
        url, body = f"{address.rstrip('/')}/simulator/api/{self.Signal}", b"{}"
        if self.Signal == "edge":
            url += "?" + urllib.parse.urlencode({"count": count, "period_s": f"{period_s:.9f}"})
        else:
            body = json.dumps({"width_s": active_s, "count": count, "period_s": period_s}).encode()
        request = urllib.request.Request(url, data=body, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=CALL_S):
                return
        except urllib.error.HTTPError as error:
            answer = error.read().decode(errors="replace")
            raise DetectorOffline(f"give {count} triggers", of=url, answer=f"{error.code} {answer}") from None
        except OSError as error:
            raise DetectorOffline(f"give {count} triggers", of=url, answer=str(error)) from None
