"""The properties of a StreamReceiver, as one table."""

from __future__ import annotations

from tango.server import device_property

from maxdaq_tango.model import Compression as Packing
from maxdaq_tango.model import FileBackend, FileNaming, Pinned, PixelSteps, Verification
from maxdaq_tango.receiver.configuration import ReceiverConfiguration, checked, word
from maxdaq_tango.receiver.outlook import Policies, Policy


class ReceiverProperties:
    """Mixed into `StreamReceiver`; a new value takes effect at Init."""

    Roots = device_property(
        dtype=(str,), default_value=[], doc="Folders under which files may be made. Empty: nothing may be written."
    )
    DetectorName = device_property(
        dtype=str, default_value="detector", doc="<name> in /entry/instrument/<name>/data, where the frames are stored."
    )
    MemoryBudget = device_property(
        dtype="int64", default_value=1 << 30, doc="Bytes for frames between socket and disk. When full, sockets rest."
    )
    Naming = device_property(
        dtype=str,
        default_value="prepare",
        doc="prepare: DestinationFilename decides where files go. stream: `filename` and `save_raw` in the header do.",
    )
    Compression = device_property(
        dtype=str,
        default_value="bslz4",
        doc="How frames that come uncompressed, or as CBF files or Mono12p, are packed: none, bslz4 or bszstd. Other "
        "compressed ones stay as they come.",
    )
    Verify = device_property(
        dtype=str,
        default_value="framing",
        doc="Of compressed frames: framing looks at their size and block lengths, full also unpacks each one once.",
    )
    Backend = device_property(
        dtype=str,
        default_value="auto",
        doc="How pixels reach the disk: auto, swmr (the growing file can be read) or direct (several times cheaper).",
    )
    PoolWorkers = device_property(
        dtype=int, default_value=0, doc="Threads that turn and pack frames; 0 = as many as cores, eight at most."
    )
    FramesPerFile = device_property(
        dtype=int,
        default_value=0,
        doc="Frames of one data file; the destination becomes the master of all. 0: one file, or with several Engines "
        "a good number.",
    )
    Engines = device_property(
        dtype=int,
        default_value=1,
        doc="Processes that write data files in turn, for more than one process can write; 1 = the engine itself.",
    )
    SpillDirectory = device_property(
        dtype=str,
        default_value="",
        doc="Folder, on another file system, that takes data files while the destination takes none; they are moved "
        "home afterwards. Series are then stored in blocks. Empty: the destination is waited for.",
    )
    ConnectTimeout = device_property(
        dtype=float,
        default_value=1.0,
        doc="Prepare fails when a source takes no connection within this, s, and throws away what comes before its "
        "answer: left-overs of earlier series. 0: the sender may come later, or may have begun.",
    )
    StartTimeout = device_property(
        dtype=float, default_value=0.0, doc="Longest wait for the start message after Expect, s. 0 = for ever."
    )
    StallTimeout = device_property(
        dtype=float,
        default_value=0.0,
        doc="Longest silence in a series before it is closed as INCOMPLETE, s. 0: for ever.",
    )
    RoomPolicy = device_property(
        dtype=str,
        default_value="warn",
        doc="What becomes of a run for which the disk has too little room, as far as can be told before it is armed: "
        "refuse, warn (in Status and report) or ignore.",
    )
    RatePolicy = device_property(
        dtype=str,
        default_value="warn",
        doc="The same of a run that is faster than this receiver could write when it was last too slow: refuse, warn "
        "or ignore. One that waits for triggers is only warned of.",
    )
    RecoverAtStart = device_property(
        dtype=bool,
        default_value=True,
        doc="Look for unfinished files under Roots (and in SpillDirectory) at start-up, and make <name>_recovered.h5 "
        "of those nobody writes.",
    )
    Grace = device_property(dtype=float, default_value=2.0, doc="How long stragglers are waited for after the end, s.")
    ModuleWait = device_property(
        dtype=float,
        default_value=1.0,
        doc="How long a frame waits for modules that have not come, where each sends its own part, s.",
    )
    StitchModules = device_property(
        dtype=bool,
        default_value=False,
        doc="Frames of modules are stored as one picture of `full_shape`, where the headers say how the modules lie.",
    )
    PrepareWait = device_property(
        dtype=float,
        default_value=2.0,
        doc="How long command Prepare waits before it returns with the work going on, s.",
    )
    Sockets = device_property(
        dtype=int, default_value=0, doc="Connections to each source; 0 = as many as the expected data rate needs."
    )
    IoThreads = device_property(
        dtype=int,
        default_value=0,
        doc="Threads of ZeroMQ, which copy frames out of the kernel; 0 = one for each two cores, four at most.",
    )
    Cores = device_property(
        dtype=(int,),
        default_value=[],
        doc="Numbers of the processor cores on which frames are taken, packed and written: those near the network "
        "card. Empty: wherever the system likes.",
    )
    MessagesAhead = device_property(
        dtype=int,
        default_value=0,
        doc="Messages that ZeroMQ may hold for each connection; 0 = as many as its share of the memory, 1000 at most.",
    )
    ReceiveBuffer = device_property(
        dtype=int,
        default_value=0,
        doc="Bytes that the system holds for each connection, as far as net.core.rmem_max allows; 0 = 4 MiB for frames "
        "of up to 1 MiB where that is allowed, else what the system likes.",
    )
    BatchMessages = device_property(
        dtype=int, default_value=0, doc="Messages worked on between two looks at all else; 0 = 64, 1 MiB at most."
    )
    SlabSize = device_property(
        dtype=int,
        default_value=0,
        doc="Bytes of a block in which pixels go to the disk past the page cache, a multiple of 4096; 0 = 16 MiB.",
    )
    CheckpointInterval = device_property(
        dtype=float,
        default_value=0.0,
        doc="Between two checkpoints of a file, s; 0 = a twentieth of the time at most, and never over 1 s apart.",
    )
    TotTable = device_property(
        dtype=str,
        default_value="",
        doc="Path of an npz file with `tot_to_energy_tensor` (rows, columns, counts): pixels become energies (float32) "
        "before they are turned, negative ones -1, those beyond the table -2. Empty: they are stored as counts.",
    )
    MaskRectangle = device_property(
        dtype=(int,),
        default_value=[],
        doc="First row, row behind the last, first column, column behind the last of a rectangle whose pixels become "
        "-1 (of unsigned types the highest value) after frames have been turned. Empty: none.",
    )
    CurveServerKey = device_property(
        dtype=str,
        default_value="",
        doc="Public key of senders that encrypt (CURVE), as `maxdaq keys` prints it. Empty: they do not, as detectors.",
    )
    CurveKeyFile = device_property(
        dtype=str,
        default_value="",
        doc="Path of this receiver's own key file, for senders that let in only those whom they know. Empty: a new key "
        "for each run.",
    )

    def read_properties(self) -> ReceiverConfiguration:
        """Checked; ConfigurationError with the name of the property that cannot work."""
        return checked(
            ReceiverConfiguration(
                roots=tuple(self.Roots),
                detector=self.DetectorName,
                memory_bytes=int(self.MemoryBudget),
                naming=word(FileNaming, "Naming", self.Naming),
                compression=word(Packing, "Compression", self.Compression),
                verify=word(Verification, "Verify", self.Verify),
                backend=word(FileBackend, "Backend", self.Backend),
                pool_workers=int(self.PoolWorkers),
                frames_per_file=int(self.FramesPerFile),
                engines=int(self.Engines),
                pinned=Pinned(
                    sockets=int(self.Sockets),
                    io_threads=int(self.IoThreads),
                    cores=tuple(int(core) for core in self.Cores),
                    messages_ahead=int(self.MessagesAhead),
                    receive_buffer_bytes=int(self.ReceiveBuffer),
                    batch_messages=int(self.BatchMessages),
                    slab_bytes=int(self.SlabSize),
                    checkpoint_s=self.CheckpointInterval,
                ),
                connect_timeout_s=self.ConnectTimeout,
                start_timeout_s=self.StartTimeout,
                stall_timeout_s=self.StallTimeout,
                grace_s=self.Grace,
                module_wait_s=self.ModuleWait,
                stitch=bool(self.StitchModules),
                prepare_wait_s=self.PrepareWait,
                curve_server_key=self.CurveServerKey.strip(),
                curve_key_file=self.CurveKeyFile,
                recover_at_start=bool(self.RecoverAtStart),
                spill_directory=self.SpillDirectory,
                policies=Policies(
                    room=word(Policy, "RoomPolicy", self.RoomPolicy), rate=word(Policy, "RatePolicy", self.RatePolicy)
                ),
                pixel_steps=PixelSteps(
                    tot_table=self.TotTable.strip(), mask=tuple(int(place) for place in self.MaskRectangle)
                ),
            )
        )
