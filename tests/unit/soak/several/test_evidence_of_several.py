"""What is looked at when an acquisition of several detectors is over, with a site that is played."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from maxdaq_tango.detectors.simulation import SeriesAccount
from maxdaq_tango.model import TriggerMode
from maxdaq_tango.soak.evidence import FileEvidence
from maxdaq_tango.soak.several import acquisition
from maxdaq_tango.soak.several.recipe import Moment, Part, SeveralRecipe, Trick

DROPPED = {"words": ("drop_frames=3",), "dishes": ("drop",)}


@pytest.mark.parametrize("family", ["eiger", "pilatus"])
@pytest.mark.parametrize("faults", [{"words": (), "dishes": ()}, DROPPED])
def test_pixels_are_compared_also_where_a_stream_had_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, faults: dict[str, Any]
) -> None:
    part = Part(family=family, frames_per_trigger=5, exposure_s=0.01, overridden=False, **faults)
    recipe = SeveralRecipe(
        number=1,
        parts=(part,),
        trigger_mode=TriggerMode.INTERNAL,
        triggers=1,
        live=False,
        trick=Trick.NONE,
        victim=family,
        moment=Moment.RUNNING,
        at=0.5,
        look_seed=1,
    )
    account = SeriesAccount(series=1, frames_made=5, intact=((0, 2), (4, 4)), finished=True)
    member: Any = SimpleNamespace(
        family=family,
        device=f"a/detector/{family}",
        pixels=None,
        receiver=SimpleNamespace(LastReceipt=""),
        series=lambda: 1,
        account=lambda number: account,
    )
    site: Any = SimpleNamespace(until=lambda condition, limit_s: condition())
    known: list[dict[int, int]] = []

    def look_at(path: Path, pixels: Any, truth: dict[int, int], untrue: frozenset[int], looks: Any) -> FileEvidence:
        known.append(truth)
        return FileEvidence(file=str(path), receipt=None, numbers=frozenset())

    monkeypatch.setattr(acquisition, "look_at", look_at)
    (tmp_path / f"{family}_000001.h5").write_bytes(b"frames")
    acquisition.SeveralAcquisition(site, recipe, tmp_path)._one(part, member, 0, "r")
    assert known == [{0: 0, 1: 1, 2: 2, 4: 4}]
