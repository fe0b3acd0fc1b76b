import pytest

from sendense_operator.gateway.limits import CallLimits, TooManyCallsError


def test_held_calls_overall_and_per_appliance() -> None:
    limits = CallLimits(calls=10, held=3, held_per_appliance=2)
    with limits.holding("a"), limits.holding("a"):
        with pytest.raises(TooManyCallsError), limits.holding("a"):
            pass
        with limits.holding("b"):
            with pytest.raises(TooManyCallsError), limits.holding("c"):
                pass
            # a call that waited before keeps its place
            with limits.holding("a", admitted=True):
                assert limits.held == 4
    assert limits.held == 0
    with limits.holding("a"):
        pass


def test_calls_in_flight() -> None:
    limits = CallLimits(calls=1, held=3, held_per_appliance=2)
    with limits.in_flight(), pytest.raises(TooManyCallsError), limits.in_flight():
        pass
    assert limits.calls == 0
