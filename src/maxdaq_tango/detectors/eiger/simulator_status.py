"""Status values of the simulated detector's modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maxdaq_tango.detectors.eiger.protocol import Module, Parameter, State, StreamState

if TYPE_CHECKING:
    from maxdaq_tango.detectors.eiger.simulator import EigerSimulator

Values = dict[str, tuple[str, Any]]


def status_of(simulator: EigerSimulator, module: Module) -> dict[str, Parameter]:
    """All status parameters of a module by key."""
    stamp = simulator.utc_now().isoformat(timespec="microseconds")
    match module:
        case Module.DETECTOR:
            return _detector(simulator, stamp)
        case Module.STREAM:
            dropped = ("uint", simulator.queues.dropped)
            return _plain({"state": ("string", _stream_state(simulator)), "dropped": dropped, "error": _none()}, stamp)
        case Module.MONITOR:
            return _plain(simulator.monitor.status(), stamp)
        case Module.FILEWRITER:
            # KB in 1.6, bytes in 1.8
            free = ("uint", 1 << 20 if simulator.options.api_version == "1.6.0" else 1 << 30)
            values: Values = {"state": ("string", "disabled"), "files": _none(), "buffer_free": free, "error": _none()}
            return _plain(values, stamp)
    return {}


def _detector(simulator: EigerSimulator, stamp: str) -> dict[str, Parameter]:
    state, reason = simulator.acquisition.state, simulator.acquisition.faults.error_state
    values: Values = {
        "time": ("string", stamp),
        "error": ("string[]", [reason] if state is State.ERROR and reason else []),
    }
    if simulator.options.api_version == "1.6.0":
        room = 1 - min(1.0, simulator.queues.used_bytes / max(1, simulator.options.queue_bytes))
        values |= {
            "board_000/th0_temp": ("float", 24.9),
            "board_000/th0_humidity": ("float", 3.5),
            "builder/dcu_buffer_free": ("float", 100.0 * room),
        }
    else:
        values |= {
            "humidity": ("float", 3.5),
            "temperature": ("float", 24.9),
            "link_0": ("string", "up"),
            "link_1": ("string", "up"),
            "high_voltage/state": ("string", "READY"),
            "series_unique_id": ("string", simulator.unique_id),
        }
    parameters = _plain(values, stamp)
    parameters["state"] = Parameter(
        value=state.value,
        value_type="string",
        time=stamp,
        state="critical" if state in (State.NA, State.ERROR) else "normal",
        critical_limits=[None, None],
        critical_values=[State.NA.value, State.ERROR.value],
        allowed_values=[item.value for item in State],
        access_mode="r",
    )
    return parameters


def _plain(values: Values, stamp: str) -> dict[str, Parameter]:
    return {
        key: Parameter(value=value, value_type=kind, time=stamp, state="normal", access_mode="r")
        for key, (kind, value) in values.items()
    }


def _none() -> tuple[str, list[str]]:
    return "string[]", []


def _stream_state(simulator: EigerSimulator) -> str:
    if simulator.acquisition.state is State.ERROR:
        return StreamState.ERROR
    series = simulator.acquisition.series
    if (series is not None and series.stream_format) or len(simulator.queues):
        return StreamState.ACQUIRE
    return StreamState.DISABLED if simulator.stream_settings.values["mode"] == "disabled" else StreamState.READY
