"""EigerDectrisFacade: an EigerDetector, as MAX IV's EigerDectris device has it."""

from __future__ import annotations

import logging
import threading
from typing import Any

import msgspec
import tango
from tango.server import Device, command, device_property
from tango.utils import PyTangoThread

from maxdaq_tango.eigerdectris import words
from maxdaq_tango.eigerdectris.attributes import ALSO_LOOKED_AT, PASSED, EigerDectrisAttributes
from maxdaq_tango.eigerdectris.target import DetectorBehind
from maxdaq_tango.errors import ConfigurationError, StateError
from maxdaq_tango.model import BUSY_STATES, TriggerMode, latin_text
from maxdaq_tango.tango_support.event_pump import PUMP
from maxdaq_tango.tango_support.failures import tells_failures
from maxdaq_tango.tango_support.retirement import predecessor, retire
from maxdaq_tango.tango_support.server import run_server
from maxdaq_tango.tango_support.version import VersionAttribute

log = logging.getLogger(__name__)

LIMITED = {
    "CountTime": "ExposureTime",
    "FrameTime": "FrameTime",
    "NbImages": "nFramesPerTrigger",
    "NbTriggers": "nTriggers",
    "PhotonEnergy": "Energy",
    "EnergyThreshold": "Threshold",
}
"""Attribute > attribute of the detector device whose limits it has."""
BAD = (tango.DevState.ALARM, tango.DevState.FAULT)


