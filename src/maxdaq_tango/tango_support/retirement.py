"""Init answers at once: what a device was before ends in the background, and what it becomes waits for that.

Ending an acquisition takes seconds, while Tango calls `delete_device` within the command Init, whose client gives up
after 3 s. Only when the server itself ends is the end waited for: no Tango would be left to end anything with.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import tango
from tango.utils import PyTangoThread

log = logging.getLogger(__name__)

LONGEST_S = 30.0
"""For the engine's file on a slow disk; after that the successor tries its luck."""

_lock = threading.Lock()
_ending: dict[str, threading.Thread] = {}  # by device name: after RestartServer the device is another object


def retire(name: str, end: Callable[[], None]) -> None:
    """For `delete_device`, when the device has let go of the event pump: run `end`, which may take its time."""
    before = predecessor(name)

    def work() -> None:
        before()
        try:
            end()
        except Exception:  # the root of a thread: the successor must not wait for ever
            log.exception("end %s", name)

    thread = PyTangoThread(target=work, name=f"end of {name}", daemon=True)
    with _lock:
        _ending[name] = thread
    thread.start()
    if tango.Util.instance().is_svr_shutting_down():
        thread.join(LONGEST_S)


def predecessor(name: str) -> Callable[[], None]:
    """For `init_device`: call the result, in a thread that nobody waits for, before anything is opened."""
    with _lock:
        thread = _ending.get(name)

    def wait() -> None:
        if thread is not None:
            thread.join(LONGEST_S)

    return wait
