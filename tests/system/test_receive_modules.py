"""`maxdaq receive` of a detector whose modules send their own parts, and `maxdaq check` of what it wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest
import zmq

from module_parts import whole
from module_senders import Jungfrau, Lambda
from system.processes import Command


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    context: zmq.Context[Any] = zmq.Context()
    yield context
    context.destroy(0)


@pytest.fixture
def four(context: zmq.Context[Any]) -> Lambda:
    return Lambda(context)


@pytest.fixture
def jungfrau(context: zmq.Context[Any]) -> Jungfrau:
    return Jungfrau(context)


Start = Callable[..., Command]


@pytest.fixture
def maxdaq(tmp_path: Path) -> Iterator[Start]:
    commands: list[Command] = []

    def start(*words: str) -> Command:
        commands.append(Command(tmp_path, *words))
        return commands[-1]

    yield start
    for command in commands:
        command.clean_up()


def receive(maxdaq: Start, format: str, endpoints: tuple[str, ...]) -> Command:
    sources = [word for endpoint in endpoints for word in ("--source", endpoint)]
    return maxdaq("receive", *sources, "--format", format, "--output", "a.h5", "--module-wait", "0.5", "--json")


@pytest.mark.lesson(18)
def test_a_lambda_with_a_module_missing_is_told_by_status_receipt_and_file(maxdaq: Start, four: Lambda) -> None:
    received = receive(maxdaq, "lambda-modules", four.endpoints)
    four.header()
    four.image(0)
    four.image(1, 0, 1, 2)
    four.lose(3)
    four.end()
    assert received.wait() == 1
    receipt = json.loads(received.out)
    assert (receipt["verdict"], receipt["modules_missing"]) == ("INCOMPLETE", [0, 0, 0, 1])
    with h5py.File(receipt["file"], "r") as file:
        np.testing.assert_array_equal(file[receipt["dataset"]][...], [whole(0, 4), whole(1, 4, (3,))])
    checked = maxdaq("check", "a.h5")
    assert checked.wait() == 0, checked.out  # it says so truthfully


@pytest.mark.lesson(19)
def test_a_jungfrau_is_received(maxdaq: Start, jungfrau: Jungfrau) -> None:
    received = receive(maxdaq, "sls-json", jungfrau.endpoints)
    jungfrau.wait_subscribed()
    for number in range(3):
        jungfrau.image(number)
    jungfrau.end()
    assert received.wait() == 0
    receipt = json.loads(received.out)
    assert (receipt["verdict"], receipt["modules"], receipt["first_frame_number"]) == ("COMPLETE", 2, 101)
    with h5py.File(receipt["file"], "r") as file:
        np.testing.assert_array_equal(file[receipt["dataset"]][...], [whole(number, 2) for number in range(3)])


def test_a_jungfrau_is_converted_on_the_way(maxdaq: Start, jungfrau: Jungfrau, tmp_path: Path) -> None:
    shape = whole(0, 2).shape
    np.save(tmp_path / "c.npy", np.stack([np.full((3, *shape), 10.0), np.full((3, *shape), 4.0)]))
    words = ("--convert", "energy", "--calibration", "c.npy", "--source", jungfrau.endpoints[1])
    received = maxdaq(
        "receive", "--source", jungfrau.endpoints[0], *words, "--format", "sls-json", "--output", "a.h5", "--json"
    )
    jungfrau.wait_subscribed()
    for number in range(3):
        jungfrau.image(number)
    jungfrau.end()
    assert received.wait() == 0
    receipt = json.loads(received.out)
    assert (receipt["verdict"], receipt["dtype"]) == ("COMPLETE", "float32")
    with h5py.File(receipt["file"], "r") as file:
        wanted = [(whole(number, 2).astype(np.float32) - 10) / 4 for number in range(3)]
        np.testing.assert_array_equal(file[receipt["dataset"]][...], wanted)


def test_a_conversion_without_a_calibration_is_one_sentence(maxdaq: Start, jungfrau: Jungfrau) -> None:
    refused = maxdaq("receive", "--source", jungfrau.endpoints[0], "--format", "sls-json", "--convert", "counts")
    assert refused.wait() != 0
    assert "calibration" in refused.err
    assert "Traceback" not in refused.err
