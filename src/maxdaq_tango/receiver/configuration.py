"""What a StreamReceiver is told by its properties, checked once at Init."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from maxdaq_tango.curve import is_key, read_keys
from maxdaq_tango.errors import ConfigurationError, FileError
from maxdaq_tango.files import check_spill_directory
from maxdaq_tango.model import (
    MOST_ENGINES,
    MOST_FRAMES_PER_FILE,
    Compression,
    FileBackend,
    FileNaming,
    Pinned,
    PixelSteps,
    Verification,
)
from maxdaq_tango.receiver.outlook import Policies
from maxdaq_tango.transaction.words import PlaceFields


class ReceiverConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """Properties of one receiver, in our units."""

    roots: tuple[str, ...]
    detector: str
    memory_bytes: int
    naming: FileNaming
    compression: Compression
    verify: Verification
    backend: FileBackend
    pool_workers: int
    frames_per_file: int
    engines: int
    pinned: Pinned
    connect_timeout_s: float
    start_timeout_s: float
    stall_timeout_s: float
    grace_s: float
    prepare_wait_s: float
    module_wait_s: float = 1.0
    stitch: bool = False
    curve_server_key: str = ""
    curve_key_file: str = ""
    recover_at_start: bool = True
    spill_directory: str = ""
    pixel_steps: PixelSteps = PixelSteps()
    policies: Policies = Policies()

    def files_of(self, places: PlaceFields) -> dict[str, Any]:
        """The files of a run as `files.refuse_taken` looks for them; the stream itself may say where they go."""
        named = places.destination if self.naming is FileNaming.PREPARE else ""
        block_rows = places.frames_per_file or self.frames_per_file
        known = places.frames is not None and block_rows > 0
        return {
            "path": named,
            "roots": self.roots,
            "overwrite": places.overwrite,
            "in_blocks": bool(block_rows or self.engines > 1 or self.spill_directory),
            "block_count": -(-(places.frames or 0) // block_rows) if known else None,
            "scan_master": places.scan_master,
        }

    def own_fields(self) -> dict[str, Any]:
        """The part of a RunRequest that no client may choose."""
        return {
            "roots": self.roots,
            "detector": self.detector,
            "memory_bytes": self.memory_bytes,
            "naming": self.naming,
            "compression": self.compression,
            "verify": self.verify,
            "backend": self.backend,
            "pool_workers": self.pool_workers,
            "frames_per_file": self.frames_per_file,
            "engines": self.engines,
            "pinned": self.pinned,
            "connect_timeout_s": self.connect_timeout_s,
            "start_timeout_s": self.start_timeout_s,
            "stall_timeout_s": self.stall_timeout_s,
            "grace_s": self.grace_s,
            "module_wait_s": self.module_wait_s,
            "stitch": self.stitch,
            "curve_server_key": self.curve_server_key,
            "curve_key_file": self.curve_key_file,
            "spill_directory": self.spill_directory,
            "pixel_steps": self.pixel_steps,
        }


MIN_MEMORY_BYTES = 16 << 20
"""Less than a few large frames cannot work."""


MOST_POOL_WORKERS = 64


def checked(configuration: ReceiverConfiguration) -> ReceiverConfiguration:
    """The same configuration; ConfigurationError with the property's name when it cannot work."""
    for root in configuration.roots:
        if not os.path.isabs(root):
            raise ConfigurationError(f"set property Roots to '{root}'", answer="not absolute", accepted="/data/...")
        if not os.path.isdir(root):
            raise ConfigurationError(
                f"set property Roots to '{root}'", answer="no such folder here", accepted="folders that exist"
            )
    name = configuration.detector
    if not name or "/" in name or name in (".", ".."):
        raise ConfigurationError(
            f"set property DetectorName to '{name}'",
            answer="not a name inside an HDF5 file",
            accepted="letters and digits, such as eiger: frames are stored in /entry/instrument/eiger/data",
        )
    if configuration.memory_bytes < MIN_MEMORY_BYTES:
        raise ConfigurationError(
            f"set property MemoryBudget to {configuration.memory_bytes} bytes", accepted=f"{MIN_MEMORY_BYTES} or more"
        )
    if not 0 <= configuration.pool_workers <= MOST_POOL_WORKERS:
        raise ConfigurationError(
            f"set property PoolWorkers to {configuration.pool_workers}", accepted=f"0 to {MOST_POOL_WORKERS}"
        )
    if not 0 <= configuration.frames_per_file <= MOST_FRAMES_PER_FILE:
        raise ConfigurationError(
            f"set property FramesPerFile to {configuration.frames_per_file}", accepted=f"0 to {MOST_FRAMES_PER_FILE}"
        )
    if not 1 <= configuration.engines <= MOST_ENGINES:
        raise ConfigurationError(f"set property Engines to {configuration.engines}", accepted=f"1 to {MOST_ENGINES}")
    try:
        check_spill_directory(configuration.spill_directory)
    except FileError as error:
        raise ConfigurationError(
            f"set property SpillDirectory to '{configuration.spill_directory}'",
            answer=error.answer,
            accepted=error.accepted,
        ) from None
    _check_pinned(configuration.pinned)
    _check_steps(configuration.pixel_steps)
    _check_keys(configuration.curve_server_key, configuration.curve_key_file)
    for name in (
        "connect_timeout_s",
        "start_timeout_s",
        "stall_timeout_s",
        "grace_s",
        "module_wait_s",
        "prepare_wait_s",
    ):
        value = getattr(configuration, name)
        if not 0 <= value < float("inf"):
            raise ConfigurationError(f"set {name} to {value} s", accepted="0 s or more")
    return configuration


