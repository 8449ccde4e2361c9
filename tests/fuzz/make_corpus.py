"""Writes the stored corpus anew, from our own encoders: `python tests/fuzz/make_corpus.py`. Regressions stay."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from fuzz.targets import NAMES, target  # noqa: E402


def main() -> None:
    """A file for each seed."""
    for name in NAMES:
        folder = HERE / "corpus" / name
        folder.mkdir(parents=True, exist_ok=True)
        for seed, data in target(name).seeds().items():
            (folder / seed).write_bytes(data)


if __name__ == "__main__":
    main()
