"""The simulator's own HTTP paths, which no real detector has: signals from outside, faults, and honest counters.

POST /simulator/api/edge?count=N&period_s=T     rising edges on the external trigger input
POST /simulator/api/gate  {"width_s": W, "count": N, "period_s": T}
GET, POST /simulator/api/faults                 see `simulation.faults.Faults`
GET  /simulator/api/status                      what the simulation itself has to say
"""

from __future__ import annotations

import msgspec

from maxdaq_tango.detectors.eiger.simulator import EigerSimulator
from maxdaq_tango.detectors.serving.messages import Answer, Reply, Request, json_reply, refused
from maxdaq_tango.detectors.simulation.faults import Faults
from maxdaq_tango.errors import ConfigurationError

PREFIX = "/simulator/api/"
ACCEPTED = "edge, gate, faults, account, status"
MOST_SIGNALS = 100_000


class Gate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Gates on the external input."""

    width_s: float
    count: int = 1
    period_s: float = 0.0
    """From the beginning of one to that of the next; shorter than the gate itself = 1.1 times the gate."""

    def __post_init__(self) -> None:
        if not 0 < self.width_s <= 3600 or not 1 <= self.count <= MOST_SIGNALS or not 0 <= self.period_s <= 3600:
            raise ConfigurationError(f"fire {self}", accepted=f"0 to 3600 s, 1 to {MOST_SIGNALS} gates")


def handle_control(simulator: EigerSimulator, request: Request, now: float) -> Answer:
    """One request below `/simulator/api/`."""
    try:
        return Answer(_handle(simulator, request, now))
    except (msgspec.MsgspecError, ConfigurationError, ValueError) as error:
        return Answer(refused(400, str(error)))


def _handle(simulator: EigerSimulator, request: Request, now: float) -> Reply:
    acquisition = simulator.acquisition
    match request.method, request.path.removeprefix(PREFIX):
        case "POST", "edge":
            count = int(request.query.get("count", "1"))
            period = request.query.get("period_s")
            spacing = None if period is None else float(period)
            if not 1 <= count <= MOST_SIGNALS or not 0 <= (spacing or 0.0) <= 3600:
                accepted = f"1 to {MOST_SIGNALS} edges, 0 to 3600 s"
                raise ConfigurationError(f"fire {count} edges every {period} s", accepted=accepted)
            return _signals(count, acquisition.edges(now, count, spacing))
        case "POST", "gate":
            gate = msgspec.json.decode(request.body, type=Gate)
            spacing = gate.period_s if gate.period_s >= gate.width_s else 1.1 * gate.width_s
            return _signals(gate.count, acquisition.gates(now, gate.count, gate.width_s, spacing))
        case "POST", "faults":
            simulator.set_faults(msgspec.json.decode(request.body or b"{}", type=Faults))
            return json_reply(acquisition.faults)
        case "GET", "faults":
            return json_reply(acquisition.faults)
        case "GET", "account":
            series = request.query.get("series", "")
            if series and not series.isdigit():
                raise ConfigurationError(f"tell the account of series {series!r}", accepted="a number from 1")
            return json_reply(simulator.accounts.read(int(series) if series else acquisition.series_id))
        case "GET", "status":
            return json_reply(
                {
                    "state": acquisition.state,
                    "series_id": acquisition.series_id,
                    "frames_made": acquisition.frames_made,
                    "frames_late": acquisition.frames_late,
                    "lateness_s": acquisition.lateness_s,
                    "triggers_ignored": acquisition.triggers_ignored,
                    "messages_queued": len(simulator.queues),
                    "bytes_queued": simulator.queues.used_bytes,
                    "images_dropped": simulator.queues.dropped,
                    "images_purged": simulator.queues.purged,
                    "options": simulator.options,
                }
            )
    return refused(404, f"{request.method} {request.path} does not exist. Accepted: {ACCEPTED}")


def _signals(fired: int, taken: int) -> Reply:
    return json_reply({"taken": taken, "ignored": fired - taken})
