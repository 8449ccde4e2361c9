"""The pool by itself: what goes in comes out once, within its bytes, whatever the work does."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest

from maxdaq_tango.errors import WireError
from maxdaq_tango.model import Encoding, Frame, FrameFormat
from maxdaq_tango.pipeline.pool import Job, Pool, Work, usable_cores, worker_count

WAIT_S = 10.0
FORMAT = FrameFormat((10, 10), "uint8", Encoding.NONE)
ROOM = 100
COST = Job(0, Frame(series="", frame_number=0, format=FORMAT, blobs=(bytes(100),)), 0.0).nbytes + ROOM
"""Of one job: what came, and room for what goes out."""

MakePool = Callable[..., Pool]


def frame(number: int) -> Frame:
    return Frame(series="", frame_number=number, format=FORMAT, blobs=(bytes([number % 256]) * 100,))


def job(number: int) -> Job:
    return Job(number, frame(number), float(number))


def copied(frame: Frame, into: memoryview) -> Frame:
    """Work that does nothing but use the memory that it was lent."""
    into[:100] = frame.blobs[0]
    return Frame(series="", frame_number=frame.frame_number, format=FORMAT, blobs=(into[:100],))


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    pools: list[Pool] = []

    def make(work: Work = copied, *, jobs: int = 1000, workers: int = 2) -> Pool:
        pool = Pool(work, room=ROOM, limit_bytes=jobs * COST, workers=workers, wake=lambda: None, name="packer")
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        pool.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("packer")]


def take(pool: Pool) -> Job:
    done = pool.next_done(wait=True)
    assert done is not None
    return done


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_job_comes_back_once_with_what_the_work_made(make_pool: MakePool, workers: int) -> None:
    pool = make_pool(workers=workers)
    for number in range(200):
        assert pool.put(job(number))
    rows = set()
    while (done := pool.next_done(wait=True)) is not None:
        assert bytes(done.frame.blobs[0]) == bytes([done.row % 256]) * 100
        assert (done.frame.frame_number, done.received_at, done.error) == (done.row, float(done.row), None)
        rows.add(done.row)
        pool.give_back(done)
    assert rows == set(range(200))
    assert (pool.inside, pool.nbytes) == (0, 0)


def test_one_worker_keeps_the_order(make_pool: MakePool) -> None:
    pool = make_pool(workers=1)
    for number in range(20):
        pool.put(job(number))
    assert [take(pool).row for _ in range(20)] == list(range(20))


def test_what_is_ready_first_comes_out_first(make_pool: MakePool) -> None:
    go_on = threading.Event()

    def slow_first(frame: Frame, into: memoryview) -> Frame:
        if frame.frame_number == 0:
            assert go_on.wait(WAIT_S)
        return copied(frame, into)

    pool = make_pool(slow_first, workers=2)
    for number in range(3):
        pool.put(job(number))
    assert [take(pool).row for _ in range(2)] == [1, 2]
    assert pool.next_done(wait=False) is None
    go_on.set()
    assert take(pool).row == 0


def test_a_full_pool_takes_nothing_until_something_is_given_back(make_pool: MakePool) -> None:
    pool = make_pool(jobs=4)
    for number in range(4):
        assert pool.put(job(number))
    assert not pool.put(job(4))
    done = take(pool)
    assert not pool.put(job(4))  # taken out, but its memory is still in use
    pool.give_back(done)
    assert pool.put(job(4))
    assert pool.nbytes == pool.limit_bytes


def test_bytes_inside_never_pass_the_limit_however_slowly_they_are_taken_out(make_pool: MakePool) -> None:
    pool = make_pool(jobs=7, workers=3)
    most = number = taken = 0
    while taken < 100:
        while number < 100 and pool.put(job(number)):
            number += 1
            most = max(most, pool.nbytes)
        pool.give_back(take(pool))
        taken += 1
    assert most == pool.limit_bytes


def test_a_job_larger_than_the_limit_passes_alone(make_pool: MakePool) -> None:
    pool = make_pool(jobs=0)
    assert pool.put(job(0))
    assert not pool.put(job(1))
    pool.give_back(take(pool))
    assert pool.put(job(1))


def test_memory_is_used_again_the_last_used_first(make_pool: MakePool) -> None:
    pool = make_pool(workers=1)
    used = set()
    for number in range(50):
        pool.put(job(number))
        done = take(pool)
        used.add(id(done.memory))
        pool.give_back(done)
    assert len(used) == 1


def test_a_compressed_frame_counts_as_large_as_it_unpacks() -> None:
    small = Frame(series="", frame_number=0, format=FrameFormat((10, 10), "uint8", Encoding.BSLZ4), blobs=(b"x" * 20,))
    assert Job(0, small, 0.0).nbytes == job(0).nbytes


@pytest.mark.parametrize("error", [WireError("unpack"), KeyError("a bug"), MemoryError("none left")])
def test_a_failure_stays_with_its_job(make_pool: MakePool, error: Exception) -> None:
    def fail_at_two(frame: Frame, into: memoryview) -> Frame:
        if frame.frame_number == 2:
            raise error
        return copied(frame, into)

    pool = make_pool(fail_at_two)
    for number in range(5):
        pool.put(job(number))
    errors: dict[int, Exception | None] = {}
    while (done := pool.next_done(wait=True)) is not None:
        errors[done.row] = done.error
        assert done.frame.frame_number == done.row
        pool.give_back(done)
    assert errors == {0: None, 1: None, 2: error, 3: None, 4: None}


def test_what_no_worker_has_begun_can_be_taken_back(make_pool: MakePool) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def wait(frame: Frame, into: memoryview) -> Frame:
        begun.release()
        assert go_on.wait(WAIT_S)
        return copied(frame, into)

    pool = make_pool(wait, workers=2)
    for number in range(10):
        pool.put(job(number))
    for _ in range(2):
        assert begun.acquire(timeout=WAIT_S)
    assert sorted(job.row for job in pool.drop()) == list(range(2, 10))
    assert pool.drop() == []
    go_on.set()
    assert sorted(take(pool).row for _ in range(2)) == [0, 1]


def test_closing_ends_the_threads_after_the_work_and_may_be_repeated(make_pool: MakePool) -> None:
    pool = make_pool(workers=3)
    for number in range(30):
        pool.put(job(number))
    pool.close()
    pool.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("packer")]
    assert sorted(take(pool).row for _ in range(30)) == list(range(30))


def test_an_empty_pool_has_nothing_and_does_not_wait(make_pool: MakePool) -> None:
    pool = make_pool()
    assert pool.next_done(wait=True) is None
    assert pool.next_done(wait=False) is None


def test_a_frame_that_was_given_back_is_kept_alive_by_nobody(make_pool: MakePool) -> None:
    class Blob(bytearray):
        pass

    blob = Blob(100)
    gone = weakref.ref(blob)
    pool = make_pool(workers=1)
    pool.put(Job(0, Frame(series="", frame_number=0, format=FORMAT, blobs=(blob,)), 0.0))
    del blob
    pool.give_back(take(pool))
    # The worker lets go of a job only behind the wake; the next one proves that it has.
    pool.put(job(1))
    pool.give_back(take(pool))
    gc.collect()
    assert gone() is None


def test_whoever_waits_for_something_else_is_woken_by_every_job_that_is_done() -> None:
    woken = threading.Semaphore(0)
    pool = Pool(copied, room=ROOM, limit_bytes=1 << 20, workers=2, wake=woken.release)
    for number in range(3):
        pool.put(job(number))
    for _ in range(3):
        assert woken.acquire(timeout=WAIT_S)
    pool.close()


def test_workers_are_as_many_as_asked_or_as_cores_within_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker_count(3) == 3
    assert usable_cores() >= 1
    for cores, workers in ((1, 1), (2, 2), (64, 8)):
        monkeypatch.setattr("maxdaq_tango.pipeline.pool.usable_cores", lambda cores=cores: cores)
        assert worker_count(0) == workers


def test_a_pool_that_grows_has_as_many_threads_as_there_is_work_for() -> None:
    go_on = threading.Semaphore(0)

    def wait(frame: Frame, memory: memoryview) -> Frame:
        go_on.acquire()
        return frame

    pool = Pool(wait, room=ROOM, limit_bytes=1 << 20, workers=3, wake=lambda: None, grows=True)
    try:
        assert pool.worker_count == 1
        for number in range(6):
            pool.put(job(number))
        assert pool.worker_count == pool.most_workers == 3
        go_on.release(6)
        for _ in range(6):
            done = pool.next_done(wait=True)
            assert done is not None
            pool.give_back(done)
    finally:
        pool.close()
