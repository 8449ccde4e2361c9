"""The one thread of a server process that pushes events.

Pushing takes Tango's monitor of the device: a thread that pushes while a command of that device runs waits for it, and
gives up after 3.2 s; a command that joins such a thread is a dead-lock. So nobody else pushes, and no command or
`delete_device` waits for this thread. It compares plain Python values from round to round and pushes what has changed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tango
from tango.server import Device
from tango.utils import PyTangoThread

from maxdaq_tango.tango_support.attributes import blank_of, told_values

log = logging.getLogger(__name__)

ROUND_S = 0.07
"""About 14 rounds a second: smooth on a screen, nothing for the processor."""


class EventPump:
    """Pushes change events of every watched device. Thread-safe."""

    def __init__(self, round_s: float = ROUND_S) -> None:
        self._round_s = round_s
        self._changed = threading.Condition()  # guards the next two; woken to end
        self._watched: dict[Device, tuple[Callable[[], None], dict[str, Any]]] = {}
        self._closing = False
        self._thread: threading.Thread | None = None

    def watch(self, device: Device, before: Callable[[], None] = lambda: None) -> None:
        """Begin with `device`; `before` runs in the pump's thread before each look (rates, limits)."""
        for name in ("State", "Status"):
            device.set_change_event(name, True, False)
        with self._changed:
            self._watched[device] = (before, {})
            self._closing = False
            if self._thread is None:
                self._thread = PyTangoThread(target=self._run, name="event pump", daemon=True)
                self._thread.start()

    def forget(self, device: Device) -> None:
        """End with `device`. Waits for nothing."""
        with self._changed:
            self._watched.pop(device, None)

    def close(self) -> None:
        """End the thread; only when the server has left its event loop."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(5.0)

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._closing, self._round_s):
                    return
                watched = list(self._watched.items())
            for device, (before, pushed) in watched:
                self._push_changes(device, before, pushed)

    def _push_changes(self, device: Device, before: Callable[[], None], pushed: dict[str, Any]) -> None:
        try:
            before()
            values = told_values(device)
        except Exception:  # the root of a thread: the events of the other devices must go on
            log.exception("look at %s", device)
            return
        for name, value in values.items():
            if name in pushed and _same(pushed[name], value):
                continue
            with self._changed:
                if device not in self._watched:
                    return
            try:
                self._push(device, name, value)
                pushed[name] = value
            except tango.DevFailed as failed:
                # A command holds the device; the next round tries again.
                log.debug("push %s: %s", name, failed.args[0].desc)
                return

    @staticmethod
    def _push(device: Device, name: str, value: Any) -> None:
        if name == "State":
            device.set_state(value)  # what is pushed for State and Status is what the device holds, not the argument
        elif name == "Status":
            device.set_status(value)
        if value is None:
            device.push_change_event(name, blank_of(device, name), time.time(), tango.AttrQuality.ATTR_INVALID)
        else:
            device.push_change_event(name, value)


PUMP = EventPump()
"""Of this process."""


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, np.ndarray) or isinstance(new, np.ndarray):
        return old is new  # an image: whoever tells one makes another array when it has changed
    return bool(old is new or old == new or (old != old and new != new))  # the last: two NaN are no change