class EigerDectrisFacade(EigerDectrisAttributes, VersionAttribute, Device):
    """See the package. Everything else that the detector device can do is there, under its own name."""

    Target = device_property(dtype=str, mandatory=True, doc="The EigerDetector device that does the work.")
    Root = device_property(
        dtype=str,
        default_value="",
        doc="Absolute folder that patterns are below of, such as /data. Empty: FilenamePattern is absolute.",
    )

    # ---- life ----

    def init_device(self) -> None:
        """Begin to look at the detector device; it may come later."""
        super().init_device()
        self.file = words.FileSettings(root=self.Root.strip())
        self.count_time_inte = 0.0
        self.collection_uuid = ""
        self._shown_limits: dict[str, tuple[float | None, float | None]] = {}
        self._triggering = threading.Lock()
        self._before = predecessor(self.get_name())
        shown = (*(item.target for item in PASSED), *ALSO_LOOKED_AT)
        self.behind = DetectorBehind(self.Target, shown, PyTangoThread)
        PUMP.watch(self, self._show_limits)
        self.behind.start_looking()

    def delete_device(self) -> None:
        """End the looks; what runs on the detector device goes on."""
        PUMP.forget(self)
        retire(self.get_name(), self.behind.close)

    # ---- plain state ----

    @property
    def state_word(self) -> str:
        """See `words.state_word`."""
        behind = self.behind
        triggerable = behind.value("TriggerMode") != TriggerMode.SOFTWARE or bool(behind.value("ReadyForSwTrigger"))
        vendor = behind.value("SimplonState") or ""
        return words.state_word(behind.state, behind.hardware, vendor, triggerable=triggerable)

    @property
    def trigger_word(self) -> str | None:
        """None when it is not known."""
        mode = self.behind.value("TriggerMode")
        return None if mode is None else words.trigger_word(mode, bool(self.behind.value("ExposurePerTrigger")))

    @property
    def writer_state(self) -> str | None:
        """See `words.writer_state`; None when the detector device cannot be reached."""
        if self.behind.trouble:
            return None
        return words.writer_state(self.behind.state, self.behind.value("Verdict") or "", writes=self.file.writes)

    @property
    def error(self) -> str:
        """One a line."""
        behind = self.behind
        if behind.trouble:
            return behind.trouble
        lines = [behind.value("DetectorErrors"), behind.value("Status") if behind.value("State") in BAD else ""]
        return "\n".join(line for line in lines if line)

    def dev_state(self) -> tango.DevState:
        """Of the detector device; UNKNOWN when that cannot be reached."""
        state = self.behind.value("State")
        return tango.DevState.UNKNOWN if state is None else state

    def dev_status(self) -> str:
        """SIMPLON's word, and what the detector device says."""
        said = self.behind.trouble or self.behind.value("Status")
        return f"{self.state_word}\n{said}"

    def _show_limits(self) -> None:
        # In the pump's thread: changing an attribute's configuration pushes an event as well.
        for name, target in LIMITED.items():
            limits = self.behind.limits.get(target)
            if limits is None or self._shown_limits.get(name) == limits:
                continue
            attribute = self.get_device_attr().get_w_attr_by_name(name)
            kind = int if name.startswith("Nb") else float
            try:
                for put, limit in zip((attribute.set_min_value, attribute.set_max_value), limits, strict=True):
                    if limit is not None:
                        put(kind(limit))
            except tango.DevFailed as failed:
                log.warning("limits of %s: %s", name, failed.args[0].desc)
            self._shown_limits[name] = limits

    # ---- writes that are more than another name ----

    def set_count_time(self, seconds: float) -> None:
        """And FrameTime, where it would be too short."""
        self.behind.write("ExposureTime", seconds)
        frame_s, readout_s = self.behind.value("FrameTime"), self.behind.value("ReadoutTime")
        raised = words.raised_frame_time(seconds, frame_s or 0.0, readout_s or 0.0)
        if raised is not None:
            self.behind.write("FrameTime", raised)

    def set_frame_time(self, seconds: float) -> None:
        """And CountTime, where it would be too long."""
        count_s, readout_s = self.behind.value("ExposureTime"), self.behind.value("ReadoutTime")
        lowered = words.lowered_count_time(count_s or 0.0, seconds, readout_s or 0.0)
        if lowered is not None:
            self.behind.write("ExposureTime", lowered)
        self.behind.write("FrameTime", seconds)

    def set_count_time_inte(self, seconds: float) -> None:
        """For the next Trigger."""
        self.count_time_inte = seconds

    def set_trigger_mode(self, word: str) -> None:
        """In SIMPLON's word."""
        mode, per_trigger = words.trigger_mode(word)
        self.behind.write("TriggerMode", mode.value)
        self.behind.write("ExposurePerTrigger", per_trigger)

    def set_first_number(self, number: int) -> None:
        """Refuse all but 1."""
        if number != 1:
            raise ConfigurationError(
                f"set ImageNbStart to {number}",
                of=self.get_name(),
                answer="data files are counted from 1",
                accepted="1",
            )

    def set_collection_uuid(self, text: str) -> None:
        """For the file of the next Arm."""
        self.collection_uuid = text.strip()

    # ---- commands ----

    @command
    @tells_failures
    def Arm(self) -> None:
        """Arm the detector with its receiver; a file that exists refuses it. Returns when Status says ready, or within
        3 s while it says configure."""
        self._before()
        behind = self.behind
        behind.look()
        if behind.state in BUSY_STATES:
            raise StateError(
                "Arm", of=self.Target, answer=f"its state is {self.state_word}", accepted="idle; Disarm or Abort first"
            )
        metadata: dict[str, Any] = msgspec.json.decode(behind.value("Metadata") or "{}")
        with_ours = msgspec.json.encode(words.with_uuid(metadata, self.collection_uuid)).decode()
        behind.write("Metadata", latin_text(with_ours))  # Tango takes no other letters
        behind.write("DestinationFileOverwritable", False)
        behind.write("DestinationFilename", self.file.path)
        behind.command("Arm")

    @command
    @tells_failures
    def Trigger(self) -> None:
        """A software trigger, in ints and inte. Returns at once; Status says acquire until its images are taken."""
        with self._triggering:
            count_s = self.behind.value("ExposureTime")
            own = self.trigger_word == "inte" and self.count_time_inte > 0
            if own:
                self.behind.write("ExposureTime", self.count_time_inte)
            try:
                self.behind.command("SoftwareTrigger")
            finally:
                if own:
                    self.behind.write("ExposureTime", count_s)

    @command
    @tells_failures
    def Disarm(self) -> None:
        """End the series in order and close the file. Harmless when idle."""
        self.behind.command("Stop")

    @command
    @tells_failures
    def Cancel(self) -> None:
        """End the series after the image that is exposed. Harmless when idle."""
        self.behind.command("Stop")

    @command
    @tells_failures
    def Abort(self) -> None:
        """End the series at once; what was received is in the file. Harmless when idle."""
        self.behind.command("Abort")

    @command
    @tells_failures
    def Live(self) -> None:
        """Free running for the live view: no file, at most one image a second, until Disarm."""
        self.behind.command("Live")

    @command
    @tells_failures
    def EnableStream(self) -> None:
        """Switch the detector's stream on. Arm does that as well."""
        self.behind.write("StreamMode", "enabled")

    @command
    @tells_failures
    def DisableStream(self) -> None:
        """Switch the detector's stream off, until the next Arm: frames go by it."""
        self.behind.write("StreamMode", "disabled")

    @command
    @tells_failures
    def ClearBuffer(self) -> None:
        """Refused: there is nothing in the detector's buffer."""
        self._refuse_buffer("ClearBuffer")

    @command(dtype_in=str, doc_in="Name of a file")
    @tells_failures
    def DeleteFileFromBuffer(self, name: str) -> None:
        """Refused: there is nothing in the detector's buffer."""
        self._refuse_buffer(f"DeleteFileFromBuffer of '{name}'")

    @command(dtype_in=(str,), doc_in="Names of files")
    @tells_failures
    def DownloadFilesFromBuffer(self, names: list[str]) -> None:
        """Refused: files are where the receiver writes them."""
        self._refuse_buffer(f"DownloadFilesFromBuffer of {', '.join(names)}")

    def _refuse_buffer(self, asked: str) -> None:
        raise ConfigurationError(
            asked,
            of=self.get_name(),
            answer="no file is in the detector's buffer: the receiver writes them",
            accepted=f"files in {self.file.root or 'the folder of FilenamePattern'}",
        )


def main() -> None:
    """Entry point of the server."""
    run_server(EigerDectrisFacade)


if __name__ == "__main__":
    main()
