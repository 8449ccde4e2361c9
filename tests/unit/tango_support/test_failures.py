"""Errors cross Tango and stay what they were."""

from __future__ import annotations

import pytest
import tango

from maxdaq_tango import errors
from maxdaq_tango.engine.protocol import ErrorText
from maxdaq_tango.tango_support.failures import KINDS, error_of, tells_failures, throw, unpack


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_error_of_ours_comes_out_as_itself_with_its_sentence(kind):
    error = KINDS[kind]("set ExposureTime to 9000 s", of="det", answer="too long", accepted="0 to 1800 s")
    with pytest.raises(tango.DevFailed) as caught:
        throw(error, "a/b/c/Arm")
    told = caught.value.args[0]
    assert (told.reason, told.origin, told.desc) == (f"MAXDAQ_{kind}", "a/b/c/Arm", str(error))
    back = error_of(caught.value, asked="Arm", of="a/b/c", otherwise=errors.EngineError)
    assert type(back) is KINDS[kind]
    assert "9000 s" in str(back)
    assert "0 to 1800 s" in str(back)


def test_what_tango_itself_raised_becomes_the_kind_that_the_caller_names():
    with pytest.raises(tango.DevFailed) as caught:
        tango.Except.throw_exception("API_DeviceTimedOut", "Timeout (3000 mS)\nexceeded", "somewhere")
    back = error_of(caught.value, asked="Arm", of="a/b/c", otherwise=errors.DetectorOffline)
    assert isinstance(back, errors.DetectorOffline)
    assert str(back) == "Arm (of a/b/c): Timeout (3000 mS) exceeded [API_DeviceTimedOut]"


def test_an_error_that_travelled_as_json_is_unpacked_and_an_unknown_kind_is_not_lost():
    packed = ErrorText.of_error(errors.DetectorRefused("arm", of="http://dcu", answer="no"))
    assert isinstance(unpack(packed), errors.DetectorRefused)
    assert isinstance(unpack(ErrorText("FromTheFuture", "x")), errors.EngineError)


def test_a_wrapped_method_lets_other_exceptions_pass_and_keeps_its_name():
    class Device:
        def get_name(self) -> str:
            return "a/b/c"

        @tells_failures
        def Arm(self) -> None:
            """Doc."""
            raise errors.StateError("Arm", answer="busy")

        @tells_failures
        def Bug(self) -> None:
            raise ZeroDivisionError

    with pytest.raises(tango.DevFailed) as caught:
        Device().Arm()
    assert caught.value.args[0].origin == "a/b/c/Arm"
    assert (Device.Arm.__name__, Device.Arm.__doc__) == ("Arm", "Doc.")
    with pytest.raises(ZeroDivisionError):
        Device().Bug()
