"""Which release of this package a device runs."""

from __future__ import annotations

from maxdaq_tango import __version__
from maxdaq_tango.tango_support.attributes import told


class VersionAttribute:
    """Mixed into every device class: directly, as Tango looks no deeper for attributes."""

    Version = told(
        lambda self: __version__,
        dtype=str,
        label="Version",
        doc="Release of maxdaq-tango that this server runs; receipts and files name the one that made them.",
    )
