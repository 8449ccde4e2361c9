"""What DAQController shows beside the set-points of Arm, as one table."""

from __future__ import annotations

from maxdaq_tango.controller.destinations import DEFAULT_PATTERN, MASTER_EXAMPLE
from maxdaq_tango.controller.overrides import EXAMPLE
from maxdaq_tango.tango_support.attributes import told

MOST_DETECTORS = 64


class ControllerAttributes:
    """Attributes of `DAQController`; the functions get the device. Spectra are in the order of EnabledDetectors."""

    AllDetectors = told(
        lambda self: list(self.detectors),
        dtype=(str,),
        label="Detectors",
        max_dim_x=MOST_DETECTORS,
        name="Detectors",
        doc="Detector devices of this controller, from property Detectors.",
    )
    EnabledDetectors = told(
        lambda self: list(self.enabled),
        lambda self, value: self.enable(value),
        dtype=(str,),
        label="Enabled detectors",
        max_dim_x=MOST_DETECTORS,
        doc="Detectors that the next Arm uses; device names, or their last parts.",
    )
    DestinationDirectory = told(
        lambda self: self.destinations.directory,
        lambda self, value: self.destinations.set_directory(value),
        dtype=str,
        label="Destination directory",
        doc="Absolute path of the folder for the next files; empty = live only. Replaces DestinationFilename.",
    )
    FilePattern = told(
        lambda self: self.destinations.pattern,
        lambda self, value: self.destinations.set_pattern(value),
        dtype=str,
        label="File pattern",
        memorized=True,
        doc=f"File names in DestinationDirectory, from scan, detector and device: {DEFAULT_PATTERN}",
    )
    MasterPattern = told(
        lambda self: self.destinations.master_pattern,
        lambda self, value: self.destinations.set_master_pattern(value),
        dtype=str,
        label="Master pattern",
        memorized=True,
        doc=f"Name of a file with links to all others of a run, made after it: {MASTER_EXAMPLE}; empty = none.",
    )
    MasterFilename = told(
        lambda self: self.master_name(),
        dtype=str,
        label="Master file",
        doc="Path of the next scan master; empty = none.",
    )
    ScanNumber = told(
        lambda self: self.destinations.scan_number,
        lambda self, value: setattr(self.destinations, "scan_number", value),
        dtype=int,
        label="Scan number",
        format="%d",
        minimum=0,
        doc="The {scan} of FilePattern and MasterPattern.",
    )
    DestinationFilenames = told(
        lambda self: self.file_names(),
        dtype=(str,),
        label="Destination files",
        max_dim_x=MOST_DETECTORS,
        doc="Path of the next file of each enabled detector; empty = live only.",
    )
    Metadata = told(
        lambda self: self.metadata_text,
        lambda self, value: self.set_metadata(value),
        dtype=str,
        label="Metadata",
        doc="JSON object that is stored in every file of the next acquisition: sample, proposal ...",
    )
    Overrides = told(
        lambda self: self.overrides_text,
        lambda self, value: self.override(value),
        dtype=str,
        label="Overrides",
        doc="JSON object of detectors that do otherwise than set here: ExposureTime, LatencyTime, FrameTime,"
        f" nFramesPerTrigger by detector, such as {EXAMPLE}; {{}} = none.",
    )
    Progress = told(
        lambda self: self.progress,
        dtype=float,
        label="Progress",
        unit="%",
        format="%.1f",
        doc="Frames received of frames asked for, over all detectors of the present or last acquisition.",
    )
    nFramesAcquired = told(
        lambda self: self.frames_acquired,
        dtype=int,
        label="Frames acquired",
        format="%d",
        doc="Since Arm, of the detector that has fewest. Kept until the next Arm.",
    )
    nFramesReceived = told(
        lambda self: min(self.frames_received, default=0),
        dtype=int,
        label="Frames received",
        format="%d",
        doc="Since Arm, of the receiver that has fewest. Kept until the next Arm.",
    )
    ReadyForSwTrigger = told(
        lambda self: self.ready_for_trigger,
        dtype=bool,
        label="Ready for trigger",
        doc="SoftwareTrigger given now would start an exposure on every detector.",
    )
    AcquisitionState = told(
        lambda self: self.acquisition_state.value,
        dtype=str,
        label="Acquisition state",
        doc="IDLE, CONFIGURING, ARMED, ACQUIRING, DRAINING, FINALISING or FAULT, of all detectors together.",
    )
    DetectorStates = told(
        lambda self: [self.detector_state(name) for name in self.enabled],
        dtype=(str,),
        label="Detector states",
        max_dim_x=MOST_DETECTORS,
        doc="Hardware state of each enabled detector; OFFLINE when its device cannot be reached.",
    )
    ReceiverStates = told(
        lambda self: [self.receiver_state(name) for name in self.enabled],
        dtype=(str,),
        label="Receiver states",
        max_dim_x=MOST_DETECTORS,
        doc="State of the receiver of each enabled detector; OFFLINE when it cannot be reached.",
    )
    DetectorFramesReceived = told(
        lambda self: self.frames_received,
        dtype=(int,),
        label="Frames received by detector",
        format="%d",
        max_dim_x=MOST_DETECTORS,
        doc="Since Arm, for each enabled detector.",
    )
    DetectorFramesWritten = told(
        lambda self: [self.counter(name, "frames_written") for name in self.enabled],
        dtype=(int,),
        label="Frames written by detector",
        format="%d",
        max_dim_x=MOST_DETECTORS,
        doc="By the receiver of each enabled detector, in its newest run.",
    )
    DetectorFramesMissing = told(
        lambda self: [self.counter(name, "frames_missing") for name in self.enabled],
        dtype=(int,),
        label="Frames missing by detector",
        format="%d",
        max_dim_x=MOST_DETECTORS,
        doc="Gaps seen by the receiver of each enabled detector, in its newest run.",
    )
    Verdict = told(
        lambda self: self.verdict,
        dtype=str,
        label="Verdict",
        doc="Of the last acquisition, the worst of all detectors: COMPLETE, INCOMPLETE, ABORTED or FAILED.",
    )
    LastReport = told(
        lambda self: self.last_report,
        dtype=str,
        label="Last report",
        doc="JSON {run_id, verdict, armed, reasons, warnings, scan, verdicts, receipts}; the last two by detector.",
    )
    History = told(
        lambda self: self.history,
        dtype=str,
        label="History",
        doc="JSON array of the last 20 acquisitions, the newest last; as LastReport, of receipts the counts.",
    )
