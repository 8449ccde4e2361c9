"""The live view of a detector of modules: pictures come while the series runs, as those of whole frames do."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import numpy as np
import pytest

from maxdaq_tango.model import Preview, PreviewSettings, StreamFormat, Verdict
from maxdaq_tango.pipeline.sampler import Sampler
from module_parts import SHAPE, whole
from module_senders import Jungfrau, Lambda
from receiving import WAIT_S, Harness


@pytest.fixture
def pictures(harness: Harness) -> Iterator[queue.Queue[Preview]]:
    shown: queue.Queue[Preview] = queue.Queue()
    sampler = Sampler(harness.receiver._newest, PreviewSettings, shown.put)
    sampler.start()
    yield shown
    sampler.close()


@pytest.fixture(params=[Lambda, Jungfrau])
def detector(harness: Harness, request: pytest.FixtureRequest) -> Lambda | Jungfrau:
    made: Lambda | Jungfrau = request.param(harness.context, 2)
    return made


@pytest.mark.lesson(37)
def test_frames_are_shown_while_the_series_runs(
    harness: Harness, pictures: queue.Queue[Preview], detector: Lambda | Jungfrau
) -> None:
    format = StreamFormat.LAMBDA_MODULES if isinstance(detector, Lambda) else StreamFormat.SLS_JSON
    harness.prepare(sources=detector.endpoints, stream_format=format, module_wait_s=0.2)
    if isinstance(detector, Jungfrau):
        detector.wait_subscribed()
    else:
        detector.header()
    detector.image(0)
    first = pictures.get(timeout=WAIT_S)
    assert not harness.over.is_set()
    assert (first.run_number, first.factor) == (1, 1)
    np.testing.assert_array_equal(first.pixels, whole(0, 2).reshape(2 * SHAPE[0], SHAPE[1]))
    detector.image(1, 0)  # without the other module
    second = pictures.get(timeout=WAIT_S)
    np.testing.assert_array_equal(second.pixels, whole(1, 2, (1,)).reshape(2 * SHAPE[0], SHAPE[1]))
    detector.end()
    receipt = harness.receipt()
    assert (receipt.verdict, receipt.frames_written) == (Verdict.INCOMPLETE, 2)
