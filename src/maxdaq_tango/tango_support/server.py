"""How each of our device servers is run: `python -m <module> INSTANCE [Tango's options]`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from tango.server import Device, run

from maxdaq_tango.tango_support.event_pump import PUMP


def run_server(device_class: type[Device], arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; Tango then calls `delete_device` of every device, and this returns."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # one line for each of 20 looks a second
    try:
        run((device_class,), args=[device_class.__name__, *words])
    finally:
        PUMP.close()