def _check_keys(server_key: str, key_file: str) -> None:
    if server_key and not is_key(server_key):
        raise ConfigurationError(
            "set property CurveServerKey",
            answer="not a public key",
            accepted="the 40 characters that `maxdaq keys` prints",
        )
    if not key_file:
        return
    if not server_key:
        raise ConfigurationError(
            f"set property CurveKeyFile to '{key_file}'", answer="CurveServerKey is empty", accepted="both, or neither"
        )
    try:
        read_keys(key_file)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"set property CurveKeyFile to '{key_file}'", answer=error.answer, accepted=error.accepted
        ) from None


def _check_steps(steps: PixelSteps) -> None:
    if steps.tot_table and not os.path.isfile(steps.tot_table):
        raise ConfigurationError(
            f"set property TotTable to '{steps.tot_table}'", answer="no such file here", accepted="an npz file"
        )
    mask = steps.mask
    if mask and (len(mask) != 4 or not 0 <= mask[0] < mask[1] or not 0 <= mask[2] < mask[3]):
        raise ConfigurationError(
            f"set property MaskRectangle to {list(mask)}",
            accepted="four numbers: first row, row behind the last, first column, column behind the last; or none",
        )


MOST_OF_PINNED = {
    "sockets": 16,
    "io_threads": 16,
    "messages_ahead": 1_000_000,
    "receive_buffer_bytes": 1 << 30,
    "batch_messages": 100_000,
    "slab_bytes": 1 << 30,
}
PROPERTY_OF_PINNED = {
    "sockets": "Sockets",
    "io_threads": "IoThreads",
    "messages_ahead": "MessagesAhead",
    "receive_buffer_bytes": "ReceiveBuffer",
    "batch_messages": "BatchMessages",
    "slab_bytes": "SlabSize",
}
SLAB_UNIT = 4096
MOST_CHECKPOINT_S = 3600.0


def _check_pinned(pinned: Pinned) -> None:
    for field, most in MOST_OF_PINNED.items():
        value = getattr(pinned, field)
        if not 0 <= value <= most:
            raise ConfigurationError(
                f"set property {PROPERTY_OF_PINNED[field]} to {value}", accepted=f"0 (automatic) to {most}"
            )
    if pinned.slab_bytes % SLAB_UNIT:
        raise ConfigurationError(
            f"set property SlabSize to {pinned.slab_bytes}", accepted=f"a multiple of {SLAB_UNIT} bytes, or 0"
        )
    if strangers := set(pinned.cores) - os.sched_getaffinity(0):
        raise ConfigurationError(
            f"set property Cores to {sorted(pinned.cores)}",
            answer=f"this server may not use {sorted(strangers)}",
            accepted=f"some of {sorted(os.sched_getaffinity(0))}, or nothing to leave it to the system",
        )
    if not 0 <= pinned.checkpoint_s <= MOST_CHECKPOINT_S:
        raise ConfigurationError(
            f"set property CheckpointInterval to {pinned.checkpoint_s:g} s",
            accepted=f"0 (automatic) to {MOST_CHECKPOINT_S:g} s",
        )


_Word = TypeVar("_Word", bound=StrEnum)


def word(kind: type[_Word], name: str, text: str) -> _Word:
    """The value of a property that is one of a few words."""
    try:
        return kind(text.strip().lower())
    except ValueError:
        *most, last = kind
        accepted = f"{', '.join(most)} or {last}"
        raise ConfigurationError(f"set property {name} to '{text}'", answer="no such word", accepted=accepted) from None
