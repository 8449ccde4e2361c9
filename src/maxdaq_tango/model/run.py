"""What a receiver is asked to do: one run = one series into at most one file."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from maxdaq_tango.model.acquisition import StreamFormat
from maxdaq_tango.model.conversion import RAW, Conversion


class FileNaming(StrEnum):
    """Who says where the file goes."""

    PREPARE = "prepare"
    """`destination` decides, whatever the stream says (the default)."""
    STREAM = "stream"
    """MAX IV's habit: `filename` and `save_raw` in the header, header_appendix or user_data decide."""


class Compression(StrEnum):
    """How frames that come uncompressed are packed before they are stored; or in a packing that no file holds.

    Frames that the detector has compressed otherwise pass as they are, whatever is said here.
    """

    NONE = "none"
    """Stored as they came."""
    BSLZ4 = "bslz4"
    """Bitshuffle + LZ4, HDF5 filter 32008: what every reader of the field takes (the default)."""
    BSZSTD = "bszstd"
    """Bitshuffle + Zstandard, the same filter: smaller, several times slower, and XDS (neggia) does not read it."""


class Verification(StrEnum):
    """How much of a compressed frame is looked at before it counts as written."""

    FRAMING = "framing"
    """Its size and the lengths of its blocks: finds what was cut, costs a tenth of a microsecond a block."""
    FULL = "full"
    """It is also unpacked once, in the pool, and the pixels are thrown away: finds nearly any damage."""


class FileBackend(StrEnum):
    """How chunks reach the disk."""

    AUTO = "auto"
    """By chunk size and data rate; the choice and its reason are in the receipt."""
    SWMR = "swmr"
    """Through the page cache; the growing file can be read."""
    DIRECT = "direct"
    """Past the page cache; several times cheaper, readable when it is closed."""


class Orientation(msgspec.Struct, frozen=True):
    """How frames are turned before they are stored: rot90 first, then the flips."""

    rotation: int = 0
    """Quarter turns counter-clockwise, as numpy.rot90 counts."""
    fliplr: bool = False
    flipud: bool = False

    @property
    def is_identity(self) -> bool:
        """True when pixels can pass by untouched."""
        return self.rotation % 4 == 0 and not self.fliplr and not self.flipud


class PixelSteps(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to pixels before they are stored, beside turning: the table first, then turning, then the mask."""

    tot_table: str = ""
    """Path of an npz file: time over threshold becomes energy; see `kernels.time_over_threshold`."""
    mask: tuple[int, ...] = ()
    """(first row, row behind the last, first column, column behind the last) of a rectangle, as frames are stored; its
    pixels become -1, of unsigned types the highest value. () = none."""

    @property
    def is_nothing(self) -> bool:
        """True when pixels can pass by untouched."""
        return not self.tot_table and not self.mask


NO_STEPS = PixelSteps()
MOST_FRAMES_PER_FILE = 1_000_000
"""The chunk index of a data file is allocated at once."""
MOST_ENGINES = 16
"""Processes that write one series; each has its share of the memory."""


class Pinned(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver decides by itself where it says 0; anything else is taken as it is."""

    sockets: int = 0
    """Connections to each source, which deals its frames over them."""
    io_threads: int = 0
    """Of ZeroMQ, which copy frames out of the kernel."""
    cores: tuple[int, ...] = ()
    """On which all threads that take frames stay, and the processes that write; () = wherever they may."""
    messages_ahead: int = 0
    """Messages that ZeroMQ may hold for each connection."""
    receive_buffer_bytes: int = 0
    """Of the system, for each connection."""
    batch_messages: int = 0
    """Messages that are worked on between two looks at everything else."""
    slab_bytes: int = 0
    """Size of the blocks in which pixels go to the disk past the page cache; a multiple of 4096."""
    checkpoint_s: float = 0.0
    """Between two checkpoints of a file."""


NOTHING_PINNED = Pinned()


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """All an engine must know to take one series. JSON in, JSON out: this is the argument of `Prepare`."""

    sources: tuple[str, ...]
    """ZeroMQ endpoints to connect to. More than one is one stream dealt over several sockets; where modules send their
    own parts, one module each, in the order of the modules."""
    stream_format: StreamFormat
    destination: str = ""
    """Absolute path of the file; "" = live only."""
    naming: FileNaming = FileNaming.PREPARE
    roots: tuple[str, ...] = ()
    """Folders under which files may be made; empty = nothing may be written."""
    overwrite: bool = False
    """Move an existing file of that name aside (never append to it, never truncate it)."""
    save_raw: bool = True
    expected_frames: int | None = None
    """None = believe the header, or take what comes until the end message."""
    series: str | None = None
    """None = the first series whose start message arrives after Prepare."""
    frame_period_s: float | None = None
    triggered: bool = False
    """Bursts wait for triggers from outside, so the stream may rest between them."""
    frame_nbytes: int | None = None
    """Uncompressed bytes of one frame where known beforehand; sizes the sockets' high-water marks."""
    detector: str = "detector"
    """`<name>` in /entry/instrument/<name>/data."""
    orientation: Orientation = Orientation()
    conversion: Conversion = RAW
    """Of detector units into energy or photons, before frames are turned."""
    pixel_steps: PixelSteps = NO_STEPS
    backend: FileBackend = FileBackend.AUTO
    frames_per_file: int = 0
    """Frames of one data file, joined by a master; 0 = all in one file (or, with several engines, a good number)."""
    spill_directory: str = ""
    """Absolute path of a folder that takes data files while the destination takes none; "" = there is none. With one,
    every series is stored in blocks, by processes, and there is one process more than `engines`."""
    engines: int = 1
    """Processes that write data files, block by block in turn; 1 = the engine itself writes."""
    stitch: bool = False
    """Frames of modules are stored as one picture, where the header says how; not the modules one by one."""
    compression: Compression = Compression.BSLZ4
    verify: Verification = Verification.FRAMING
    """Of frames that come compressed."""
    pool_workers: int = 0
    """Threads that turn and pack frames; 0 = as many as cores, eight at most. Started when there is something to do."""
    connect_timeout_s: float = 0.0
    """Prepare fails when a source does not accept the connection within this time; 0 = the sender may come later."""
    start_timeout_s: float = 0.0
    """Longest wait for the start message, counted from Expect (or Prepare when no Expect comes); 0 = for ever."""
    expect_follows: bool = False
    """Expect comes when every detector of the run is armed, which may take minutes: they do not count."""
    stall_timeout_s: float = 0.0
    """Longest silence inside a series before it is closed as INCOMPLETE; 0 = for ever. At least three frame periods."""
    grace_s: float = 2.0
    """How long stragglers are waited for after the end message."""
    module_wait_s: float = 1.0
    """How long a frame waits for those of its modules that have not come, where each module sends its own part."""
    memory_bytes: int = 1 << 30
    """Budget for frames between socket and disk; when it is full the socket is not read. Dealt out in
    `pipeline/budget.py`."""
    pinned: Pinned = NOTHING_PINNED
    curve_server_key: str = ""
    """Public key of the senders; "" = they speak without encryption, as detectors do."""
    curve_key_file: str = ""
    """Path of our own pair, for senders that want to know us. The keys in it are in no request and no receipt."""
    series_count: int = 1
    """Series that are taken one after the other on the same sockets, each into a file of its own; 0 = until stopped.
    From the second on the file is called <destination>_2, _3 ..., or as the stream says."""
    run_id: str = ""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    """JSON values stored with the file."""
