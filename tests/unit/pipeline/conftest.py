"""The receiver of a test, gone at its end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dealing import crew
from maxdaq_tango.model import Encoding, Frame, FrameFormat
from maxdaq_tango.wire import stins
from receiving import (
    Harness,
)


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    harness = Harness(tmp_path)
    yield harness
    harness.receiver.close()
    harness.context.destroy(0)
    left = [t.name for t in threading.enumerate() if t.name.startswith(("ingest", "collector", "packer"))]
    assert left == []


@pytest.fixture
def large(harness: Harness) -> Iterator[Any]:
    """Sends frames of 2 MB that are stored as they come."""
    format = FrameFormat((1000, 1000), "uint16", Encoding.NONE)

    def send(number: int) -> None:
        blob = np.full((1000, 1000), number, "<u2").tobytes()
        frame = Frame(series="", frame_number=number, format=format, blobs=(blob,))
        harness.sender.send(stins.encode_image(harness.sender._next(), frame))

    yield send
    for writer in crew(harness):
        if writer.is_alive:
            os.kill(writer.pid, signal.SIGCONT)
