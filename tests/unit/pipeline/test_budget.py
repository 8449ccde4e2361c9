from __future__ import annotations

import pytest

from maxdaq_tango.pipeline.budget import SLABS_MOST_BYTES, deal_out


@pytest.mark.parametrize("engines", [1, 2, 16])
@pytest.mark.parametrize("sources", [1, 2, 16])
@pytest.mark.parametrize("memory_bytes", [0, 1, 15, 1000, 153_600, (16 << 20) + 7, 256 << 20, 1 << 30, 1 << 40])
def test_the_shares_are_the_budget_and_none_is_negative(memory_bytes: int, sources: int, engines: int) -> None:
    shares = deal_out(memory_bytes, sources, engines)
    assert shares.total == memory_bytes
    assert min(shares.sockets, shares.queue, shares.held, shares.pool, shares.slabs, shares.arenas) >= 0
    assert shares.queue >= memory_bytes // 5
    assert shares.slabs <= SLABS_MOST_BYTES * engines
    assert (shares.arenas > 0) == (engines > 1 and memory_bytes >= 4)


def test_frames_overtake_their_header_only_with_several_sockets() -> None:
    assert deal_out(1 << 30, 1).held == 0
    assert deal_out(1 << 30, 2).held == 1 << 27
