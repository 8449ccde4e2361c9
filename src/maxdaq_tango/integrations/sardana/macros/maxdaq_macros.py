"""Macros for hooks of scans: `defgh maxdaq_scan pre-scan`, `defgh maxdaq_scan_end post-scan`."""

from __future__ import annotations

import tango
from sardana.macroserver.macro import Macro
from sardana.macroserver.msexception import UnknownEnv


class _ScanMacro(Macro):  # type: ignore[misc]
    def tell(self, number: int, directory: str | None) -> list[str]:
        """ScanNumber and ScanDirectory to every controller of ours in the group of the scan; their troubles."""
        troubles = []
        for name in self._controllers():
            device = tango.DeviceProxy(name)
            known = set(device.get_attribute_list())
            if "ScanNumber" in known:
                device.ScanNumber = number
                if directory is not None:
                    device.ScanDirectory = directory
            if "Trouble" in known and device.Trouble:
                troubles.append(device.Trouble)
        return troubles

    def _controllers(self) -> list[str]:
        """Of its channels, and of what triggers them."""
        group = self.getMeasurementGroup(self.getEnv("ActiveMntGrp"))
        names = [channel.name for channel in group.getChannelsEnabledInfo()]
        names += {name for name in group.getSynchronizer().values() if name and name != "software"}
        controllers: dict[str, None] = {}
        for name in names:
            element = self.getObj(name)
            if hasattr(element, "getControllerObj"):  # else an attribute of Tango, and no channel
                controllers[element.getControllerObj().getFullName()] = None
        return list(controllers)


class maxdaq_scan(_ScanMacro):
    """Tell our detectors number and folder of the scan that begins, for the names of their files."""

    def run(self) -> None:
        """Before a scan."""
        number = self.getEnv("ScanID")
        try:
            directory = str(self.getEnv("ScanDir")).format(ScanID=number)
        except UnknownEnv:  # a scan without a file
            directory = ""
        self.tell(number, directory)


class maxdaq_scan_end(_ScanMacro):
    """Tell our detectors that the scan is over: nothing is left armed, and files of a `ct` get scan number 0.

    What went wrong with them is raised: of a step scan Sardana itself says no more than "Fault state", of a continuous
    scan with missing frames nothing at all.
    """

    def run(self) -> None:
        """After a scan that ended by itself or by an error."""
        if troubles := self.tell(0, None):
            raise RuntimeError("; ".join(troubles))

    def on_stop(self) -> None:
        """After one that was stopped: Sardana does not run its hooks."""
        self.tell(0, None)

    def on_abort(self) -> None:
        """The same."""
        self.tell(0, None)
