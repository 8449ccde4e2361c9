"""What may stand in a field of a topology, with the words for a person who put something else there."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from maxdaq_tango.deployment.typed_yaml import Described

Port = Annotated[int, Meta(ge=0, le=65535), Described("a port from 1 to 65535, or 0 for any free one")]
Pixels = Annotated[int, Meta(ge=1, le=16_384), Described("a whole number of pixels from 1 to 16384")]
Modules = Annotated[int, Meta(ge=1, le=64), Described("a whole number of modules from 1 to 64")]
Text = Annotated[str, Meta(min_length=1), Described("text that is not empty")]
Faulty = Annotated[
    tuple[str, ...], Described("a list of faults such as drop=0.01; docs/reference/simulated-eiger.md has them")
]
KeyFile = Annotated[str, Described("the path of a key file that `maxdaq keys` has made")]
Seed = Annotated[int, Meta(ge=0), Described("a whole number from 0")]
"""The same seed makes the same pixels."""
