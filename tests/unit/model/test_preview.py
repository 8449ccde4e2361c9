"""How large a preview may be, and how it may be made."""

from __future__ import annotations

import pytest

from maxdaq_tango.errors import ConfigurationError
from maxdaq_tango.model import PreviewMethod, checked_method, checked_size


@pytest.mark.parametrize("size", [16, 17, 512, 1024])
def test_sizes_that_make_sense(size: int) -> None:
    assert checked_size(size) == size


@pytest.mark.parametrize("size", [-512, -1, 0, 1, 15, 1025, 1 << 40])
@pytest.mark.lesson(44)
def test_sizes_that_make_none_are_refused_with_what_would_be_accepted(size: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"largest side of {size} pixels.*16 to 1024 pixels"):
        checked_size(size, "lab/receiver/1")


@pytest.mark.parametrize("text", ["max", " MAX ", "Mean"])
def test_methods_by_their_words(text: str) -> None:
    assert checked_method(text) is PreviewMethod(text.strip().lower())


@pytest.mark.parametrize("text", ["", "min", "2"])
def test_other_words_are_refused_with_those_that_there_are(text: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"preview by '{text}'.*max or mean"):
        checked_method(text)
