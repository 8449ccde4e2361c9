"""LimaFacade: a DAQController or a detector device, as a LimaCCDs device has it."""

from __future__ import annotations

import logging

import numpy as np
import tango
from tango.server import Device, command, device_property
from tango.utils import PyTangoThread

from maxdaq_tango.client.report import Report
from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.lima.attributes import LimaAttributes
from maxdaq_tango.lima.target import TargetDevice
from maxdaq_tango.lima.words import VALUES, Settings, acq_status
from maxdaq_tango.model import BUSY_STATES, Verdict
from maxdaq_tango.tango_support.attributes import show_set_point, tellable
from maxdaq_tango.tango_support.event_pump import PUMP
from maxdaq_tango.tango_support.failures import tells_failures
from maxdaq_tango.tango_support.retirement import predecessor, retire
from maxdaq_tango.tango_support.server import run_server
from maxdaq_tango.tango_support.version import VersionAttribute

log = logging.getLogger(__name__)

STATES = {"Ready": tango.DevState.ON, "Fault": tango.DevState.FAULT}


class LimaFacade(LimaAttributes, VersionAttribute, Device):
    """See the package. Everything else that the device behind can do is there, under its own name."""

    Target = device_property(dtype=str, mandatory=True, doc="The DAQController or detector device that does the work.")

    # ---- life ----

    def init_device(self) -> None:
        """Begin to look at the device behind; it may come later."""
        super().init_device()
        self.settings = Settings()
        self._before = predecessor(self.get_name())
        self._target = TargetDevice(self.Target, self._ended, PyTangoThread)
        for name in ("acq_trigger_mode", "acq_nb_frames", "acq_expo_time", "saving_mode", "saving_suffix"):
            show_set_point(self, name, getattr(type(self), name).told_read(self))
        PUMP.watch(self)
        self._target.start_looking()

    def delete_device(self) -> None:
        """End the looks; what runs on the device behind goes on."""
        PUMP.forget(self)
        retire(self.get_name(), self._target.close)

    # ---- plain state ----

    @property
    def fault(self) -> str:
        """Of our last run; "" when there is none."""
        account = self._target.account
        if self._target.trouble:
            return self._target.trouble
        if account is None or account.verdict in (Verdict.COMPLETE, Verdict.ABORTED):
            return ""
        return f"{account.verdict.value}: {'; '.join(account.reasons)}"

    @property
    def acq_status_word(self) -> str:
        """See `words.acq_status`."""
        return acq_status(self._target.look.state, started=self._target.starts > 0, fault=self.fault)

    @property
    def is_ready_for_image(self) -> bool:
        """A start would be an exposure at once."""
        look, target = self._target.look, self._target
        return target.is_ours and target.starts < self.settings.starts and (
            look.ready_for_trigger or not self.settings.is_started_here
        )  # fmt: skip

    @property
    def is_ready_for_acquisition(self) -> bool:
        """Nothing runs on the device behind, whoever began it."""
        look = self._target.look
        return look.reachable and look.state not in BUSY_STATES

    def last_image(self, count: str) -> int:
        """-1 before the first one of ours."""
        return int(getattr(self._target.look, count)) - 1 if self._target.is_ours else -1

    @property
    def image(self) -> tuple[str, int, int, int, int] | None:
        """LImA's word, signed, bytes, width, height of the last file."""
        account = self._target.account
        receipt = next((one for one in account.receipts.values() if one.dtype), None) if account is not None else None
        if receipt is None:
            return None
        dtype, (height, width) = np.dtype(receipt.dtype), receipt.shape[-2:]
        signed = dtype.kind == "i"
        word = f"Bpp{8 * dtype.itemsize}{'S' if signed else 'F' if dtype.kind == 'f' else ''}"
        return word, int(signed), dtype.itemsize, width, height

    def dev_state(self) -> tango.DevState:
        """ON, RUNNING, FAULT; UNKNOWN when the device behind cannot be reached."""
        if not self._target.look.reachable:
            return tango.DevState.UNKNOWN
        return STATES.get(self.acq_status_word, tango.DevState.RUNNING)

    @tellable
    def dev_status(self) -> str:
        """The device behind, and what it says."""
        look = self._target.look
        if not look.reachable:
            return f"{self.Target} cannot be reached: {look.message}"
        return f"{self.Target} is {look.state.value}" + (f". {self.fault}" if self.fault else "")

    def _ended(self, account: Report) -> None:
        if any(receipt.file for receipt in account.receipts.values()):
            self.settings.next_number += 1
            show_set_point(self, "saving_next_number", self.settings.next_number)

    # ---- commands ----

    @command
    @tells_failures
    def prepareAcq(self) -> None:
        """Arm the device behind: the file is made, the detector waits. Returns within 3 s."""
        self._before()
        self._target.prepare(self.settings.attributes(), dict(self.settings.header))

    @command
    @tells_failures
    def startAcq(self) -> None:
        """Start all frames, or the next one (INTERNAL_TRIGGER_MULTI), when the detector is ready. Returns at once."""
        self._target.begin(by_trigger=self.settings.is_started_here, most=self.settings.starts)

    @command
    @tells_failures
    def stopAcq(self) -> None:
        """End in order: what was taken is in the file. Returns at once."""
        self._target.stop()

    @command
    @tells_failures
    def abortAcq(self) -> None:
        """End at once: what was taken is in the file. Returns at once."""
        self._target.abort()

    @command
    @tells_failures
    def reset(self) -> None:
        """Acknowledge a fault."""
        self._target.reset()

    @command(dtype_in=str, dtype_out=(str,))
    @tells_failures
    def getAttrStringValueList(self, name: str) -> list[str]:
        """The values that an attribute takes; none for those that take any."""
        if name not in type(self).__dict__ and not hasattr(LimaAttributes, name):
            raise ConfigurationError(f"list the values of '{name}'", of=self.get_name(), answer="no such attribute")
        return list(VALUES.get(name, ()))


def main() -> None:
    """Entry point of the server."""
    run_server(LimaFacade)


if __name__ == "__main__":
    main()
