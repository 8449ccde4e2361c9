"""The device behind the facade: looked at in the background, armed and triggered for clients of LImA.

No call waits for hardware longer than `ARMED_S`: a start that comes while the detector is not ready for it is kept, and
given by the looking thread as soon as it is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from maxdaq_tango.client.report import Report, report_of
from maxdaq_tango.errors import DetectorOffline, MaxdaqError, StateError
from maxdaq_tango.model import BUSY_STATES, AcquisitionState
from maxdaq_tango.tango_support.device_link import DeviceLink

log = logging.getLogger(__name__)

LOOK_S, IDLE_LOOK_S = 0.05, 0.2
ARMED_S = 2.0
"""prepareAcq waits so long for ARMED; clients of Tango give up after 3 s."""
CLOSE_S = 3.0
LOOKS = ("AcquisitionState", "nFramesAcquired", "nFramesReceived", "ReadyForSwTrigger")


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """One look."""

    state: AcquisitionState = AcquisitionState.IDLE
    acquired: int = 0
    received: int = 0
    written: int = 0
    ready_for_trigger: bool = False
    reachable: bool = False
    message: str = "not looked at yet"


class TargetDevice:
    """See the module. Thread-safe; `start` it, `close` it."""

    def __init__(
        self, name: str, on_end: Callable[[Report], None], thread: Callable[..., threading.Thread] = threading.Thread
    ) -> None:
        """`on_end` hears of the end of each run that `prepare` began, in the looking thread."""
        self.name = name
        self.look = Look()
        self.account: Report | None = None
        """Of the last run, whoever began it; None before any."""
        self.trouble = ""
        """Why a start that was kept could not be given."""
        self.is_ours = False
        """The present or last run was begun by `prepare`."""
        self.starts = 0
        """That were asked for since then."""
        self._on_end = on_end
        self._link, self._looks = DeviceLink(name, offline=DetectorOffline), DeviceLink(name, offline=DetectorOffline)
        self._receiver: DeviceLink | None = None
        self._is_controller: bool | None = None
        self._changed = threading.Condition()
        self._given = 0
        self._earlier = ""
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

    # ---- requests ----

    def prepare(self, attributes: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Write and Arm; returns when armed, or with the work going on after ARMED_S. A refusal is the device's own."""
        if self.look.state in BUSY_STATES:
            raise StateError(
                "prepareAcq", of=self.name, answer=f"it is {self.look.state.value}", accepted="stopAcq first"
            )
        self._link.write("Metadata", msgspec.json.encode(metadata).decode())
        for name, value in attributes.items():
            self._link.write(name, value)
        earlier = self._last_report()
        with self._changed:
            self._earlier = earlier
            self.is_ours, self.starts, self._given, self.trouble, self.account = True, 0, 0, "", None
        try:
            self._link.command("Arm")
        except MaxdaqError:
            self.is_ours = self._last_report() != earlier  # what failed on the way has an account, a refusal has none
            raise
        pause, left_s = threading.Event(), ARMED_S
        while (look := self._look_now()).state in BUSY_STATES:
            self.look = look  # its end is for the looking thread to tell
            if left_s <= 0 or look.state is not AcquisitionState.CONFIGURING:
                break
            pause.wait(LOOK_S)
            left_s -= LOOK_S
        self._wake()

    def begin(self, *, by_trigger: bool, most: int) -> None:
        """startAcq. StateError when nothing is prepared, or all of `most` have been asked for."""
        with self._changed:
            if not self.is_ours or self.look.state not in BUSY_STATES:
                raise StateError(
                    "startAcq", of=self.name, answer="nothing is prepared", accepted="prepareAcq before it"
                )
            if self.starts >= most:
                raise StateError("startAcq", of=self.name, answer=f"all {most} starts have been given")
            self.starts += 1
            if not by_trigger:
                self._given += 1
            self._changed.notify_all()

    def stop(self) -> None:
        """In order; returns at once."""
        self._link.command("Stop")
        self._wake()

    def abort(self) -> None:
        """At once; returns at once."""
        self._link.command("Abort")
        self._wake()

    def reset(self) -> None:
        """Acknowledge what went wrong, here and there."""
        self._link.command("Reset")
        with self._changed:
            self.account, self.trouble = None, ""

    # ---- the looking thread ----

    def _run(self) -> None:
        while True:
            try:
                look = self._look_now()
                self._follow(look)
                self.look = look  # not before: whoever sees that a run is over may prepare the next one at once
            except Exception as error:  # the root of a thread: whatever an answer was, the next look may be better
                if not isinstance(error, MaxdaqError):
                    log.exception("look at %s", self.name)
                look = Look(message=str(error))
                self.look = look
            busy = look.state in BUSY_STATES
            with self._changed:
                if self._changed.wait_for(lambda: self._closing, LOOK_S if busy else IDLE_LOOK_S):
                    return

    def _follow(self, look: Look) -> None:
        with self._changed:
            wanted = self.is_ours and self.starts > self._given and look.ready_for_trigger
        if wanted:
            try:
                self._link.command("SoftwareTrigger")
            except MaxdaqError as error:
                self.trouble = str(error)
            with self._changed:
                self._given += 1
        if look.state not in BUSY_STATES and self.is_ours and self.account is None:
            told = self._last_report()
            if told and told != self._earlier:  # else Arm is still on its way
                self.account = report_of(told, self.name)
                self._on_end(self.account)

    def _last_report(self) -> str:
        return str(self._looks.read("LastReport")[0] or "")

    def _look_now(self) -> Look:
        names = (*LOOKS, "DetectorFramesWritten") if self._controls() else LOOKS
        state, acquired, received, ready, *written = self._looks.read(*names)
        if not written:
            written = [[self._written_by_receiver()]]
        return Look(
            state=AcquisitionState(state),
            acquired=int(acquired or 0),
            received=int(received or 0),
            written=min((int(count) for count in written[0]), default=0) if written[0] is not None else 0,
            ready_for_trigger=bool(ready),
            reachable=True,
            message="",
        )

    def _controls(self) -> bool:
        if self._is_controller is None:
            self._is_controller = "DetectorFramesWritten" in self._looks.attributes()
        return self._is_controller

    def _written_by_receiver(self) -> int:
        if self._receiver is None:
            self._receiver = DeviceLink(str(self._looks.read("ReceiverName")[0]), offline=DetectorOffline)
        return int(self._receiver.read("nFramesWritten")[0] or 0)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
