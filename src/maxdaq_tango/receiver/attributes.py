"""Everything a StreamReceiver shows, as one table."""

from __future__ import annotations

from typing import Any

import msgspec

from maxdaq_tango.model import StreamFormat
from maxdaq_tango.receiver.stage_times import stage_times
from maxdaq_tango.tango_support.attributes import told


def _count(name: str, label: str, doc: str) -> Any:
    return told(lambda self: getattr(self.counters, name), dtype=int, label=label, format="%d", doc=doc)


class ReceiverAttributes:
    """Attributes of `StreamReceiver`; the functions get the device."""

    Source = told(
        lambda self: self._source,
        lambda self, value: self._set("_source", value),
        dtype=str,
        label="Source",
        doc="ZeroMQ endpoints to connect to, separated by commas, such as tcp://10.0.0.1:9999. Used by Prepare('').",
    )
    Format = told(
        lambda self: self._format,
        lambda self, value: self._set_format(value),
        dtype=str,
        label="Stream format",
        doc="Wire format of the stream: " + ", ".join(StreamFormat) + ". Used by Prepare('').",
    )
    DestinationFilename = told(
        lambda self: self._destination,
        lambda self, value: self._set("_destination", value),
        dtype=str,
        label="Destination file",
        doc="Absolute path of the next file; empty = live only. Used by Prepare('').",
    )
    ExpectedFrames = told(
        lambda self: self._expected_frames,
        lambda self, value: self._set("_expected_frames", value),
        dtype=int,
        label="Expected frames",
        format="%d",
        minimum=0,
        doc="Frames of the next series; 0 = believe the stream. Used by Prepare('').",
    )
    nFramesExpected = told(
        lambda self: self.counters.frames_expected if self.counters.frames_expected >= 0 else None,
        dtype=int,
        label="Frames expected",
        format="%d",
        doc="Frames that this run is going to have; invalid when nobody said.",
    )
    nFramesReceived = _count("frames_received", "Frames received", "Distinct frames of this run that arrived intact.")
    nFramesWritten = _count("frames_written", "Frames written", "Frames of this run handed to the disk.")
    nFramesSafe = _count(
        "frames_safe", "Frames safe", "Of the written ones, those that a kill of this receiver would leave readable."
    )
    nFramesQueued = told(
        lambda self: self.counters.messages_queued + self.counters.frames_queued,
        dtype=int,
        label="Frames queued",
        format="%d",
        doc="Between socket and disk: messages received ahead, and frames on their way to the file.",
    )
    nFramesDiscarded = _count("frames_discarded", "Frames discarded", "Not written on request: discard, or live only.")
    nFramesMissing = _count(
        "frames_missing",
        "Frames missing",
        "Gaps below the newest frame number; after the run all that never came.",
    )
    MissingFrames = told(
        lambda self: self._missing_frames(),
        dtype=str,
        label="Missing frames",
        doc="Their numbers, such as 3, 7-9; in a run the first gap. At most 1000 characters, the receipt has all.",
    )
    nFramesLost = _count("frames_lost", "Frames lost", "Arrived intact, lost between socket and disk.")
    nFramesLate = _count("frames_late", "Frames late", "Of this run, came when it was over; not written.")
    nFramesUnexpected = _count("frames_unexpected", "Frames unexpected", "Numbers beyond the expected; not written.")
    nFramesDuplicate = _count("frames_duplicate", "Frames duplicate", "Frame numbers that came more than once.")
    nFramesCorrupt = _count("frames_corrupt", "Frames corrupt", "Messages that could not be decoded.")
    nFramesOutOfSeries = _count(
        "frames_out_of_series", "Frames out of series", "Messages of other series; not written."
    )
    Stalled = told(
        lambda self: self.counters.stalled_ms / 1000,
        dtype=float,
        label="Stalled",
        unit="s",
        format="%.1f",
        doc="How long nothing has come inside a series, once that is over 1 s and 5 frame periods; 0 = it flows.",
    )
    NewestFrame = told(
        lambda self: self.counters.newest_frame_number if self.counters.newest_frame_number >= 0 else None,
        dtype=int,
        label="Newest frame",
        format="%d",
        doc="Highest frame number of this run that arrived, as the sender counts; invalid before the first.",
    )
    FrameRate = told(
        lambda self: self._rates.frames_hz,
        dtype=float,
        label="Frame rate",
        unit="Hz",
        format="%.1f",
        doc="Frames received a second, over the last second.",
    )
    DataRate = told(
        lambda self: self._rates.bytes_hz / 1e6,
        dtype=float,
        label="Data rate",
        unit="MB/s",
        format="%.1f",
        doc="Received over the last second, as it came over the network, in 10^6 bytes a second.",
    )
    BytesReceived = told(
        lambda self: self.counters.bytes_received,
        dtype=int,
        label="Bytes received",
        unit="B",
        format="%d",
        doc="Of this run, as they came over the network.",
    )
    BytesWritten = told(
        lambda self: self.counters.bytes_written,
        dtype=int,
        label="Bytes written",
        unit="B",
        format="%d",
        doc="Of pixels in the file of this run, as they are packed there, blanks included.",
    )
    QueueFill = told(
        lambda self: self.counters.queue_fill_percent,
        dtype=float,
        label="Queue fill",
        unit="%",
        format="%.1f",
        minimum=None,
        doc="How full the memory between socket and disk is. At 100 % the sender has to wait.",
    )
    QueueFullCount = told(
        lambda self: self.counters.queue_full_count,
        dtype=int,
        label="Queue full count",
        format="%d",
        expert=True,
        doc="How often the socket was left unread in this run because the memory budget was full.",
    )
    MemoryUsed = told(
        lambda self: self.counters.queue_bytes,
        dtype=int,
        label="Memory used",
        unit="B",
        format="%d",
        doc="Bytes of frames between socket and disk.",
    )
    WriteLatency = told(
        lambda self: self.counters.write_latency_us / 1000,
        dtype=float,
        label="Write latency",
        unit="ms",
        format="%.2f",
        doc="Longest single write of the last second.",
    )
    StageTimes = told(
        lambda self: stage_times(self.counters),
        dtype=str,
        label="Stage times",
        doc="Where the time of this run goes, JSON {stage: {count, seconds}}: idle, queue, take, room, pool, write, "
        "checkpoint.",
    )
    Health = told(
        lambda self: self._health(),
        dtype=str,
        label="Health",
        doc="JSON {ready, why_not, concerns, state, engine, roots, version}: would Prepare be taken now?",
    )
    Verdict = told(
        lambda self: self._receipt.verdict.value if self._receipt else "",
        dtype=str,
        label="Verdict",
        doc="Of the last finished run: COMPLETE, INCOMPLETE, ABORTED or FAILED.",
    )
    LastReceipt = told(
        lambda self: msgspec.json.encode(self._receipt).decode() if self._receipt else "",
        dtype=str,
        label="Last receipt",
        doc="Account of the last finished run, JSON; the same is in its file.",
    )
    Decisions = told(
        lambda self: msgspec.json.encode(self._engine.decisions).decode(),
        dtype=str,
        label="Decisions",
        doc="What the receiver decided by itself for this run, and why, JSON: way to disk, packing, limits, workers.",
    )
    Recovery = told(
        lambda self: self._recovery(),
        dtype=str,
        label="Recovery",
        doc="What was found at start-up of receivers that were killed: files made readable, left alone, or in trouble.",
    )
    Spilled = told(
        lambda self: self._homecomer.text,
        dtype=str,
        label="Spilled",
        doc="What is in the spill directory, and what becomes of it; empty where there is none.",
    )
    SpilledBytes = told(
        lambda self: self._homecomer.left_nbytes,
        dtype=int,
        label="Spilled bytes",
        unit="B",
        format="%d",
        doc="Bytes of data files that are still to be moved from the spill directory to their destination.",
    )
    AcquisitionState = told(
        lambda self: self.acquisition_state.value,
        dtype=str,
        label="Acquisition state",
        doc="IDLE, CONFIGURING, ARMED, ACQUIRING, DRAINING, FINALISING or FAULT.",
    )
    RunId = told(lambda self: self._run_id, dtype=str, label="Run", expert=True, doc="Id of the run prepared last.")
    EnginePid = told(
        lambda self: self._engine.pid or 0,
        dtype=int,
        label="Engine process",
        format="%d",
        expert=True,
        doc="Process id of the receiver engine; 0 when none runs.",
    )
    View = told(
        lambda self: self._view(),
        dtype=str,
        label="View",
        expert=True,
        doc="State, run and counters at one moment, JSON; what DAQController and detector devices look at.",
    )
    StepResults = told(
        lambda self: msgspec.json.encode(self._steps.records()).decode(),
        dtype=str,
        label="Step results",
        expert=True,
        doc="JSON list of {number, step, done, error} of the last 32 steps; Prepare returns such a number.",
    )
