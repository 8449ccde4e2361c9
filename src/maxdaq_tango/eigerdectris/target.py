"""The detector device behind the facade: what it shows, looked at in the background, and a look after each write."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from maxdaq_tango.errors import ConfigurationError, DetectorOffline, MaxdaqError
from maxdaq_tango.model import BUSY_STATES, AcquisitionState
from maxdaq_tango.model.hardware import HardwareState
from maxdaq_tango.tango_support.device_link import DeviceLink

log = logging.getLogger(__name__)

LOOK_S, IDLE_LOOK_S = 0.05, 0.2
LIMITS_S = 2.0
CLOSE_S = 3.0
STATES = ("AcquisitionState", "HardwareState", "SimplonState", "State", "Status", "Verdict", "ReadyForSwTrigger")
LIMITED = ("ExposureTime", "FrameTime", "nTriggers", "nFramesPerTrigger", "Energy", "Threshold")

Limits = dict[str, tuple[float | None, float | None]]


class DetectorBehind:
    """See the module. Thread-safe; `start_looking` it, `close` it."""

    def __init__(
        self, name: str, shown: tuple[str, ...], thread: Callable[..., threading.Thread] = threading.Thread
    ) -> None:
        """`shown` are its attributes that are looked at, beside its states."""
        self.name = name
        self.trouble = "not looked at yet"
        """Why nothing is known of it; "" when it is."""
        self.values: dict[str, Any] = {}
        """Of the newest look; None where the device does not know."""
        self.limits: Limits = {}
        self._shown = (*STATES, *dict.fromkeys(shown))
        self._link, self._looks = DeviceLink(name, offline=DetectorOffline), DeviceLink(name, offline=DetectorOffline)
        self._is_checked = False
        self._changed = threading.Condition()
        self._closing = False
        self._thread = thread(target=self._run, name=f"look at {name}", daemon=True)

    def start_looking(self) -> None:
        """Returns at once."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; what runs on the device goes on."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S)

    @property
    def state(self) -> AcquisitionState:
        """Of the device; FAULT when it cannot be reached."""
        return AcquisitionState.FAULT if self.trouble else AcquisitionState(self.values["AcquisitionState"])

    @property
    def hardware(self) -> HardwareState:
        """What the detector says; OFFLINE when its device cannot be reached."""
        return HardwareState.OFFLINE if self.trouble else HardwareState(self.values["HardwareState"])

    def value(self, name: str) -> Any:
        """Of the newest look; None when it is not known."""
        return None if self.trouble else self.values.get(name)

    def write(self, name: str, value: Any) -> None:
        """Write an attribute and look what came of it. A refusal is the device's own."""
        self._must_be_a_detector()
        self._link.write(name, value)
        self.look()

    def command(self, name: str) -> None:
        """Give a command and look what came of it."""
        self._must_be_a_detector()
        try:
            self._link.command(name)
        finally:
            self._look_again()

    def _must_be_a_detector(self) -> None:
        if not self._is_checked:
            self._check()

    def _run(self) -> None:
        rounds_until_limits = 0
        while True:
            pause_s = self._look_again()
            rounds_until_limits -= 1
            if not self.trouble and rounds_until_limits <= 0:
                rounds_until_limits = round(LIMITS_S / pause_s)
                self._look_at_limits()
            with self._changed:
                if self._changed.wait_for(lambda: self._closing, pause_s):
                    return

    def _look_again(self) -> float:
        try:
            self.look()
        except Exception as error:  # the root of a thread: whatever an answer was, the next look may be better
            if not isinstance(error, MaxdaqError):
                log.exception("look at %s", self.name)
            self.trouble = str(error)
        return LOOK_S if self.state in BUSY_STATES else IDLE_LOOK_S

    def look(self) -> None:
        """Now; raises why nothing can be known."""
        self._must_be_a_detector()
        self.values = dict(zip(self._shown, self._looks.read(*self._shown), strict=True))
        self.trouble = ""

    def _look_at_limits(self) -> None:
        try:
            self.limits = self._looks.limits(*LIMITED)
        except MaxdaqError as error:
            log.warning("%s", error)

    def _check(self) -> None:
        lacking = sorted(set(self._shown) - self._looks.attributes())
        if lacking:
            raise ConfigurationError(
                "speak for a detector device",
                of=self.name,
                answer=f"it has no {', '.join(lacking[:3])}",
                accepted="property Target with the name of an EigerDetector",
            )
        self._is_checked = True
