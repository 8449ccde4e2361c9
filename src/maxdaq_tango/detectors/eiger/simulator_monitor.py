"""The monitor module of the simulated detector: a small buffer of pictures that HTTP clients may look at.

SIMPLON 1.8, chapter on the monitor: pictures come at most ten a second; a request waits up to `timeout` for one and is
then answered 408; with several thresholds a place in the buffer becomes free when all of them have been fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from maxdaq_tango.detectors.eiger.parameters import monitor_config
from maxdaq_tango.detectors.eiger.protocol import TIFF_TYPE, MonitorState
from maxdaq_tango.detectors.eiger.simulator_settings import Refusal, Settings
from maxdaq_tango.detectors.eiger.tiff import encode_tiff
from maxdaq_tango.detectors.serving.messages import Answer, Reply, json_reply, refused

Array = npt.NDArray[Any]
PERIOD_S = 0.1
DEFAULT_TIMEOUT_MS = 500


class Monitor:
    """Not thread-safe: the simulator's owner holds the lock."""

    def __init__(self) -> None:
        self.settings = Settings(monitor_config())
        self.dropped = 0
        self._pictures: dict[tuple[int, int], dict[str, Array]] = {}
        self._fetched: dict[tuple[int, int], set[str]] = {}
        self._last_s = float("-inf")
        self._waiting: list[tuple[str, float, Answer]] = []

    def initialize(self) -> None:
        """Settings and buffer as after start."""
        self.settings.reset()
        self.clear()
        self.dropped = 0

    def clear(self) -> None:
        """Empty the buffer."""
        self._pictures.clear()
        self._fetched.clear()

    def wants(self, now: float) -> bool:
        """True when the next image would be taken."""
        return self.settings.values["mode"] == "enabled" and now - self._last_s >= PERIOD_S

    def offer(self, series_id: int, number: int, frames: Mapping[str, Array], now: float) -> None:
        """An image has been made; `frames` holds its pixels by channel."""
        if not frames or not self.wants(now):
            return
        if len(self._pictures) >= self.settings.values["buffer_size"]:
            self.dropped += 1
            if self.settings.values["discard_new"]:
                return
            oldest = next(iter(self._pictures))
            del self._pictures[oldest], self._fetched[oldest]
        self._last_s = now
        self._pictures[series_id, number] = dict(frames)
        self._fetched[series_id, number] = set()
        waiting, self._waiting = self._waiting, []
        for which, deadline, answer in waiting:
            if self._pictures:
                answer.resolve(self._picture(which))
            else:
                self._waiting.append((which, deadline, answer))

    @property
    def state(self) -> MonitorState:
        """overflow while the buffer is full."""
        full = len(self._pictures) >= self.settings.values["buffer_size"]
        return MonitorState.OVERFLOW if full else MonitorState.NORMAL

    def status(self) -> dict[str, tuple[str, Any]]:
        """Status values by key: (type, value)."""
        size = self.settings.values["buffer_size"]
        return {
            "state": ("string", self.state.value),
            "dropped": ("uint", self.dropped),
            "buffer_free": ("uint", size - len(self._pictures)),
            "buffer_fill_level": ("int", [len(self._pictures), size]),
            "error": ("string[]", []),
        }

    def images(self, key: str, query: Mapping[str, str], now: float) -> Answer:
        """GET below `monitor/api/<version>/images`."""
        if key == "":
            series: dict[int, list[int]] = {}
            for series_id, number in self._pictures:
                series.setdefault(series_id, []).append(number)
            return Answer(json_reply([[series_id, numbers] for series_id, numbers in series.items()]))
        if key in ("monitor", "next"):
            timeout_s = _timeout_ms(query) / 1000
            if self._pictures:
                return Answer(self._picture(key))
            answer = Answer()
            self._waiting.append((key, now + timeout_s, answer))
            return answer
        return Answer(self._named(key))

    def step(self, now: float) -> None:
        """Tell those who have waited long enough."""
        for entry in [entry for entry in self._waiting if now >= entry[1]]:
            self._waiting.remove(entry)
            entry[2].resolve(refused(408, "No image within the time-out"))

    def next_due(self) -> float | None:
        """When `step` should be called at the latest."""
        return min((deadline for _, deadline, _ in self._waiting), default=None)

    def _picture(self, which: str) -> Reply:
        place = next(iter(self._pictures)) if which == "next" else next(reversed(self._pictures))
        frames = self._pictures[place]
        if which == "monitor":
            return _tiff(next(iter(frames.values())))
        channel = next(name for name in frames if name not in self._fetched[place])
        reply = _tiff(frames[channel])
        self._take(place, channel)
        return reply

    def _named(self, key: str) -> Reply:
        parts = key.split("/")
        if not 2 <= len(parts) <= 3 or not all(part.isdigit() for part in parts[:2]):
            raise Refusal(404, f"monitor images/{key} does not exist", "images/<series>/<image>[/<threshold>]")
        place = (int(parts[0]), int(parts[1]))
        frames = self._pictures.get(place)
        channel = f"threshold_{parts[2]}" if len(parts) == 3 and parts[2].isdigit() else "".join(parts[2:])
        if frames is None or (channel and channel not in frames):
            raise Refusal(404, f"monitor images/{key} does not exist", "one that images lists")
        channel = channel or next(iter(frames))
        return _tiff(frames[channel])

    def _take(self, place: tuple[int, int], channel: str) -> None:
        """`next` has fetched a picture; its place becomes free with the last channel."""
        self._fetched[place].add(channel)
        if self._fetched[place] >= self._pictures[place].keys():
            del self._pictures[place], self._fetched[place]


def _tiff(frame: Array) -> Reply:
    return Reply(body=encode_tiff(frame), content_type=TIFF_TYPE)


def _timeout_ms(query: Mapping[str, str]) -> int:
    text = query.get("timeout", str(DEFAULT_TIMEOUT_MS))
    if not text.isdigit() or int(text) > 3_600_000:
        raise Refusal(400, f"timeout={text} is not understood", "milliseconds, 0 to 3600000")
    return int(text)
