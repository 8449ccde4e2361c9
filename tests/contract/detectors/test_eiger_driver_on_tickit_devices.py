"""The contract of all drivers, fulfilled against a simulator that somebody else wrote (tickit-devices, SIMPLON 1.8.0).

The other counterpart, eiger-simulator, cannot take part: it has one state for everything.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import ClassVar

import pytest

from counterparts.plugin import TickitEiger
from maxdaq_tango.detectors.eiger.driver import EigerDriver
from maxdaq_tango.testing.driver_contract import DriverContract


@pytest.mark.counterpart
class TestContractOnTickitDevices(DriverContract):
    """Eiger2 16M, API 1.8.0, stream v2."""

    excessive_exposure_s: ClassVar[float | None] = None  # it knows no limits
    changes_exposure: ClassVar[bool] = False  # it knows no inte

    @pytest.fixture
    def driver(self, tickit_eiger: TickitEiger) -> Iterator[EigerDriver]:
        driver = EigerDriver(
            tickit_eiger.host,
            tickit_eiger.ports["http"],
            cbor_port=tickit_eiger.ports["cbor"],
            header_detail="none",
            trust_series_id=False,  # one series_unique_id for every series
        )
        driver.connect()
        yield driver
        driver.connect()
        driver.abort()
        driver.close()

    @pytest.fixture
    def absent_driver(self) -> Iterator[EigerDriver]:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            yield EigerDriver("127.0.0.1", unused.getsockname()[1])
