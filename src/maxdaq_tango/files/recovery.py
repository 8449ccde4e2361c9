"""After a kill: the unfinished file of a direct-I/O series and its checkpoint become a file that can be read."""

from __future__ import annotations

from pathlib import Path

import h5py

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.checkpoint import apply_checkpoint, checkpoint_path


def recover_part(part: Path) -> int:
    """Lay the checkpoint over `part`; returns the number of frames that can be read. May be repeated.

    Nothing is deleted or renamed. FileError when there is nothing to do it with, or the result cannot be read.
    """
    asked = f"recover {part}"
    if not part.is_file():
        raise FileError(asked, answer="there is no such file", accepted="the .part file of a run that was killed")
    try:
        if not apply_checkpoint(part):
            raise FileError(
                asked,
                of=str(checkpoint_path(part)),
                answer="there is no checkpoint beside it",
                accepted="a file of backend direct; one of backend swmr is read as it is, with swmr=True",
            )
        with h5py.File(part, "r", locking=False) as file:
            groups = file["entry/instrument"].values()
            return sum(int(group["daq/frame_valid"][...].sum()) for group in groups if "daq/frame_valid" in group)
    except (OSError, KeyError, RuntimeError) as error:
        raise FileError(asked, of=str(part), answer=str(error)) from error
