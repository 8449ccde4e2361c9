"""Keeps one detector within reach: connects in the background, looks at it regularly, serves it to a transaction.

Attribute reads and commands of a device see what the last look saw; only this thread and the steps of a transaction
touch the driver. A detector that is switched off is no reason for a server to stop: it is OFFLINE with a reason, and
connected as soon as it answers. Nothing is reconnected while a series is under way, as that may initialise hardware.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import msgspec

from maxdaq_tango.detectors.contract import DetectorDriver
from maxdaq_tango.errors import DetectorOffline, DetectorRefused, MaxdaqError
from maxdaq_tango.model import AcquisitionSettings, StreamDescription
from maxdaq_tango.model.hardware import ArmedSeries, DetectorIdentity, DetectorReport, HardwareState, Range

log = logging.getLogger(__name__)

BUSY_LOOK_S = 0.05
IDLE_LOOK_S = 0.2
RECONNECT_S = 2.0
OFFLINE_LOOKS = 3
"""A single look may fail for a moment; after this many in a row, and idle, the connection is made anew."""
LOOK_WAIT_S = 8.0
CLOSE_S = 5.0


class Hardware:
    """A driver with a thread that looks after it. Fulfils `transaction.ports.DetectorPort`."""

    def __init__(
        self,
        name: str,
        driver: DetectorDriver,
        *,
        is_busy: Callable[[], bool] = lambda: False,
        extra_look: Callable[[bool], None] = lambda busy: None,
        before: Callable[[], None] = lambda: None,
        thread: Callable[..., threading.Thread] = threading.Thread,
        reconnect_s: float = RECONNECT_S,
    ) -> None:
        """`is_busy()` tells whether a series is under way: looks are closer together, and nothing is reconnected.

        `extra_look(busy)` runs in the looking thread after a look at a detector that answers, unless a transaction
        waits for the next look. `before()` may take its time and runs before the first attempt to connect.
        """
        self._name = name
        self.driver = driver
        self._is_busy = is_busy
        self._extra_look = extra_look
        self._before = before
        self._reconnect_s = reconnect_s
        self._changed = threading.Condition()  # guards everything below
        self._connected = False
        self._looks = 0
        self._report = DetectorReport(state=HardwareState.OFFLINE, message="connecting for the first time")
        self._failed_looks = 0
        self.tried = False
        """The first attempt to connect is over, well or not; it may take minutes when the detector initialises."""
        self._looking = False
        self._wanted = 0
        self._closing = False
        self._counting = True
        self.identity: DetectorIdentity | None = None
        self.limits: dict[str, Range] = {}
        self.readout_time_s: float | None = None
        self._thread = thread(target=self._run, name=f"hardware of {name}", daemon=True)

    @property
    def name(self) -> str:
        """Of the device."""
        return self._name

    def start(self) -> None:
        """Begin to connect. Returns at once."""
        self._thread.start()

    def close(self) -> None:
        """Let go. Joins the thread, which may be in the middle of a look."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self.driver.close()  # a call under way ends with an error
        if self._thread.is_alive():
            self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            log.error("%s hangs and is left behind", self._thread.name)

    @property
    def last_report(self) -> DetectorReport:
        """What the last look saw."""
        return self._report

    @property
    def reachable(self) -> bool:
        """The detector answers."""
        return self._connected and self._report.state is not HardwareState.OFFLINE

    def forget_count(self) -> None:
        """Frames that the detector has counted so far are of an earlier series: none are told until it is armed."""
        with self._changed:
            self._counting = False
            self._report = _without_count(self._report)

    # ---- DetectorPort ----

    def configure(self, settings: AcquisitionSettings) -> StreamDescription:
        """Apply, read back, check."""
        self._must_be_connected("configure")
        if settings.exposure_per_trigger and not getattr(self.driver, "takes_exposures", False):
            raise DetectorRefused(
                "change the exposure from trigger to trigger",
                of=self._name,
                answer="the driver of this detector sets one exposure for a series",
                accepted="ExposurePerTrigger false, and one Arm for each exposure",
            )
        description = self.driver.configure(settings)
        self.refresh()
        return description

    def arm(self) -> ArmedSeries:
        """Make ready."""
        self._must_be_connected("arm")
        series = self.driver.arm()
        self._counting = True
        return series

    def trigger(self, exposure_time_s: float | None = None) -> None:
        """One burst."""
        self._must_be_connected("trigger")
        if exposure_time_s is None:
            self.driver.trigger()
        else:
            self.driver.trigger(exposure_time_s)  # type: ignore[call-arg] # configured by a driver that takes it

    def stop(self) -> None:
        """End in order."""
        self._must_be_connected("stop")
        self.driver.stop()

    def abort(self) -> None:
        """End at once; nothing to do for a detector that was tried and cannot be reached.

        One that was not tried yet may have been armed by our own device before its restart: DetectorOffline.
        """
        if not self.tried:
            self._must_be_connected("abort")
        if self._connected:
            self.driver.abort()

    def report(self) -> DetectorReport:
        """A look that began after this call."""
        with self._changed:
            if not self._connected:
                return self._report
            wanted = self._looks + (2 if self._looking else 1)  # the look under way began before
            self._wanted = max(self._wanted, wanted)
            self._changed.notify_all()
            seen = self._changed.wait_for(lambda: self._looks >= wanted or self._closing, LOOK_WAIT_S)
            if not seen:
                return DetectorReport(
                    state=HardwareState.OFFLINE, message=f"no look came back within {LOOK_WAIT_S:g} s"
                )
            return self._report

    # ---- inside ----

    def refresh(self) -> None:
        """Read limits and dead time again: they depend on other settings."""
        self.limits = self.driver.limits()
        self.readout_time_s = self.driver.readout_time_s()

    def _must_be_connected(self, asked: str) -> None:
        if not self._connected:
            raise DetectorOffline(
                asked, of=self._name, answer=self._report.message, accepted="a detector that answers; it is being tried"
            )

    def _run(self) -> None:
        self._before()
        while True:
            with self._changed:
                self._looking = True
            pause_s = self._look() if self._connected or self._connect() else self._reconnect_s
            with self._changed:
                self._looking, self.tried = False, True
                self._looks += 1
                self._changed.notify_all()
                somebody_waits = self._looks < self._wanted
            if self.reachable and not somebody_waits:
                self._look_further()
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closing or (self._connected and self._looks < self._wanted), pause_s
                )
                if self._closing:
                    return

    def _look(self) -> float:
        counting = self._counting  # before the look: one that began before the detector was armed tells old counts
        report = self.driver.report()
        busy = self._is_busy()
        lost = report.state in (HardwareState.OFFLINE, HardwareState.NOT_INITIALISED)
        with self._changed:
            self._report = report if counting and self._counting else _without_count(report)
            self._failed_looks = self._failed_looks + 1 if lost else 0
            if self._failed_looks >= OFFLINE_LOOKS and not busy:
                self._connected = False
        return BUSY_LOOK_S if busy else IDLE_LOOK_S

    def _look_further(self) -> None:
        try:
            self._extra_look(self._is_busy())
        except MaxdaqError as error:
            log.warning("look at the settings of %s: %s", self._name, error)

    def _connect(self) -> bool:
        try:
            self.identity = self.driver.connect()
            self.refresh()
        except MaxdaqError as error:
            with self._changed:
                self._report = DetectorReport(state=HardwareState.OFFLINE, message=str(error))
            return False
        except Exception as error:  # the root of a thread: an odd answer must not end the trying
            log.exception("connect to %s", self._name)
            with self._changed:
                self._report = DetectorReport(state=HardwareState.OFFLINE, message=f"{type(error).__name__}: {error}")
            return False
        with self._changed:
            self._connected, self._failed_looks = True, 0
        log.info("%s: %s", self._name, self.identity)
        return True


def _without_count(report: DetectorReport) -> DetectorReport:
    return msgspec.structs.replace(report, frames_acquired=None)
