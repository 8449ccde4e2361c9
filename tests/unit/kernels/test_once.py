"""What takes long to make is made once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from maxdaq_tango.kernels.once import compiled_once


def test_threads_that_need_it_at_the_same_time_wait_for_one_of_them() -> None:
    made: list[str] = []
    pause = threading.Event()

    @compiled_once
    def make(key: str) -> object:
        made.append(key)
        pause.wait(0.1)
        return object()

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(make, ["a", "b"] * 8))
    assert sorted(made) == ["a", "b"]
    assert len({id(one) for one in found}) == 2
