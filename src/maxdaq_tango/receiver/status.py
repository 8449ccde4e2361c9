"""What a StreamReceiver says in Status about the run that is on, and the last one. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from maxdaq_tango.model import AcquisitionState, Counters, Receipt, ranges_text


def running(
    state: AcquisitionState,
    message: str,
    counters: Counters,
    *,
    triggered: bool,
    silent_s: float,
    warnings: Sequence[str],
) -> str:
    """Of a run that is on; `silent_s`: the engine has given no sign of life for so long."""
    expected = f" of {counters.frames_expected}" if counters.frames_expected >= 0 else ""
    lines = [f"{state.value}: {counters.frames_received}{expected} frames received. {message}".strip()]
    lines += told(warnings)
    if counters.frames_missing > 0:
        first = ranges_text(counters.first_gap)
        lines.append(f"{counters.frames_missing} frames have not come, the first of them {first}")
    if counters.stalled_ms > 0:
        silent = f"The stream has been silent for {counters.stalled_ms / 1000:.1f} s"
        rest = ", which it may be between triggers" if triggered else ""
        lines.append(f"{silent}; the newest frame is {counters.newest_frame_number}{rest}")
    if silent_s:
        lines.append(
            f"The receiver engine has given no sign of life for {silent_s:.0f} s: a write to its disk may not "
            "return. Abort gives it a minute more, RestartEngine none"
        )
    return "\n".join(lines)


def last_run(receipt: Receipt | None, warnings: Sequence[str]) -> list[str]:
    """Lines about the last finished run."""
    if receipt is None:
        return ["Ready"]
    frames = f"{receipt.frames_received} frames received, {receipt.frames_written} written"
    return [f"Ready. Last run {receipt.verdict.value}: {frames}", *receipt.reasons, *told(warnings)]


def told(warnings: Sequence[str]) -> list[str]:
    """As lines of Status."""
    return [f"Warning: {warning}" for warning in warnings]


def missing_frames(receipt: Receipt | None, counters: Counters) -> str:
    """Their numbers, all after the run; before, the first gap."""
    if receipt is not None:
        return ranges_text(receipt.frames_missing_ranges)
    first = ranges_text(counters.first_gap)
    return f"{first}, ..." if first and counters.frames_missing > counters.first_gap_frames else first
