"""Real recorded streams for the tests of this folder, where there are any."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from maxdaq_tango.wire.capture import read_capture

CAPTURES = Path(os.environ.get("MAXDAQ_CAPTURES", Path(__file__).parents[3].parent / "shared" / "captures"))


@pytest.fixture
def capture() -> Callable[[str], list[list[bytes]]]:
    """The messages of a recorded stream by its short name; skips where the recordings are not there."""

    def read(name: str) -> list[list[bytes]]:
        path = CAPTURES / f"{name}.cborseq.gz"
        if not path.exists():
            pytest.skip(f"no recorded stream {path.name}; set MAXDAQ_CAPTURES to the folder that has it")
        return list(read_capture(path))

    return read
