"""Simulated detectors side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from maxdaq_tango.deployment.simulated_site import simulated_site, why_not
from maxdaq_tango.deployment.topology import EmbeddedDatabase
from maxdaq_tango.detectors.registry import FAMILIES
from maxdaq_tango.errors import ConfigurationError


def test_a_site_always_has_a_database_of_its_own() -> None:
    topology = simulated_site("demo-1", ["eiger"]).topology
    assert topology.name == "demo-1"
    assert topology.database.embedded is EmbeddedDatabase.ALWAYS
    assert topology.database.port == 0


def test_all_families_fit_under_one_controller() -> None:
    site = simulated_site("all", list(FAMILIES))
    classes = [placed.class_name for placed in site.topology.devices()]
    assert classes.count("DAQController") == 1
    assert classes.count("StreamReceiver") == len(FAMILIES)
    assert {family.device_class for family in FAMILIES.values()} <= set(classes)
    (controller,) = (placed for placed in site.topology.devices() if placed.class_name == "DAQController")
    assert controller.device.properties["Detectors"] == tuple(detector.device for detector in site.detectors)


def test_it_knows_what_its_simulators_send() -> None:
    (eiger,) = simulated_site("demo", ["eiger"]).detectors
    pixels = eiger.pixels((64, 64), "uint16")
    assert pixels(3).shape == (64, 64)
    assert pixels(3).dtype == np.uint16
    assert not np.array_equal(pixels(3), pixels(4))


def test_a_family_that_this_computer_cannot_simulate_is_told_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "/nowhere/cc")
    reasons = why_not(list(FAMILIES))
    assert list(reasons) == ["orca"]
    assert "there is no C compiler: looked for /nowhere/cc" in reasons["orca"]
    assert "apt install gcc" in reasons["orca"]
    assert "\n" not in reasons["orca"]
    with pytest.raises(ConfigurationError, match="find detector family 'ieger'"):
        why_not(["ieger"])


@pytest.mark.parametrize(
    ("families", "told"), [([], "one or more"), (["eiger", "eiger"], "each once"), (["ieger"], "Accepted: .*eiger")]
)
def test_what_cannot_be_simulated_is_refused(families: list[str], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        simulated_site("demo", families)
