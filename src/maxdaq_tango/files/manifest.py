"""`<name>.manifest.json`: beside each file of a run, what is needed to check the data without this software.

Written at the end of every run that published or left a file, when the files have their names and sizes. It appears
whole or not at all, and never over another one. Of an unfinished file it is called `.<name>.h5.part.manifest.json`.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.paths import first_free, give_name, sync_directory
from maxdaq_tango.files.whereabouts import read_beside
from maxdaq_tango.model import Receipt, Verdict, encoded

ENDING = ".manifest.json"
VERSION = 1
ALGORITHM = "XXH3, 64 bit, seed 0, of the packed chunks of a row, one behind the other in C order of the chunk grid"


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One file, beside the manifest."""

    name: str
    nbytes: int


class Checksums(msgspec.Struct, frozen=True, kw_only=True):
    """How the pixels can be checked."""

    algorithm: str = ALGORITHM
    dataset: str = ""
    """One uint64 a row, in `file`."""
    valid: str = ""
    """1 where the row holds a frame; other rows are blank and have no checksum."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What lies beside a file, as JSON. Ranges are [first, last] pairs of frame numbers, both included."""

    manifest: int = VERSION
    """Version of this form."""
    file: FileEntry
    """The file, or the master of `data_files`."""
    data_files: tuple[FileEntry, ...] = ()
    """In the order of their rows."""
    dataset: str = ""
    """Path of the pixels in `file`; "" where the file is not finished and nobody can say."""
    shape: tuple[int, ...] = ()
    dtype: str = ""
    encoding: str = ""
    """Of a chunk; the filter of the dataset unpacks it."""
    verdict: Verdict
    reasons: tuple[str, ...]
    counters: dict[str, int]
    """Frames and bytes, as the receipt calls them."""
    missing: tuple[tuple[int, int], ...] = ()
    corrupt: tuple[int, ...] = ()
    lost: dict[str, tuple[tuple[int, int], ...]] = {}
    """By place."""
    late: tuple[tuple[int, int], ...] = ()
    checksums: Checksums
    receipt: Receipt
    written_at: str
    """UTC, ISO 8601."""


def manifest_path(file: Path) -> Path:
    """Beside a finished file, or an unfinished one (`.part`)."""
    return file.with_name((file.name if file.suffix == ".part" else file.stem) + ENDING)


def write_manifest(file: Path, receipt: Receipt, data_files: Sequence[str] = ()) -> Path:
    """For `file`, which has its name and size, and the data files beside it; returns where it is. FileError.

    One of an earlier file of this name, which is not there any more, is moved aside; one of another file is left.
    """
    path = manifest_path(file)
    try:
        manifest = _manifest(file, receipt, data_files)
        fresh = path.with_name(f".manifest-{uuid.uuid4().hex[:16]}.new")  # short: the name may be as long as it can be
        try:
            with open(fresh, "xb") as out:
                out.write(msgspec.json.format(encoded(manifest), indent=1) + b"\n")
                out.flush()
                os.fsync(out.fileno())
            if _names(path) == file.name:
                move_manifest(path, _aside(path))
            give_name(fresh, path)
        except BaseException:
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise
        sync_directory(path.parent)
    except FileExistsError:
        raise FileError(
            f"write the manifest of {file}",
            of=str(path),
            answer="one of another file lies there",
            accepted="a name that no other file has but for its suffix",
        ) from None
    except OSError as error:
        answer = f"{error.strerror} (errno {error.errno})" if error.errno else str(error)
        raise FileError(f"write the manifest of {file}", of=str(path), answer=answer) from error
    return path


def read_manifest(file: Path) -> Manifest | None:
    """Of that file; None where there is none. FileError when it is damaged."""
    path = manifest_path(file)
    try:
        return msgspec.json.decode(read_beside(path), type=Manifest)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeError) as error:
        raise FileError(f"read the manifest of {file}", of=str(path), answer=str(error)) from error


def move_manifest(path: Path, name: Path) -> None:
    """With its file, whose new name `name` goes by. Harmless where there is none; never over anything. OSError."""
    with contextlib.suppress(FileNotFoundError):
        give_name(path, name)


def disagreements(file: Path, receipt: Receipt) -> list[str]:
    """Of the manifest beside `file`, if there is one, with the file and the receipt in it."""
    try:
        manifest = read_manifest(file)
    except FileError as error:
        return [str(error)]
    if manifest is None:
        return []
    name = manifest_path(file).name
    if manifest.file.name != file.name:
        return [f"{name} is the manifest of another file, {manifest.file.name}"]
    problems = [problem for entry in (manifest.file, *manifest.data_files) if (problem := _differs(file, entry, name))]
    if manifest.receipt != receipt:
        told, held = msgspec.to_builtins(manifest.receipt), msgspec.to_builtins(receipt)
        fields = ", ".join(field for field in held if told[field] != held[field])
        problems.append(f"{name} has another receipt than the file; they differ in {fields}")
    said = _said(receipt)
    if different := [field for field in said if getattr(manifest, field) != said[field]]:
        problems.append(f"{name} says of {', '.join(different)} what the receipt in the file does not")
    if tuple(entry.name for entry in manifest.data_files) != receipt.data_files:
        problems.append(f"{name} lists other data files than the receipt")
    return problems


# ---- inside ----


def _manifest(file: Path, receipt: Receipt, data_files: Iterable[str]) -> Manifest:
    group = receipt.dataset.rpartition("/")[0]
    where = Checksums(dataset=f"{group}/daq/chunk_checksum", valid=f"{group}/daq/frame_valid") if group else Checksums()
    return Manifest(
        file=_entry(file),
        data_files=tuple(_entry(file.with_name(name)) for name in data_files),
        checksums=where,
        receipt=receipt,
        written_at=datetime.now(UTC).isoformat(),
        **_said(receipt),
    )


def _said(receipt: Receipt) -> dict[str, Any]:
    """What the manifest repeats of the receipt, so that nobody has to know what a receipt is."""
    return {
        "dataset": receipt.dataset,
        "shape": receipt.shape,
        "dtype": receipt.dtype,
        "encoding": receipt.encoding,
        "verdict": receipt.verdict,
        "reasons": receipt.reasons,
        "counters": receipt.counts(),
        "missing": receipt.frames_missing_ranges,
        "corrupt": receipt.frames_corrupt_numbers,
        "lost": receipt.frames_lost_at,
        "late": receipt.frames_late_ranges,
    }


def _entry(file: Path) -> FileEntry:
    return FileEntry(name=file.name, nbytes=file.stat().st_size)


def _differs(file: Path, entry: FileEntry, name: str) -> str:
    try:
        nbytes = file.with_name(entry.name).stat().st_size
    except OSError as error:
        return f"{name} lists {entry.name}: {error.strerror}"
    return "" if nbytes == entry.nbytes else f"{entry.name} has {nbytes} bytes, {name} says {entry.nbytes}"


def _names(path: Path) -> str:
    """The file that a manifest is of; "" where there is none, or it cannot be read."""
    try:
        return msgspec.json.decode(read_beside(path), type=_Named).file.name
    except (OSError, msgspec.DecodeError, UnicodeError):
        return ""


class _Named(msgspec.Struct):
    """Of any version."""

    file: FileEntry


def _aside(path: Path) -> Path:
    stem = path.name.removesuffix(ENDING)
    return first_free(f"move {path} aside", lambda n: path.with_name(f"{stem}.old{n}{ENDING}"))
