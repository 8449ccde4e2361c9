"""A new folder for everything that one command makes: nothing of an earlier one can be overwritten."""

from __future__ import annotations

from datetime import datetime
from itertools import count
from pathlib import Path

from maxdaq_tango.errors import LaunchError


def new_folder(directory: Path, kind: str) -> Path:
    """A folder that did not exist, `<kind>-<date>-<time>` below `directory`; LaunchError where none can be made."""
    stamp = datetime.now().astimezone().strftime(f"{kind}-%Y%m%d-%H%M%S")
    for number in count(1):
        folder = directory / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if directory.is_dir():
                continue  # another one of this second
            raise LaunchError("make a folder", of=str(directory), answer="there is a file of that name") from None
        except OSError as error:
            raise LaunchError(
                "make a folder",
                of=str(folder),
                answer=error.strerror or str(error),
                accepted="a place that can be written, with --directory",
            ) from None
        return folder.absolute()
    raise AssertionError("count() does not end")
