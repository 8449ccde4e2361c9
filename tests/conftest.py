"""Puts the tests' own plugins on the path and loads them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

pytest_plugins = ("counterparts.plugin", "leaks")
