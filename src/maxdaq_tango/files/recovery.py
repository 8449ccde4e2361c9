"""After a kill: the unfinished file of a direct-I/O series and its log become a file that can be read."""

from __future__ import annotations

from pathlib import Path

from maxdaq_tango.errors import FileError
from maxdaq_tango.files.completion import Completed, complete


def recover_part(part: Path) -> Completed:
    """Make `part` a whole HDF5 file of all frames whose pixels are what was written. May be repeated.

    Nothing is deleted or renamed. FileError when there is nothing to do it with, or the result cannot be read.
    """
    asked = f"recover {part}"
    if not part.is_file():
        raise FileError(asked, answer="there is no such file", accepted="the .part file of a run that was killed")
    try:
        return complete(part, verify=True)
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise FileError(asked, of=str(part), answer=str(error)) from error
