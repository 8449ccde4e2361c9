"""Sardana's NXscan recorder, with one link for each of our detectors: `senv ScanRecorder MaxdaqNXscanRecorder`.

Whatever cannot be written is told by a warning of the macro and counted in the file, and nothing is raised while
points come in: an exception of a recorder in a continuous scan blocks Sardana's Door until its server starts again.
But `InterruptException` passes: Sardana puts it into the thread of a macro that is aborted, wherever that thread is,
and who keeps it lets the macro go on.
"""

from __future__ import annotations

import posixpath
from typing import Any

import numpy as np
import tango
from sardana.macroserver.msexception import InterruptException
from sardana.macroserver.recorders.h5storage import NXscanH5_FileRecorder

from maxdaq_tango.integrations.sardana.naming import frame_of
from maxdaq_tango.integrations.sardana.scan_file import blank, link_stack

MOST_WARNINGS = 3
MOST_LISTED = 20


class MaxdaqNXscanRecorder(NXscanH5_FileRecorder):  # type: ignore[misc]
    """As the recorder of Sardana, but stacks of value references become links, and a point that fails is no crash."""

    formats = {"h5": ".h5"}

    def _startRecordList(self, recordlist: Any) -> None:
        self._failures: dict[str, int] = {}
        self._with_images: set[str] = set()
        super()._startRecordList(recordlist)

    def _writeRecord(self, record: Any) -> None:
        if self.filename is None or self.currentlist is None:
            return
        for column in self.datadesc:
            if column.name not in record.data:
                continue
            try:
                self._write_value(column, record.recordno, record.data[column.name])
            except InterruptException:
                raise
            except Exception as error:
                self._tell(column.label, f"point {record.recordno} of {column.label} is not in the file: {error}")
        try:
            self.fd.flush()
        except InterruptException:
            raise
        except Exception as error:
            self._tell("file", f"{self.filename} could not be flushed: {error}")

    def _endRecordList(self, recordlist: Any) -> None:
        if self.filename is None or self.currentlist is None:
            return
        for column in self.datadesc:
            if not column.value_ref_enabled:
                continue
            try:
                if self._link(column):
                    column.value_ref_enabled = False  # Sardana's own way is for those that are left
            except InterruptException:
                raise
            except Exception as error:
                self._tell(column.label, f"{column.label} stays as references: {error}")
        try:
            for label, count in self._failures.items():
                self.fd[self.entryname].attrs[f"maxdaq_failures_{label}"] = count
            super()._endRecordList(recordlist)
        except InterruptException:
            raise
        except Exception as error:
            self._tell("file", f"{self.filename} could not be finished: {error}")

    # ---- inside ----

    def _write_value(self, column: Any, number: int, value: Any) -> None:
        group = self.fd[posixpath.join(self.entryname, "measurement")]
        if column.value_ref_enabled:
            self._room(group[column.label], number)[number] = value if isinstance(value, str) else ""
            return
        dataset = group[column.label]
        data = None if value is None else np.asarray(value)
        if dataset.dtype.kind == "O":  # texts
            self._room(dataset, number)[number] = "" if value is None else str(value)
            return
        nothing = data is None or (data.ndim == 0 and data.dtype.kind == "f" and np.isnan(data))
        if data is not None and data.ndim == 2 and column.label not in self._with_images:
            self._with_images.add(column.label)
            if data.shape != tuple(column.shape):
                dataset = self._reshaped(group, column, data.shape)
        if data is not None and data.ndim == 2 and data.shape != dataset.shape[1:]:
            raise ValueError(f"its shape is {data.shape}, and not {dataset.shape[1:]}")
        filled: Any = blank(dataset.dtype) if nothing else data
        if not nothing and dataset.dtype.kind in "iu":
            self._must_fit(data, dataset.dtype)
        self._room(dataset, number)[number, ...] = filled

    @staticmethod
    def _must_fit(data: Any, dtype: np.dtype[Any]) -> None:
        limits = np.iinfo(dtype)
        if data.size and not (limits.min <= data.min() and data.max() <= limits.max):
            raise ValueError(f"values from {data.min()} to {data.max()} do not fit into {dtype}")

    @staticmethod
    def _room(dataset: Any, number: int) -> Any:
        rows = dataset.shape[0]
        if rows <= number:
            dataset.resize(number + 1, axis=0)
            if rows < number and dataset.dtype.kind in "fiu":  # points that could not be written; HDF5 would show 0
                dataset[rows:number] = blank(dataset.dtype)
        return dataset

    def _reshaped(self, group: Any, column: Any, shape: tuple[int, ...]) -> Any:
        """Before a detector's first series nobody knew its shape."""
        del group[column.label]
        column.shape = list(shape)
        dataset = group.create_dataset(
            column.label,
            dtype=column.dtype,
            shape=(0, *shape),
            maxshape=(None, *shape),
            chunks=(1, *shape),
            compression=self._compression((0, *shape)),
        )
        self._in_instrument(group, column)
        return dataset

    def _link(self, column: Any) -> bool:
        group = self.fd[posixpath.join(self.entryname, "measurement")]
        dataset = group[column.label]
        references = list(dataset.asstr()[...]) if len(dataset) else []
        if not any(frame_of(text) for text in references):
            return False
        if absent := [number for number, text in enumerate(references) if frame_of(text) is None]:
            listed = ", ".join(map(str, absent[:MOST_LISTED])) + (", ..." if absent[MOST_LISTED:] else "")
            self._tell(column.label, f"{len(absent)} points have no frame of {column.label}: {listed}")
        self._end_series(column)
        link_stack(group, column.label, references)
        self._in_instrument(group, column)
        return True

    def _end_series(self, column: Any) -> None:
        """Where Sardana skipped points, the detector still waits for triggers, and its file is open."""
        try:
            tango.DeviceProxy(column.name).write_attribute("ScanOver", True)
        except tango.DevFailed as failed:
            self.debug("%s is no channel that can be told of the end: %s", column.name, failed.args[0].desc)

    def _in_instrument(self, group: Any, column: Any) -> None:
        """The instrument of the channel shows the same; Sardana had put what is now replaced there."""
        if not getattr(column, "instrument", None):
            return
        instrument = self._createNXpath(column.instrument, prefix=self.fd[self.entryname].name)
        if column.label in instrument:
            del instrument[column.label]
        found = group.get(column.label, getlink=True)
        instrument[column.label] = found if type(found).__name__ == "ExternalLink" else group[column.label]

    def _tell(self, label: str, text: str) -> None:
        count = self._failures[label] = self._failures.get(label, 0) + 1
        self.warning(text)
        macro = self.macro() if self.macro is not None else None
        if macro is not None and count <= MOST_WARNINGS:
            macro.warning(text)
