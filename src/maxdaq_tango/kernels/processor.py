"""Can this processor run the wheel of bitshuffle at all? Looked at before it is imported.

The wheels of PyPI for x86-64 are compiled for AVX2 and look at nothing: on an older processor the first call ends the
process with an illegal instruction, in the middle of a run and without a word.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from maxdaq_tango.errors import ConfigurationError

CPU_INFO = Path("/proc/cpuinfo")
BUILT_HERE = "MAXDAQ_BITSHUFFLE_BUILT_HERE"
"""Environment variable: any value says that bitshuffle was compiled for this processor."""


def check_processor(machine: str | None = None) -> None:
    """ConfigurationError on an x86-64 without AVX2, unless BUILT_HERE is set. `machine` as `platform.machine` says."""
    if (machine or platform.machine()) not in ("x86_64", "AMD64") or BUILT_HERE in os.environ:
        return
    try:
        text = CPU_INFO.read_text()
    except OSError:  # another system: nothing is known, so nothing is refused
        return
    flags = next((line.split(":", 1)[1].split() for line in text.splitlines() if line.startswith("flags")), None)
    if flags is not None and "avx2" not in flags:
        raise ConfigurationError(
            "load bitshuffle",
            of="this processor",
            answer="it has no AVX2, and the wheel of bitshuffle is compiled for it",
            accepted="pip install --no-binary bitshuffle --force-reinstall bitshuffle, which compiles it for this "
            f"machine; then set {BUILT_HERE}=1",
        )
