"""Slabs: any size at any moment gives the bytes of a plain file; a bad disk is told and hangs nobody."""

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

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
SLAB = 1 << 14
POOL = SlabPool()


@pytest.fixture(params=["disk", "memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if request.param == "memory" and not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no /dev/shm here")
    folder = tmp_path if request.param == "disk" else Path("/dev/shm")
    with tempfile.NamedTemporaryFile(dir=folder, prefix="maxdaq-test-") as file:
        yield Path(file.name)


class Seen:
    """Stands for a checksum: all that it was shown."""

    def __init__(self) -> None:
        self.data = b""

    def update(self, data: bytes | memoryview) -> None:
        self.data += bytes(data)


def writer(path: Path, count: int = 3, threads: int = 2, start: int = 0) -> SlabWriter:
    return SlabWriter(path, start=start, slab_nbytes=SLAB, slabs=count, threads=threads, pool=POOL)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 3 * SLAB), st.integers(1, 255)),
        st.tuples(st.sampled_from(["flush", "advance"]), st.just(0), st.just(0)),
    ),
    max_size=12,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, start=st.integers(0, 20), piece=st.sampled_from([1, 1000, 1 << 18]))
def test_any_sizes_and_moments_give_the_bytes_one_behind_the_other(
    path: Path, steps: list[tuple[str, int, int]], start: int, piece: int
) -> None:
    before = b"\xee" * (start * slabs.ALIGNMENT)
    path.write_bytes(before)
    model = before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slabs, "PIECE_NBYTES", piece)
        under_test = writer(path, start=len(before))
        for what, nbytes, value in steps:
            if what == "append":
                seen, data = Seen(), bytes([value]) * nbytes
                assert under_test.append(memoryview(data), seen) == len(model)
                assert seen.data == data
                model += data
            elif what == "advance":
                under_test.advance()
            else:
                under_test.flush()
                assert under_test.safe_end == under_test.end == len(model)
                assert path.read_bytes()[: len(model)] == model
        under_test.close()
    assert path.read_bytes() == model


def test_what_is_safe_grows_block_by_block_and_never_past_what_was_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, go = slabs._write_all, threading.Semaphore(0)
    under_test = writer(path, threads=1)

    def held(handle: int, view: memoryview, offset: int) -> None:
        go.acquire()
        if offset >= SLAB:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        write(handle, view, offset)

    monkeypatch.setattr(slabs, "_write_all", held)
    under_test.append(bytes(2 * SLAB + 10), Seen())
    assert under_test.safe_end == 0
    go.release()
    with under_test._changed:
        assert under_test._changed.wait_for(lambda: under_test.bytes_waiting == SLAB, 10)
    assert under_test.safe_end == SLAB
    go.release()
    with pytest.raises(OSError, match="Input/output error"):
        under_test.flush()
    assert under_test.safe_end == SLAB
    under_test.abandon()


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
        under_test.append(b"a" * (3 * SLAB + 5), Seen())
        under_test.close()
    assert not under_test.direct
    assert len(set(calls)) == 2
    assert path.read_bytes() == b"a" * (3 * SLAB + 5)


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
        under_test.append(b"a" * 20 * SLAB, Seen())  # more than the slabs hold: nobody waits for one that never comes
    with pytest.raises(OSError, match="No space left"):
        under_test.flush()
    with pytest.raises(OSError, match="No space left"):
        under_test.close()
    under_test.close()


@pytest.mark.lesson(25)
@pytest.mark.parametrize("error", [MemoryError("no more"), KeyError("x"), SystemExit(1)])
def test_whatever_a_thread_meets_is_raised_and_nobody_waits_for_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    under_test = writer(path)

    def meet(handle: int, view: memoryview, offset: int) -> None:
        raise error

    monkeypatch.setattr(slabs, "_write_all", meet)
    under_test.append(b"a" * 10, Seen())
    for ask in (under_test.flush, under_test.flush, under_test.close):
        with pytest.raises(RuntimeError, match=f"internal error, please report it: {type(error).__name__}"):
            ask()
    under_test.close()
    assert under_test.safe_end == 0
    assert not [t.name for t in threading.enumerate() if t.name.startswith("slab writer")]


