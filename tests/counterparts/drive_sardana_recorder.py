"""Our recorder in Sardana's Python, fed with what it must not fall over. Prints one JSON object.

    python drive_sardana_recorder.py FOLDER        PYTHONPATH has the source of this package

FOLDER has frames.h5 with three frames in entry/data/data.
"""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path

import numpy as np
from sardana.macroserver.msexception import InterruptException
from sardana.macroserver.scan.scandata import ColumnDesc, Record

from maxdaq_tango.integrations.sardana import RECORDERS

sys.path.insert(0, str(RECORDERS))
from maxdaq_recorder import MaxdaqNXscanRecorder


class Macro:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warning(self, text: str) -> None:
        self.warnings.append(text)


class RecordList:
    def __init__(self, columns: list[ColumnDesc]) -> None:
        now = datetime.datetime.now()
        self.environ = {
            "serialno": 1,
            "datadesc": columns,
            "starttime": now,
            "scanstarttime": now,
            "endtime": now,
            "title": "ascan",
            "user": "nobody",
        }

    def getEnviron(self) -> dict:
        return self.environ


def column(name: str, dtype: str, shape=(), **more) -> ColumnDesc:
    return ColumnDesc(name=name, label=name, dtype=dtype, shape=list(shape), **more)


def run(
    folder: Path, name: str, columns: list[ColumnDesc], points: list[dict], spoil=lambda recorder, number: None
) -> dict:
    macro = Macro()
    recorder = MaxdaqNXscanRecorder(str(folder / name), macro=macro)
    records = RecordList(columns)
    recorder.startRecordList(records)
    raised = ""
    try:
        for number, data in enumerate(points):
            spoil(recorder, number)
            record = Record(data)
            record.setRecordNo(number)
            recorder.writeRecord(record)
        recorder.endRecordList(records)
    except Exception as error:
        raised = type(error).__name__
    return {"raised": raised, "warnings": macro.warnings}


class Interrupting:
    """Sardana puts the exception of an abort into the thread of the macro, wherever that is."""

    def __array__(self, *arguments, **named):
        raise InterruptException()


def main(folder: Path) -> None:
    integers = [column("n", "uint16"), column("image", "uint16", (2, 2))]
    good = {"n": 7, "image": np.ones((2, 2), np.uint16)}
    frame = f"h5file://{folder}/frames.h5::entry/data/data[%d]"
    eiger = [column("eiger", "str", (2, 2), value_ref_enabled=True, instrument="/eiger")]
    missing = f"h5file://{folder}/nothing.h5::entry/data/data[1]"
    results = {
        "skipped": run(folder, "skipped.h5", integers, [good, {"n": float("nan"), "image": float("nan")}, good]),
        "too large": run(folder, "large.h5", integers, [good, {**good, "n": 70000}, good]),
        "other shape": run(folder, "shape.h5", integers, [good, {**good, "image": np.ones((3, 3), np.uint16)}, good]),
        "unknown shape": run(folder, "unknown.h5", [column("image", "uint16")], [{"image": good["image"]}] * 2),
        "unknown shape, late": run(
            folder, "late.h5", [column("image", "uint16")], [{"image": float("nan")}, *[{"image": good["image"]}] * 2]
        ),
        "closed": run(
            folder, "closed.h5", integers, [good, good, good], lambda me, n: me.fd.close() if n == 1 else None
        ),
        "interrupted": run(folder, "interrupted.h5", integers, [good, {**good, "n": Interrupting()}]),
        "linked": run(folder, "linked.h5", eiger, [{"eiger": frame % number} for number in range(3)]),
        "no file": run(folder, "no_file.h5", eiger, [{"eiger": missing}]),
        "no reference": run(folder, "no_reference.h5", eiger, [{"eiger": frame % 0}, {"eiger": None}]),
    }
    print(json.dumps(results))


main(Path(sys.argv[1]))
