"""The bitshuffle package, once it is known that this processor can run it."""

from __future__ import annotations

from maxdaq_tango.kernels.processor import check_processor

check_processor()

import bitshuffle  # noqa: E402
import bitshuffle.ext  # noqa: E402

__all__ = ["bitshuffle"]
