"""Slabs: any order, any size, any place gives the bytes of a plain file; a bad disk is told and hangs nobody."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maxdaq_tango.files import slabs
from maxdaq_tango.files.slabs import SlabPool, SlabWriter

SLAB = 1 << 14
POOL = SlabPool()


@pytest.fixture(params=["disk", "memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "memory" and not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no /dev/shm here")
    folder = tmp_path if request.param == "disk" else Path("/dev/shm")
    with tempfile.NamedTemporaryFile(dir=folder, prefix="maxdaq-test-") as file:
        yield Path(file.name)


def writer(path: Path, count: int = 3, threads: int = 2) -> SlabWriter:
    return SlabWriter(path, slab_nbytes=SLAB, slabs=count, threads=threads, pool=POOL)


blobs = st.lists(
    st.tuples(st.integers(0, 3 * SLAB), st.integers(0, 3 * SLAB), st.integers(1, 255), st.sampled_from([True, False])),
    max_size=10,
)


@pytest.mark.parametrize("ascending", [True, False])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(puts=blobs, before=st.integers(0, SLAB + 100))
def test_any_order_and_size_gives_the_bytes_of_a_plain_file(
    path: Path, ascending: bool, puts: list[tuple[int, int, int, bool]], before: int
) -> None:
    """Ascending with gaps is how HDF5 writes; going back is what it may do. Only gaps may hold anything: they are
    metadata, which come later."""
    path.write_bytes(b"\xee" * before)
    model, known = bytearray(b"\xee" * before), bytearray(b"\1" * before)
    under_test = writer(path)
    place = before
    for gap, nbytes, value, flush in puts:
        offset = place + gap if ascending else before + gap
        data = bytes([value]) * nbytes
        under_test.put(offset, data)
        for image, content in ((model, data), (known, b"\1" * nbytes)):
            image.extend(bytes(max(0, offset + nbytes - len(image))))
            image[offset : offset + nbytes] = content
        place = offset + nbytes
        if flush:
            under_test.flush()
    under_test.close()
    there = path.read_bytes().ljust(len(model), b"\0")
    assert [i for i, k in enumerate(known) if k and there[i] != model[i]] == []


def test_a_disk_that_refuses_direct_writes_gets_them_through_the_page_cache(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    under_test = writer(path)
    assert under_test.direct
    write, calls = slabs._write_all, []

    def refuse(handle: int, view: memoryview, offset: int) -> None:
        calls.append(handle)
        if handle == under_test._handle:
            raise OSError(errno.EINVAL, "not so")
        write(handle, view, offset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slabs, "_write_all", refuse)
        under_test.put(0, b"a" * (3 * SLAB + 5))
        under_test.close()
    assert not under_test.direct
    assert len(set(calls)) == 2
    assert path.read_bytes()[: 3 * SLAB + 5] == b"a" * (3 * SLAB + 5)


def failing(number: int) -> Callable[[int, memoryview, int], None]:
    def fail(handle: int, view: memoryview, offset: int) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_an_error_of_the_disk_is_raised_by_what_is_asked_next_and_again_at_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_test = writer(path)
    monkeypatch.setattr(slabs, "_write_all", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        under_test.put(0, b"a" * 20 * SLAB)  # more than the slabs hold: nobody waits for one that never comes
    with pytest.raises(OSError, match="No space left"):
        under_test.flush()
    with pytest.raises(OSError, match="No space left"):
        under_test.close()
    under_test.close()


def test_put_waits_for_a_slow_disk_and_holds_no_more_than_its_slabs(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, go, most = slabs._write_all, threading.Semaphore(0), 0
    under_test = writer(path, count=3)

    def slow(handle: int, view: memoryview, offset: int) -> None:
        go.acquire()
        write(handle, view, offset)

    monkeypatch.setattr(slabs, "_write_all", slow)
    done: list[int] = []

    def produce() -> None:
        for number in range(12):
            under_test.put(number * SLAB, bytes([number + 1]) * SLAB)
            done.append(number)

    thread = threading.Thread(target=produce, name="producer")
    thread.start()
    for _ in range(12):
        most = max(most, under_test.bytes_waiting)
        assert len(done) <= 12
        go.release()
    thread.join()
    for _ in range(12):
        go.release()
    under_test.close()
    assert most <= 3 * SLAB
    assert path.read_bytes() == b"".join(bytes([n + 1]) * SLAB for n in range(12))


def test_slabs_are_used_again_by_the_next_file(tmp_path: Path) -> None:
    pool, ids = SlabPool(), []
    for number in range(3):
        path = tmp_path / str(number)
        path.write_bytes(b"")
        under_test = SlabWriter(path, slab_nbytes=SLAB, slabs=2, threads=1, pool=pool)
        ids.append({id(slab) for slab in under_test._slabs})
        under_test.put(0, b"x" * 100)
        under_test.close()
    assert ids[0] == ids[1] == ids[2]


def test_abandoning_leaves_no_thread_and_closing_after_it_is_harmless(path: Path) -> None:
    under_test = writer(path)
    under_test.put(0, b"x" * 100)
    under_test.abandon()
    under_test.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("slab writer")]
