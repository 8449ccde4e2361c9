"""Finds out who receives for each detector, in the background, and makes the executor over these pairs.

A controller may be started before its detectors are in the database: it keeps trying, and says what is missing. What a
controller of this name had begun before its process died is ended first: nobody else would, and no Arm would work.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from maxdaq_tango.errors import ConfigurationError, DetectorOffline, MaxdaqError
from maxdaq_tango.tango_support.device_link import DeviceLink
from maxdaq_tango.transaction.executor import Executor, Pair
from maxdaq_tango.transaction.over_tango import TangoDetector, TangoReceiver

log = logging.getLogger(__name__)

FIND_AGAIN_S = 3.0
ASK_AGAIN, ASK_AGAIN_S = 2, 1.1
CLOSE_S = 5.0


class Pairs:
    """The pairs of one controller from one Init to the next; `before` is waited for before anything is looked at."""

    def __init__(
        self,
        name: str,
        detectors: tuple[str, ...],
        before: Callable[[], None] = lambda: None,
        thread: Callable[..., threading.Thread] = threading.Thread,
    ) -> None:
        self._name, self._detectors = name, detectors
        self._before = before
        self._closing = threading.Event()
        self._new_thread = thread
        self._thread = thread(target=self._find, name="find receivers", daemon=True)
        self.executor: Executor | None = None
        """None until every detector's receiver is known."""
        self.missing = "looking for the receivers of the detectors"
        """Why there is no executor yet; "" when there is one."""
        self.members: dict[str, tuple[TangoDetector, TangoReceiver]] = {}

    def start(self) -> None:
        """Begin to look. Returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Abort what is running and join every thread."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)
        if self.executor is not None:
            self.executor.close()

    def _find(self) -> None:
        self._before()
        while not self._closing.is_set():
            try:
                self.members = {name: self._member(name) for name in self._detectors}
                pairs = {name: Pair(*member) for name, member in self.members.items()}
                for detector, receiver in self.members.values():
                    self._end_what_was_left(detector, receiver)
                if self._closing.is_set():  # `close` may have waited long enough, and would not find it
                    return
                executor = Executor(pairs, thread=self._new_thread)
                executor.start()
                self.executor, self.missing = executor, ""
                return
            except MaxdaqError as error:
                self.missing = str(error)
            except Exception as error:  # the root of a thread: an odd answer must not end the looking
                log.exception("find receivers")
                self.missing = f"{type(error).__name__}: {error}"
            self._closing.wait(FIND_AGAIN_S)

    def _end_what_was_left(self, detector: TangoDetector, receiver: TangoReceiver) -> None:
        reason = f"{self._name} was started again"
        try:
            if not self._is_ours(detector):
                return
            log.warning("%s was left in a run of ours: aborting it", detector.name)
            detector.abort()
            receiver.let_go(reason)
        except MaxdaqError as error:  # it is seen by everybody, and Arm will be refused in words
            log.warning("end what was left of %s: %s", detector.name, error)

    def _is_ours(self, detector: TangoDetector) -> bool:
        """A device that does not answer is asked again: Tango delays connections for a second after one that failed."""
        for _ in range(ASK_AGAIN):
            try:
                return detector.is_used_by_us()
            except MaxdaqError as error:
                log.info("who uses %s: %s", detector.name, error)
            if self._closing.wait(ASK_AGAIN_S):
                return False
        return detector.is_used_by_us()

    def _member(self, detector: str) -> tuple[TangoDetector, TangoReceiver]:
        receiver = DeviceLink(detector, offline=DetectorOffline).property("Receiver").strip()
        if not receiver:
            raise ConfigurationError(
                f"use detector {detector}",
                answer="its property Receiver is empty",
                accepted="the name of a StreamReceiver device",
            )
        return TangoDetector(detector, self._name), TangoReceiver(receiver, turned_by=detector)
