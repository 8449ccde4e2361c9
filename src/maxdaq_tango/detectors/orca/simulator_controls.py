"""What no real camera has: faults, signals on the trigger input, the account, over HTTP. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from maxdaq_tango.detectors.orca.simulator import OrcaSimulator
from maxdaq_tango.detectors.serving.messages import Reply, Request, json_reply, refused
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.errors import ConfigurationError

PREFIX = "/simulator/api/"
ACCEPTED = "POST edge, gate, faults; GET faults, account, status"
MOST_SIGNALS = 100_000


class Gate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `gate`."""

    width_s: float
    count: int = 1
    period_s: float = 0.0


def handle_control(simulator: OrcaSimulator, request: Request, now: float) -> Reply:
    """One request; 400 with the reason for what is not understood."""
    try:
        return _handle(simulator, request, now)
    except (msgspec.MsgspecError, ConfigurationError, ValueError) as error:
        return refused(400, str(error))


def _handle(simulator: OrcaSimulator, request: Request, now: float) -> Reply:
    match request.method, request.path.removeprefix(PREFIX):
        case "POST", "edge":
            count, period_s = _whole(request.query, "count", 1), float(request.query.get("period_s", 0))
            simulator.signal(now, count=_bounded(count), period_s=period_s)
            return json_reply({"edges": count})
        case "POST", "gate":
            gate = msgspec.json.decode(request.body, type=Gate)
            if not 0 < gate.width_s < 3600:
                raise ConfigurationError(f"a gate of {gate.width_s} s", accepted="above 0, below 3600 s")
            simulator.signal(now, count=_bounded(gate.count), period_s=gate.period_s, width_s=gate.width_s)
            return json_reply({"gates": gate.count})
        case "POST", "faults":
            simulator.set_faults(msgspec.json.decode(request.body or b"{}", type=Faults))
            return json_reply(simulator.faults)
        case "GET", "faults":
            return json_reply(simulator.faults)
        case "GET", "account":
            return json_reply(simulator.accounts.read(_whole(request.query, "series", simulator.series)))
        case "GET", "status":
            return json_reply(
                {
                    "status": simulator.status.name,
                    "series": simulator.series,
                    "ignored_triggers": simulator.ignored_triggers,
                    "options": simulator.options,
                }
            )
    return refused(404, f"{request.method} {request.path} does not exist. Accepted: {ACCEPTED}")


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdigit():
        raise ConfigurationError(f"{name}={text}", accepted="a whole number")
    return int(text)


def _bounded(count: int) -> int:
    if not 1 <= count <= MOST_SIGNALS:
        raise ConfigurationError(f"{count} signals", accepted=f"1 to {MOST_SIGNALS}")
    return count
