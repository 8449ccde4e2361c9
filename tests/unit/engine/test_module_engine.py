"""Detectors of several modules through an engine of its own process, also with writer processes, and after a kill."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from engine_owner import WAIT_S, Owner
from maxdaq_tango.files import check_file, recover_file
from maxdaq_tango.model import AcquisitionState, FileBackend, Receipt, StreamFormat, Verdict
from module_parts import SHAPE, whole
from module_senders import Jungfrau, Lambda

FRAMES = 20
DEAD = 2


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    owner = Owner(tmp_path)
    yield owner
    owner.close()


@pytest.fixture
def four(owner: Owner) -> Lambda:
    return Lambda(owner.context)


@pytest.fixture
def jungfrau(owner: Owner) -> Jungfrau:
    return Jungfrau(owner.context)


def prepare(owner: Owner, detector: Lambda | Jungfrau, format: StreamFormat, **changes: Any) -> None:
    settings = {"sources": detector.endpoints, "stream_format": format, "module_wait_s": 0.3, "expected_frames": FRAMES}
    owner.engine.prepare(owner.request(**(settings | changes)))


def finished(owner: Owner) -> Receipt:
    assert owner.engine.wait_idle(WAIT_S)
    receipt = owner.engine.last_receipt
    assert receipt is not None
    assert check_file(receipt.file).problems == []
    return receipt


def pixels_of(path: str, dataset: str = "entry/data/data") -> np.ndarray[Any, Any]:
    with h5py.File(path, "r") as file:
        values: np.ndarray[Any, Any] = file[dataset][...]
        return values


@pytest.mark.lesson(18)
@pytest.mark.parametrize("backend", [FileBackend.SWMR, FileBackend.DIRECT])
@pytest.mark.parametrize("engines", [1, 2])
def test_a_lambda_with_a_dead_module_is_stored_pixel_by_pixel(
    owner: Owner, four: Lambda, engines: int, backend: FileBackend
) -> None:
    alive = [module for module in range(4) if module != DEAD]
    prepare(owner, four, StreamFormat.LAMBDA_MODULES, engines=engines, frames_per_file=6, backend=backend)
    four.header()
    for number in range(10):
        four.image(number)
    for number in range(10, FRAMES):
        four.image(number, *alive)
    four.end(*alive)
    receipt = finished(owner)
    assert (receipt.verdict, receipt.frames_written, receipt.shape) == (Verdict.INCOMPLETE, FRAMES, (FRAMES, 4, *SHAPE))
    assert (receipt.frames_partial_ranges, receipt.modules_missing) == (((10, 19),), (0, 0, 10, 0))
    expected = [whole(number, 4, (DEAD,) if number >= 10 else ()) for number in range(FRAMES)]
    np.testing.assert_array_equal(pixels_of(receipt.file), expected)
    with h5py.File(receipt.file, "r") as file:
        mask = file[receipt.dataset].parent["frame_metadata/modules_mask"][...]
    assert mask.tolist() == [15.0] * 10 + [11.0] * 10


@pytest.mark.lesson(19)
@pytest.mark.parametrize("engines", [1, 2])
def test_a_jungfrau_is_stored_pixel_by_pixel(owner: Owner, jungfrau: Jungfrau, engines: int) -> None:
    prepare(owner, jungfrau, StreamFormat.SLS_JSON, engines=engines)
    jungfrau.wait_subscribed()
    for number in range(FRAMES):
        jungfrau.image(number)
    jungfrau.end()
    receipt = finished(owner)
    assert (receipt.verdict, receipt.reasons) == (Verdict.COMPLETE, ())
    np.testing.assert_array_equal(pixels_of(receipt.file), [whole(number, 2) for number in range(FRAMES)])


@pytest.mark.parametrize("backend", [FileBackend.SWMR, FileBackend.DIRECT])
def test_after_a_kill_the_file_says_which_modules_each_frame_has(
    owner: Owner, four: Lambda, backend: FileBackend
) -> None:
    prepare(owner, four, StreamFormat.LAMBDA_MODULES, backend=backend)
    four.header(0, 1, 3)
    for number in range(5):
        four.image(number, 0, 1, 3)
    pause = threading.Event()
    for _ in range(1000):
        if owner.engine.counters().frames_safe >= 5:
            break
        pause.wait(0.01)
    assert owner.engine.pid is not None
    os.kill(owner.engine.pid, signal.SIGKILL)
    owner.wait(lambda: owner.told and owner.told[-1].state is AcquisitionState.FAULT)
    done = recover_file(owner.folder / ".a.h5.part")
    assert (done.problem, done.frames) == ("", 5)
    np.testing.assert_array_equal(pixels_of(done.file)[:5], [whole(number, 4, (DEAD,)) for number in range(5)])
    with h5py.File(done.file, "r") as file:
        mask = file["entry/instrument/detector/frame_metadata/modules_mask"][:5]
    assert mask.tolist() == [11.0] * 5


def test_writer_processes_store_the_same_pictures(owner: Owner, four: Lambda) -> None:
    places = {"x": (0, 5, 0, 5), "y": (0, 0, 3, 3)}
    prepare(owner, four, StreamFormat.LAMBDA_MODULES, engines=2, frames_per_file=6, stitch=True)
    for module in range(4):
        four.header(module, rotation=0, full_shape=[6, 10], **{key: values[module] for key, values in places.items()})
    for number in range(FRAMES):
        four.image(number)
    four.end()
    receipt = finished(owner)
    assert (receipt.verdict, receipt.shape) == (Verdict.COMPLETE, (FRAMES, 6, 10))
    expected = []
    for number in range(FRAMES):
        one, two, three, last = whole(number, 4)
        expected.append(np.vstack([np.hstack([one, two]), np.hstack([three, last])]))
    np.testing.assert_array_equal(pixels_of(receipt.file), expected)
