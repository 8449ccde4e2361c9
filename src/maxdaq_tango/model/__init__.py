"""The field's words as frozen types. Knows no sockets, threads, files or Tango."""

from maxdaq_tango.model.acquisition import AcquisitionSettings, StreamDescription, StreamFormat, TriggerMode
from maxdaq_tango.model.counters import Counters
from maxdaq_tango.model.error_text import ErrorText
from maxdaq_tango.model.fate import FATE_MEANINGS, PLACES, Fate
from maxdaq_tango.model.frame import Buffer, DamagedFrame, Encoding, Frame, FrameFormat
from maxdaq_tango.model.modules import MOST_MODULES, ModuleEnd, ModuleEvent, ModuleFrame, ModuleStart
from maxdaq_tango.model.nesting import DEEPEST, is_deeper
from maxdaq_tango.model.preview import (
    LEAST_PREVIEW_PX,
    MOST_PREVIEW_PX,
    Preview,
    PreviewMethod,
    PreviewSettings,
    checked_method,
    checked_size,
)
from maxdaq_tango.model.receipt import MISSING_LISTED, Receipt, Verdict
from maxdaq_tango.model.run import (
    MOST_ENGINES,
    MOST_FRAMES_PER_FILE,
    NOTHING_PINNED,
    Compression,
    FileBackend,
    FileNaming,
    Orientation,
    Pinned,
    PixelSteps,
    RunRequest,
    Verification,
)
from maxdaq_tango.model.scan import ScanLink, ScanMaster
from maxdaq_tango.model.series import SeriesEnd, SeriesNote, SeriesStart, WireEvent
from maxdaq_tango.model.state import BUSY_STATES, TRANSITIONS, AcquisitionEvent, AcquisitionState, next_state
from maxdaq_tango.model.texts import encoded, latin_text, ranges_text

__all__ = [
    "BUSY_STATES",
    "DEEPEST",
    "FATE_MEANINGS",
    "LEAST_PREVIEW_PX",
    "MISSING_LISTED",
    "MOST_ENGINES",
    "MOST_FRAMES_PER_FILE",
    "MOST_MODULES",
    "MOST_PREVIEW_PX",
    "NOTHING_PINNED",
    "PLACES",
    "TRANSITIONS",
    "AcquisitionEvent",
    "AcquisitionSettings",
    "AcquisitionState",
    "Buffer",
    "Compression",
    "Counters",
    "DamagedFrame",
    "Encoding",
    "ErrorText",
    "Fate",
    "FileBackend",
    "FileNaming",
    "Frame",
    "FrameFormat",
    "ModuleEnd",
    "ModuleEvent",
    "ModuleFrame",
    "ModuleStart",
    "Orientation",
    "Pinned",
    "PixelSteps",
    "Preview",
    "PreviewMethod",
    "PreviewSettings",
    "Receipt",
    "RunRequest",
    "ScanLink",
    "ScanMaster",
    "SeriesEnd",
    "SeriesNote",
    "SeriesStart",
    "StreamDescription",
    "StreamFormat",
    "TriggerMode",
    "Verdict",
    "Verification",
    "WireEvent",
    "checked_method",
    "checked_size",
    "encoded",
    "is_deeper",
    "latin_text",
    "next_state",
    "ranges_text",
]
