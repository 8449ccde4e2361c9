"""All that may lie beside an unfinished file."""

from __future__ import annotations

from pathlib import Path

from maxdaq_tango.files.closed_state import remove_state, state_path
from maxdaq_tango.files.frame_log import log_path, remove_log
from maxdaq_tango.files.manifest import manifest_path
from maxdaq_tango.files.ownership import remove_record
from maxdaq_tango.files.paths import move_aside
from maxdaq_tango.files.reserve import remove_reserve


def away_path(part: Path) -> Path:
    """Beside the unfinished master of a series of which data files are in the spill directory (`away.py`)."""
    return part.with_name(part.name + ".away")


def remove_side_files(part: Path) -> None:
    """When the file itself is whole, or gone. Harmless where there are none."""
    remove_log(part)
    remove_state(part)
    remove_reserve(part)
    remove_record(part)


def move_side_files_aside(part: Path) -> None:
    """Before `part` is made: what lies there belongs to one that somebody has taken away. It is kept."""
    remove_reserve(part)
    move_aside(log_path(part))
    move_aside(state_path(part))
    move_aside(manifest_path(part))
    move_aside(away_path(part))
