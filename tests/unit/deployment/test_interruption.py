from __future__ import annotations

import os
import signal
import threading
from time import monotonic

import pytest

from maxdaq_tango.deployment.interruption import SIGNALS, Interrupted, Interruption


def test_a_wait_lets_time_pass() -> None:
    begin = monotonic()
    Interruption().wait(0.05)
    assert monotonic() - begin >= 0.045


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_wait_at_once(number: signal.Signals) -> None:
    interruption = Interruption()
    begin = monotonic()
    with interruption.catch_signals():
        sender = threading.Timer(0.05, os.kill, (os.getpid(), number))
        sender.start()
        with pytest.raises(Interrupted) as caught:
            interruption.wait(10)
        sender.join()
    assert monotonic() - begin < 5
    assert caught.value.exit_status == 128 + number


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interruption().catch_signals():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_condition_that_comes_true_is_seen() -> None:
    looks = iter([False, False, True])
    assert Interruption().wait_until(lambda: next(looks), 5, interval_s=0.001)


def test_a_condition_that_never_comes_true_ends_at_the_deadline() -> None:
    begin = monotonic()
    assert not Interruption().wait_until(lambda: False, 0.05, interval_s=0.001)
    assert monotonic() - begin < 2


def test_a_condition_is_looked_at_once_even_without_time() -> None:
    assert Interruption().wait_until(lambda: True, 0)


def test_an_interruption_beats_a_condition() -> None:
    interruption = Interruption()
    interruption.request()
    with pytest.raises(Interrupted):
        interruption.wait_until(lambda: True, 5)


def test_the_first_signal_decides_and_all_are_counted() -> None:
    interruption = Interruption()
    interruption.request(signal.SIGINT)
    interruption.request(signal.SIGTERM)
    assert interruption.count == 2
    with pytest.raises(Interrupted) as caught:
        interruption.check()
    assert caught.value.exit_status == 130


def test_nobody_who_catches_errors_swallows_it() -> None:
    assert not issubclass(Interrupted, Exception)
