"""The receiver of a test, gone at its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

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
