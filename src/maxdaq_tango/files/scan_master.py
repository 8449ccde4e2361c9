"""The scan master: one small file that shows what all detectors of a scan have taken, by links.

    /entry                          NXentry, default = data
      scan_number, run_id, verdict, start_time, end_time
      data                          NXdata: the pixels of the first detector that has a file
      <name>                        NXdata: the pixels of each
      instrument/<name>             link to the detector group in its own file, with all that is in there
      metadata                      NXcollection: what the client gave
      daq                           NXcollection: report (JSON), metadata (JSON), not_linked (sentences), software

Links are relative, so a folder can be copied elsewhere. It is made when every file is closed, under another name, and
gets its own when it is whole; then the report is saved beside it, as `<name>.report.json`. Only what is there is
linked.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import msgspec
import numpy as np

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.block_file import sync_file
from maxdaq_tango.files.layout import ascii_text, free_name, make_group, store_metadata
from maxdaq_tango.files.paths import Destination, give_name, move_aside, resolve_destination, sync_directory
from maxdaq_tango.files.troubles import in_order, told_as_file_error
from maxdaq_tango.files.whereabouts import folder_at, hdf5_there, open_there
from maxdaq_tango.model import ScanLink, ScanMaster, encoded

REPORT_ENDING = ".report.json"
MARK = "scan_master"
"""Attribute of the root of such a file."""
OURS = ("data", "instrument", "metadata", "daq", "scan_number", "run_id", "verdict", "start_time", "end_time")
_LIBVER = ("v108", "v108")


def report_path(master: Path) -> Path:
    """Beside it."""
    return master.with_name(master.stem + REPORT_ENDING)


def refuse_taken_master(path: str, roots: Sequence[str], *, overwrite: bool) -> Destination:
    """Where it will lie; FileError when it, or its report, is there already."""
    destination = resolve_destination(path, roots, overwrite=overwrite)
    report = report_path(destination.final)
    if not overwrite and os.path.lexists(report):
        raise FileError(
            f"write the scan master {path}",
            of=str(report),
            answer="the report of another scan exists",
            accepted="another name, or DestinationFileOverwritable",
        )
    return destination


def write_scan_master(master: ScanMaster, roots: Sequence[str], software: str) -> None:
    """Make it and its report. FileError: there is none, or it has no report, or, where the text says so, it lacks links
    to files that are not there."""
    final = refuse_taken_master(master.path, roots, overwrite=master.overwrite).final
    told = f"write the scan master {final}"
    try:
        report = msgspec.json.format(master.report.encode(), indent=1) if master.report else b""
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise FileError(told, answer=f"its report is no JSON: {error}") from None
    links, absent = _sorted_out(master.links)
    fresh = final.with_name(f".scan-{uuid.uuid4().hex[:16]}.new")  # short: the name may be as long as it can be
    with told_as_file_error("write the scan master", Destination(final, fresh)), folder_at(final.parent, make=True):
        _appear(fresh, final, master.overwrite, told, lambda: _write(fresh, final, master, links, absent, software))
        if report:
            _appear(fresh, report_path(final), master.overwrite, told, lambda: _write_bytes(fresh, report + b"\n"))
        sync_directory(final.parent)
    if absent:
        raise FileError(
            f"link every file into {final}", answer="; ".join(absent), accepted="it has the links of the rest"
        )


def linked_files(file: h5py.File) -> set[str]:
    """Names of the files of an open scan master, as it refers to them."""
    group = file["entry/instrument"]
    links = (group.get(name, getlink=True) for name in group)
    return {link.filename for link in links if isinstance(link, h5py.ExternalLink)}


def _sorted_out(links: Sequence[ScanLink]) -> tuple[list[ScanLink], list[str]]:
    """Those whose files are there, and sentences about the others."""
    there, absent = [], []
    for link in links:
        why = link.absent if not link.file else "" if os.path.isfile(link.file) else f"{link.file} is not there"
        if why:
            absent.append(f"{link.device}: {why}")
        else:
            there.append(link)
    return there, absent


def _appear(fresh: Path, final: Path, overwrite: bool, told: str, write: Callable[[], None]) -> None:
    """Under its name whole, or not at all, and never over what is there."""
    try:
        write()
        if overwrite:
            move_aside(final)
        give_name(fresh, final)
    except FileExistsError:
        raise FileError(
            told, of=str(final), answer="it was made by somebody else meanwhile", accepted="another name"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()


def _write_bytes(fresh: Path, content: bytes) -> None:
    with open(open_there(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def _write(
    fresh: Path, final: Path, master: ScanMaster, links: Sequence[ScanLink], absent: Sequence[str], software: str
) -> None:
    with in_order(hdf5_there(fresh, "x", libver=_LIBVER)) as file:
        _fill(file, final, master, links, absent, software)
    sync_file(fresh)


def _fill(
    file: h5py.File,
    final: Path,
    master: ScanMaster,
    links: Sequence[ScanLink],
    absent: Sequence[str],
    software: str,
) -> None:
    for name, text in {"NX_class": "NXroot", "default": "entry", "creator": software, MARK: "1"}.items():
        file.attrs[name] = ascii_text(text)
    entry = make_group(file, "entry", "NXentry")
    entry["scan_number"] = master.scan_number
    texts = {"run_id": master.run_id, "verdict": master.verdict.value}
    texts |= {"start_time": master.started_at, "end_time": master.finished_at}
    for name, text in texts.items():
        entry[name] = text
    instrument = make_group(entry, "instrument", "NXinstrument")
    taken, names = set(OURS), set[str]()
    for number, link in enumerate(links):
        path = os.path.relpath(os.path.realpath(link.file), final.parent)
        instrument[free_name(link.name, names)] = h5py.ExternalLink(path, os.path.dirname(link.dataset))
        for plot in (["data"] if number == 0 else []) + [free_name(link.name, taken)]:
            group = make_group(entry, plot, "NXdata")
            group.attrs["signal"] = ascii_text("data")
            group["data"] = h5py.ExternalLink(path, link.dataset)
    if links:
        entry.attrs["default"] = ascii_text("data")
    store_metadata(make_group(entry, "metadata", "NXcollection"), master.metadata)
    daq = make_group(entry, "daq", "NXcollection")
    for name, text in {
        "report": master.report,
        "metadata": encoded(master.metadata).decode(),
        "software": software,
    }.items():
        daq[name] = text
    daq.create_dataset("not_linked", data=np.array(list(absent), h5py.string_dtype()))
