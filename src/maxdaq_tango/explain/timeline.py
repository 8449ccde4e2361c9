"""Records of a black box as lines for people, quiet seconds joined. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from maxdaq_tango.explain.evidence import Record

QUIET = ("frames_received", "queue_full_count", "frames_corrupt")
"""A look of once a second that changes none of these says nothing new."""
SLOW_US = 100_000


def timeline(records: Iterable[Record]) -> Iterator[tuple[float, str]]:
    """(s since the first record, sentence)."""
    origin: float | None = None
    before: Record = {}
    for record in records:
        origin = record["at"] if origin is None else origin
        if record["what"] == "second":
            same = all(record.get(name) == before.get(name) for name in QUIET)
            before = record
            if same and record.get("write_latency_us", 0) < SLOW_US:
                continue
        if text := _sentence(record):
            yield record["at"] - origin, text


def _sentence(record: Record) -> str:
    get = record.get
    match record["what"]:
        case "prepared":
            request = get("request") or {}
            sources, wire = ", ".join(request.get("sources", ())), request.get("stream_format")
            return f"prepared for {sources} ({wire}) into {request.get('destination') or 'no file'}"
        case "state":
            return f"{get('state')}: {get('message')}"
        case "request":
            words = {name: value for name, value in record.items() if name not in ("at", "what", "name") and value}
            said = ", ".join(f"{name} {value}" for name, value in words.items())
            return f"asked to {get('name')}" + (f": {said}" if said else "")
        case "header":
            return f"header of series {get('series') or '(no name)'}, {get('frames')} frames announced"
        case "end":
            return f"end message of series {get('series') or '(no name)'}"
        case "corrupt":
            return f"a message of {sum(get('parts', ()))} bytes could not be used: {get('reason')}"
        case "connected" | "disconnected" as word:
            return f"{word}: {get('endpoint')}"
        case "gap":
            first = f"the first gap is {get('first')}-{get('last')}"
            return f"{get('missing')} frames have not come, {first}; the newest is {get('newest')}"
        case "second":
            return _second(record)
        case "receipt":
            receipt = get("receipt") or {}
            return f"verdict {receipt.get('verdict')}: {'; '.join(receipt.get('reasons', ()))}"
        case other:
            return f"{other} ({get('left_out_bytes', 0)} bytes)"


def _second(record: Record) -> str:
    def number(name: str) -> int:
        return int(record.get(name, 0))

    fill = 100 * number("queue_bytes") / max(1, number("queue_limit_bytes"))
    text = f"{number('frames_received')} frames received, {number('frames_written')} written, memory {fill:.0f} %"
    if number("queue_full_count"):
        text += f", full {number('queue_full_count')} times"
    if number("write_latency_us") >= SLOW_US:
        text += f", a write took {number('write_latency_us') / 1e6:.2f} s"
    if number("stalled_ms"):
        text += f", silent for {number('stalled_ms') / 1000:.1f} s"
    return text
