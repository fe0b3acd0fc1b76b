"""What all gateways together saw."""

from __future__ import annotations

from typing import Any

import pytest

from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.unrouted_calls import FORGET_S, STUCK_AFTER_S, UnroutedCalls, describe_call
from sendense_operator.vma.sightings import Sightings, StrayCall, StrayJob

PLACE = ObjectKey("shop", "vma")


def jobs(first: float, last: float, job: str = "backup-1") -> Sightings:
    return Sightings(jobs=(StrayJob(namespace="shop", appliance="vma", job=job, first=first, last=last),))


def call(**more: Any) -> StrayCall:
    fields = {"namespace": "shop", "appliance": "vma", "pod_uid": "p", "path_namespace": "shop", "path_appliance": "x"}
    return StrayCall.model_validate({**fields, "last": 0.0, **more})


def test_replicas_that_got_one_call_each_make_a_span() -> None:
    known = UnroutedCalls()
    known.take([jobs(STUCK_AFTER_S, STUCK_AFTER_S), jobs(0, 0)], 1000)
    assert known.stuck(PLACE) == ["backup-1"]
    assert known.stuck(ObjectKey("lab", "vma")) == []


def test_a_client_that_ends_by_itself_is_none() -> None:
    known = UnroutedCalls()
    known.take([jobs(11, 0), jobs(6, 1)], 1000)
    assert known.stuck(PLACE) == []


def test_it_is_forgotten_when_its_telemetry_ends() -> None:
    known = UnroutedCalls()
    known.take([jobs(100, 0)], 1000)
    assert known.news(1000) == {PLACE}
    assert known.news(1000) == set()
    assert known.stuck(PLACE) == ["backup-1"], "no gateway answers: nothing has ended"
    known.take([Sightings()], 1000 + FORGET_S)
    assert known.stuck(PLACE) == ["backup-1"]
    known.take([Sightings()], 1001 + FORGET_S)
    assert known.stuck(PLACE) == []
    assert known.news(1001 + FORGET_S) == {PLACE}


def test_a_replica_that_was_restarted_takes_nothing_away() -> None:
    known = UnroutedCalls()
    known.take([jobs(100, 0)], 1000)
    known.take([jobs(2, 0), Sightings()], 1010)
    assert known.stuck(PLACE) == ["backup-1"]


def test_it_settles_when_gateways_were_heard_for_long_enough() -> None:
    known = UnroutedCalls()
    assert not known.is_settled
    known.take([Sightings()], 1000)
    known.take([Sightings()], 1000 + FORGET_S)
    assert not known.is_settled
    known.take([Sightings()], 1001 + FORGET_S + STUCK_AFTER_S)
    assert known.is_settled


def test_the_latest_call_counts() -> None:
    known = UnroutedCalls()
    known.take(
        [Sightings(calls=(call(last=50), call(last=5, path_appliance="y"), call(pod_uid="q", appliance="z")))], 1000
    )
    assert [one.path_appliance for one in known.calls_of(PLACE, 1000)] == ["y", "x"]
    latest = known.call_of_pod("p")
    assert latest is not None
    assert latest.path_appliance == "y"
    assert known.call_of_pod("nobody") is None
    assert known.calls_of(PLACE, 5000) == []


@pytest.mark.parametrize(
    ("found", "words", "never"),
    [
        (call(), "callback URL of VMwareAppliance x", "refused"),
        (call(path_namespace="secret-team"), "another namespace", "secret-team"),
        (call(denial="BarePath"), "without its secret part", "VMwareAppliance x"),
        (call(denial="FormerPath"), "before a rotation", "VMwareAppliance x"),
        (call(denial="WrongPath"), "no callback URL", "VMwareAppliance x"),
        (call(denial="Address"), "spec.callbacks.allowedFrom", "status.callbackURL"),
    ],
)
def test_words(found: StrayCall, words: str, never: str) -> None:
    assert words in describe_call(found)
    assert never not in describe_call(found)
    assert "VMwareAppliance vma" in describe_call(found)


def test_a_worker_that_hears_nothing() -> None:
    """Until it does; what a gateway has seen of the same job says more."""
    known = UnroutedCalls()
    known.note_silence(PLACE, "p", True, 1000)
    (missing,) = known.calls_of(PLACE, 1000)
    assert "none of its callbacks" in describe_call(missing)
    assert "status.callbackURL of VMwareAppliance vma" in describe_call(missing)
    assert known.news(1000) == {PLACE}
    known.take([Sightings(calls=(call(last=50),))], 1000)
    found = known.call_of_pod("p")
    assert found is not None
    assert found.path_appliance == "x"
    known.note_silence(PLACE, "p", False, 1001)
    assert [one.path_appliance for one in known.calls_of(PLACE, 1001)] == ["x"]
