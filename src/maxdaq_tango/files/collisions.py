"""Is anything in the way of the files that a run is going to make? Looked at before anybody is armed; makes nothing."""

from __future__ import annotations

from maxdaq_tango.files.block_names import BlockNames
from maxdaq_tango.files.paths import refuse_unfinished, resolve_destination
from maxdaq_tango.files.scan_master import refuse_taken_master


def refuse_taken(
    path: str,
    roots: tuple[str, ...],
    *,
    overwrite: bool,
    in_blocks: bool = False,
    block_count: int | None = None,
    scan_master: str = "",
) -> None:
    """FileError that names what is in the way of the file at `path`, of its data files, or of a scan master. "" = none.

    `in_blocks`: it will have data files beside it, `block_count` of them where that is known. Somebody may take a name
    after this: whoever makes the file finds that out.
    """
    if path:
        destination = resolve_destination(path, roots, overwrite=overwrite)
        refuse_unfinished(destination)
        if in_blocks:
            BlockNames.of(destination.final).refuse_existing(block_count, overwrite=overwrite)
    if scan_master:
        refuse_taken_master(scan_master, roots, overwrite=overwrite)
