"""The bench of kernels measures what it says: real work, by every worker."""

from __future__ import annotations

import numpy as np

from maxdaq_tango.bench.kernels import SHAPE, Case, cases, measure
from maxdaq_tango.cli.bench_kernels import table


def test_every_kernel_can_be_called_and_says_how_much_it_does() -> None:
    seen = list(cases())
    assert len({case.name for case in seen}) == len(seen)
    for case in seen:
        case.make()()
        assert case.nbytes >= SHAPE[0] * SHAPE[1]


def test_each_worker_works_and_the_twin_as_well() -> None:
    calls: list[str] = []

    def make() -> object:
        name = f"worker {len(made)}"
        made.append(name)
        return lambda: calls.append(name)

    made: list[str] = []
    case = Case("nothing", 8, make, lambda: calls.append("twin"))  # type: ignore[arg-type]
    result = measure(case, 0.01, 2)
    assert set(calls) == {"worker 0", "worker 1", "twin"}
    assert result.gbytes_s > 0
    assert result.twin_gbytes_s is not None
    assert np.isfinite(result.threads_ratio)


def test_a_table_has_a_line_for_each() -> None:
    result = measure(Case("nothing", 8, lambda: lambda: None), 0.01, 1)
    assert table([result, result]).row_count == 2
    assert result.twin_gbytes_s is None
