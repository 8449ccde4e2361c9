"""From a frame of the series to a row of the file: check it, lay out the file for it, write it, time it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from maxdaq_tango.errors import FileError
from maxdaq_tango.files import (
    BlockedSeries,
    BlockLayout,
    FrameTimes,
    SeriesFile,
    resolve_destination,
    write_manifest,
)
from maxdaq_tango.kernels.time_over_threshold import load_table
from maxdaq_tango.model import (
    Fate,
    FileNaming,
    Frame,
    FrameFormat,
    Orientation,
    Receipt,
    RunRequest,
    SeriesStart,
    Verification,
)
from maxdaq_tango.pipeline.conversion import Convert, converter
from maxdaq_tango.pipeline.copies import Copies
from maxdaq_tango.pipeline.dealt_blocks import DealtBlocks
from maxdaq_tango.pipeline.ledger import Account
from maxdaq_tango.pipeline.stitching import steps_for
from maxdaq_tango.pipeline.transforms import Chain, fill_value, verified
from maxdaq_tango.pipeline.verdicts import written_and_lost
from maxdaq_tango.pipeline.writers import Settled, Writer

NAN = float("nan")


class FileSink:
    """The file of one run, or the decision that there is none. Used by one thread."""

    def __init__(
        self,
        request: RunRequest,
        software: str,
        slab_memory_bytes: int,
        writers: Sequence[Writer] = (),
        arena_bytes: int = 0,
    ) -> None:
        """Where there are `writers`, they write, and `arena_bytes` are shared with them."""
        self.frames_written = 0
        self.frames_discarded = 0
        self.write_s = 0.0
        """Spent in `write`, all calls together."""
        self._request = request
        self._software = software
        self._slab_memory_bytes = slab_memory_bytes
        self._writers, self._arena_bytes = writers, arena_bytes
        self._file: SeriesFile | BlockedSeries | None = None
        self._dealt: DealtBlocks | None = None
        self._start: SeriesStart | None = None
        self._format: FrameFormat | None = None
        self.chain: Chain | None = None
        """What frames go through before they can be written; None: nothing, they are written as they come."""
        self._orientation = request.orientation
        self._convert: Convert | None = None
        self._stitching = ""
        self._copies = Copies()
        self._slowest_s = 0.0
        self._slowest_since = 0.0

    @property
    def orientation(self) -> Orientation:
        """How frames are turned before they are stored."""
        return self._orientation

    @property
    def bytes_written(self) -> int:
        """Pixel bytes in the file."""
        return self._file.bytes_written if self._file else 0

    @property
    def frames_safe(self) -> int:
        """Of the written ones, those that a kill would leave readable."""
        return self._file.frames_safe if self._file else 0

    @property
    def checkpointed(self) -> tuple[int, float]:
        """Checkpoints, and the seconds that they took together."""
        return self._file.checkpointed if self._file else (0, 0.0)

    @property
    def bytes_waiting(self) -> int:
        """Taken by `write`, and not yet given to the file system."""
        return self._file.bytes_waiting if self._file else 0

    @property
    def waiting_limit_bytes(self) -> int:
        """Of `bytes_waiting`."""
        return self._file.waiting_limit_bytes if self._file else 0

    @property
    def part_path(self) -> Path | None:
        """The unfinished file, if there is one on disk."""
        part = self._file.destination.part if self._file else None
        return part if part is not None and part.exists() else None

    @property
    def decisions(self) -> dict[str, str]:
        """What the first frame has decided."""
        if self._file is None or not self._file.way:
            return {}
        file, packing = self._file, "as it comes" if self.chain is None else self.chain.stored_as
        decided = {"backend": file.way, "packing": packing}
        if self._stitching:
            decided["stitch"] = self._stitching
        if self._format is not None and self._request.verify is Verification.FULL:
            decided["verify"] = verified(self._format)
        if self._convert is not None:
            decided["conversion"] = self._convert.told
        if isinstance(file, BlockedSeries):
            decided["blocks"] = f"{file.block_rows} frames a file ({file.block_reason})"
        if self._dealt is not None and (spilled := self._dealt.spill_decision):
            decided["spill"] = spilled
        return decided

    @property
    def spilling(self) -> str:
        """Why data files go to the spill directory at present; "" = they do not."""
        return self._dealt.spilling if self._dealt is not None else ""

    def write_latency_us(self) -> int:
        """Longest single write since the last call that was over a second ago."""
        now = time.monotonic()
        if self._dealt is not None:
            self._slowest_s = max(self._slowest_s, self._dealt.slowest_us() / 1e6)
        slowest = int(self._slowest_s * 1e6)
        if now - self._slowest_since > 1.0:
            self._slowest_s, self._slowest_since = 0.0, now
        return slowest

    def reserve(self, path: str) -> None:
        """Check the path and make the `.part` file; FileError says what is in the way."""
        request = self._request
        self._convert = converter(request.conversion)
        if request.pixel_steps.tot_table:
            load_table(request.pixel_steps.tot_table)  # may be gigabytes, and the first frame should not wait for it
        destination = resolve_destination(path, request.roots, overwrite=request.overwrite)
        how: dict[str, Any] = {
            "detector": request.detector,
            "software": self._software,
            "overwrite": request.overwrite,
            "backend": request.backend,
            "slab_memory_bytes": self._slab_memory_bytes,
            "pinned": request.pinned,
        }
        if not request.frames_per_file and not self._writers:
            self._file = SeriesFile(destination, **how)
            return
        how |= {"block_rows": request.frames_per_file, "expected_rows": request.expected_frames}
        if self._writers:
            ahead = self._arena_bytes // len(self._writers)
            how |= {"open_store": self._deal, "writers": len(self._writers), "ahead_nbytes": ahead}
            how["spill_directory"] = request.spill_directory
        self._file = BlockedSeries(destination, **how)

    def on_start(self, start: SeriesStart) -> None:
        """The header. In naming mode `stream` it decides about file and orientation (MAX IV's convention)."""
        self._start = start
        if self._request.naming is not FileNaming.STREAM:
            return
        self.abandon()  # of a header that this one replaces
        self._file = None
        self._orientation = self._request.orientation
        if start.rotate:
            self._orientation = Orientation(
                self._request.orientation.rotation + start.rotate,
                self._request.orientation.fliplr,
                self._request.orientation.flipud,
            )
        if start.filename and start.save_raw:
            self.reserve(start.filename)

    def admit(self, frame: Frame, modulus: int | None) -> tuple[Fate, str] | None:
        """Look at a frame whose blobs fit its own format (decoders see to that, and HDF5 would not notice).

        Returns what becomes of it and why: a frame that does not fit its series is CORRUPT. None: it is to go through
        `chain`, if there is one, and then to `write`. The first frame makes the file: FileError, PipelineError.
        """
        format = frame.format
        if self._format is None:
            self._begin(frame, modulus)
        elif format is not self._format and format != self._format:
            return Fate.CORRUPT, f"frame {frame.frame_number} is {_name(format)}, its series is {_name(self._format)}"
        if frame.discard or self._file is None:
            self.frames_discarded += 1
            return Fate.DISCARDED, ""
        return None

    def note_copy(self, frame: Frame) -> None:
        """Of a frame that is here already: `finish` says whether it is the same."""
        if self._file is not None:
            self._copies.note(frame, self._format, self.chain)

    def wait_room(self, nbytes: int, timeout_s: float = 0.0) -> bool:
        """Whether frames of so many bytes can be written without waiting for the disk, at once or after `timeout_s`."""
        return self._file is None or self._file.wait_room(nbytes, timeout_s)

    def write(self, row: int, frame: Frame, received_at: float) -> Fate | None:
        """Write one frame as `chain` left it; its blobs are free when this returns. FileError, PipelineError.

        WRITTEN, or TAKEN where another process writes it: `hear` tells when it has. None: that process has no room for
        it, and `wait_room` waits until it has.
        """
        file = self._file
        if file is None:
            raise FileError("write a frame", answer="there is no file")
        before = time.perf_counter()
        stored = file.write(row, frame.frame_number, frame.blobs, _times(frame, received_at), frame.extras)
        took = time.perf_counter() - before
        self.write_s += took
        if took > self._slowest_s:
            self._slowest_s = took
        if self._dealt is not None:
            return Fate.TAKEN if stored else None
        self.frames_written += 1
        return Fate.WRITTEN

    @property
    def is_dealt(self) -> bool:
        """Other processes write."""
        return self._dealt is not None

    def hear(self, *, wait: bool = False) -> list[Settled]:
        """What became of frames that `write` has handed on; with `wait`, of all of them."""
        dealt = self._dealt
        if dealt is None:
            return []
        settled = dealt.drain() if wait else dealt.hear()
        self.frames_written += sum(one.fate is Fate.WRITTEN for one in settled)
        return settled

    @property
    def failure(self) -> str:
        """Why the processes that write can take no more; "" when all is well."""
        failure = self._dealt.failure if self._dealt is not None else None
        return str(failure) if failure is not None else ""

    def checkpoint_if_due(self, now: float) -> None:
        """Make what was written readable even when nothing more arrives."""
        if self._file is not None:
            self._file.checkpoint_if_due(now)

    def finish(self, account: Account, receipt: Receipt) -> Receipt:
        """Close and publish the file; the receipt with its place, shape and bytes."""
        file = self._file
        if file is None or self.frames_written == 0:
            return self.leave(account, receipt)
        stored = file.format
        if stored is None:
            raise FileError("close the file", answer="it was never laid out")
        valid = account.fates[: account.row_count] == Fate.WRITTEN
        file.settle(valid, account.first, account.rotation, account.modulus)
        if self._copies and (conflicting := self._copies.conflicting(account, file.checksums())):
            receipt = receipt.with_conflicts(conflicting)
        final = file.planned_path()
        if final != file.destination.final:
            reason = f"{file.destination.final} was taken by somebody else during the run; the file is {final}"
            receipt = msgspec.structs.replace(receipt, reasons=(*receipt.reasons, reason))
        if file.lost_texts:
            reason = f"texts that came with {file.lost_texts} frames are not in the file: there were too many"
            receipt = msgspec.structs.replace(receipt, reasons=(*receipt.reasons, reason))
        receipt = msgspec.structs.replace(
            receipt,
            file=str(final),
            data_files=file.data_files if isinstance(file, BlockedSeries) else (),
            dataset=file.dataset,
            shape=(account.row_count, *stored.shape),
            dtype=stored.dtype,
            encoding=stored.encoding.value,
            bytes_written=file.bytes_written,
        )
        spilled = file.data_files_spilled if isinstance(file, BlockedSeries) else ()
        if spilled:
            receipt = _with_spilled(receipt, spilled, self._dealt.spill_decision if self._dealt else "", file)
        path = file.finish(receipt, account.fates[: account.row_count])
        # Of a series whose data files are on their way home it is written when they have arrived.
        return receipt if spilled else _with_manifest(path, receipt, receipt.data_files)

    def leave(self, account: Account, receipt: Receipt) -> Receipt:
        """Instead of `finish`, or after it has failed: what holds frames is closed and left, the rest is taken back.

        A frame that was handed to the disk, and cannot be read now, is lost, whatever was told of it before. FileError
        when that cannot be done.
        """
        self.abandon()
        file, part = self._file, self.part_path
        if file is None or part is None:
            return receipt
        if account.count(Fate.WRITTEN):
            receipt = self._with_kept(file, account, receipt)
        data_files = file.part_files if isinstance(file, BlockedSeries) else ()
        return _with_manifest(part, self.with_places(receipt), data_files)

    def with_places(self, receipt: Receipt) -> Receipt:
        """The receipt with the paths of what is there, unfinished."""
        file = self._file
        if isinstance(file, BlockedSeries) and (spilled := file.part_files_spilled):
            where = f"{len(spilled)} unfinished data files are in {spilled[0].parent}: maxdaq recover takes them there"
            receipt = msgspec.structs.replace(receipt, data_files_spilled=tuple(map(str, spilled))).with_reason(where)
        return msgspec.structs.replace(receipt, file=str(self.part_path or ""))

    def _with_kept(self, file: SeriesFile | BlockedSeries, account: Account, receipt: Receipt) -> Receipt:
        kept = account.keeping(file.kept_numbers())
        gone = account.count(Fate.WRITTEN) - kept.count(Fate.WRITTEN)
        self.frames_written = kept.count(Fate.WRITTEN)
        if gone:
            receipt = msgspec.structs.replace(receipt, **written_and_lost(kept))
            receipt = receipt.with_reason(f"{gone} frames that the disk was given cannot be read: they are lost")
        return receipt

    def abandon(self) -> None:
        """Take back an empty file; one with frames is closed and stays as it is."""
        if self._file is not None:
            self._file.abandon()

    def _deal(self, layout: BlockLayout) -> DealtBlocks:
        self._dealt = DealtBlocks(self._writers, self._arena_bytes, layout)
        return self._dealt

    def _begin(self, frame: Frame, modulus: int | None) -> None:
        self._format = format = frame.format
        if self._file is None:
            return
        request = self._request
        transforms, self._stitching = steps_for(request, self._start, format, self._orientation, self._convert)
        chain = Chain(format, transforms)
        self.chain = chain if chain else None
        stored = chain.stored
        start = self._start
        metadata: dict[str, Any] = dict(start.metadata) if start else {}
        if start is not None and start.series:
            metadata.setdefault("series", start.series)
        if self._convert is not None:
            metadata["conversion"] = self._convert.told
        if self._request.metadata:
            metadata["request_metadata"] = self._request.metadata
        self._file.begin(
            stored,
            modulus,
            fill_value(stored.dtype),
            metadata,
            start.arrays if start else {},
            stored_nbytes=chain.usual_nbytes(frame),
            extras=frame.extras,
            period_s=self._request.frame_period_s or (start.frame_period_s if start else None),
        )


def _with_spilled(
    receipt: Receipt, spilled: tuple[str, ...], decision: str, file: SeriesFile | BlockedSeries
) -> Receipt:
    """True while they are there, and when they are home: this receipt is in the file."""
    reason = f"{len(spilled)} data files were put into the spill directory ({decision}); no frame is lost by that. "
    reason += f"{receipt.file} appears when they have been moved there, and is {file.destination.part} until then"
    return msgspec.structs.replace(receipt, data_files_spilled=spilled).with_reason(reason)


def _with_manifest(path: Path, receipt: Receipt, data_files: Sequence[str]) -> Receipt:
    """The receipt says so where none could be written: the data are as good without, so the verdict stays."""
    try:
        write_manifest(path, receipt, data_files)
    except FileError as error:
        return receipt.with_reason(str(error))
    except Exception as error:  # a bug in this must not cost a file that has its name already
        bug = f"internal error, please report it: {type(error).__name__}: {error}"
        return receipt.with_reason(f"write the manifest of {path}: {bug}")
    return receipt


def _name(format: FrameFormat) -> str:
    return f"{format.shape} {format.dtype} {format.encoding.value}"


def _times(frame: Frame, received_at: float) -> FrameTimes:
    start, stop = frame.start_time_s, frame.stop_time_s
    real, exposure = frame.real_time_s, frame.exposure_time_s
    return FrameTimes(
        NAN if start is None else start,
        NAN if stop is None else stop,
        NAN if real is None else real,
        NAN if exposure is None else exposure,
        received_at,
    )