def test_slabs_of_a_disk_that_failed_can_make_way_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, path = SlabPool(), tmp_path / "file"
    path.write_bytes(b"")
    under_test = SlabWriter(path, start=0, slab_nbytes=SLAB, slabs=2, threads=1, pool=pool)
    held = list(under_test._slabs)
    monkeypatch.setattr(slabs, "_write_all", failing(errno.EIO))
    under_test.append(bytes(10), Seen())
    with pytest.raises(OSError, match="Input/output"):
        under_test.flush()
    under_test.abandon()
    for slab in pool.take(2 * SLAB, 1):
        slab.close()
    assert all(slab.closed for slab in held)
    view = memoryview(pool.take(SLAB, 1)[0])
    pool.give([view.obj])  # type: ignore[list-item]
    pool.take(2 * SLAB, 1)[0].close()  # somebody still looks at the other one
    view.release()


def test_append_waits_for_a_slow_disk_and_holds_no_more_than_its_slabs(
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
            under_test.append(bytes([number + 1]) * SLAB, Seen())
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


def test_a_slab_is_not_used_again_while_an_earlier_part_of_it_is_on_its_way(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first half of a slab is with a thread that does not come to write it; the second half overtakes it."""
    write, held, go = slabs._write_all, threading.Event(), threading.Event()

    def first_is_slow(handle: int, view: memoryview, offset: int) -> None:
        if offset == 0:
            held.set()
            assert go.wait(20)
        write(handle, view, offset)

    monkeypatch.setattr(slabs, "_write_all", first_is_slow)
    under_test = writer(path, count=2, threads=2)
    under_test.append(b"1" * (SLAB // 2), Seen())
    under_test.advance()
    assert held.wait(20)
    for value in (b"2" * (SLAB // 2), b"3" * SLAB, b"4" * SLAB, b"5" * SLAB):
        under_test.append(value, Seen())
        with under_test._changed:
            assert under_test._changed.wait_for(lambda: under_test.bytes_waiting == SLAB // 2, 20)
    assert under_test.safe_end == 0
    go.set()
    under_test.close()
    assert path.read_bytes() == b"1" * (SLAB // 2) + b"2" * (SLAB // 2) + b"3" * SLAB + b"4" * SLAB + b"5" * SLAB


def test_slabs_are_used_again_by_the_next_file(tmp_path: Path) -> None:
    pool, ids = SlabPool(), []
    for number in range(3):
        path = tmp_path / str(number)
        path.write_bytes(b"")
        under_test = SlabWriter(path, start=0, slab_nbytes=SLAB, slabs=2, threads=1, pool=pool)
        ids.append({id(slab) for slab in under_test._slabs})
        under_test.append(b"x" * 100, Seen())
        under_test.close()
    assert ids[0] == ids[1] == ids[2]


@pytest.mark.skipif(not HUGE_PAGES.exists() or "[never]" in HUGE_PAGES.read_text(), reason="no huge pages here")
def test_slabs_lie_on_huge_pages() -> None:
    nbytes = 32 << 20
    before = huge_bytes()
    taken = SlabPool().take(nbytes, 2)
    assert huge_bytes() - before >= len(taken) * (nbytes - (4 << 20))  # at both ends a part of a page may be left over
    for slab in taken:
        slab.close()


def huge_bytes() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("AnonHugePages"))


def test_abandoning_leaves_no_thread_and_closing_after_it_is_harmless(path: Path) -> None:
    under_test = writer(path)
    under_test.append(b"x" * 100, Seen())
    under_test.abandon()
    under_test.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("slab writer")]
