"""Reads an image file whole, with no more memory than it needs."""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from maxdaq_tango.errors import WireError

LARGEST_FILE = 1 << 30


class ImageBytes(NamedTuple):
    """What a name stood for when it was read."""

    data: bytes
    inode: int


def read_image(path: str) -> ImageBytes:
    """OSError; WireError for what can be no image: it is not read then."""
    # A pipe, too, is opened at once, and then refused.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode) or about.st_size > LARGEST_FILE:
            answer = f"{about.st_size} bytes" if stat.S_ISREG(about.st_mode) else "no regular file"
            raise WireError("read an image", answer=answer, accepted=f"a file of at most {LARGEST_FILE} bytes")
        return ImageBytes(file.read(about.st_size), about.st_ino)
