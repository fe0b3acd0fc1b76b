"""Whether a repository may use its claim."""

from __future__ import annotations

import pytest
from tests.support import sample
from tests.support.objects import Obj

from sendense_operator.reconcile.state.problem import Meaning
from sendense_operator.reconcile.workload.claims import Claim, decide_claim, is_exclusive, needs_one_node

STORE = sample.repository()


@pytest.mark.parametrize(
    ("claim", "storage_class", "reason"),
    [
        (sample.claim(), None, None),
        (None, None, "ClaimNotFound"),
        (sample.deleting(sample.claim()), None, "ClaimDeleting"),
        (sample.claim(phase="Pending"), None, "ClaimPending"),
        (sample.claim(phase="Pending"), {"volumeBindingMode": "Immediate"}, "ClaimPending"),
        (sample.claim(phase="Pending"), {"volumeBindingMode": "WaitForFirstConsumer"}, None),
        (sample.claim(phase="Lost"), None, "ClaimLost"),
        (sample.claim(modes=("ReadOnlyMany",)), None, "ReadOnlyClaim"),
        (sample.claim(modes=("ReadOnlyMany", "ReadWriteMany")), None, None),
        (sample.claim(modes=("ReadWriteOncePod",)), None, None),
    ],
)
def test_decide_claim(claim: Obj | None, storage_class: Obj | None, reason: str | None) -> None:
    problem = decide_claim(STORE, Claim("store-claim", claim, storage_class), [STORE])
    assert (problem.reason if problem else None) == reason
    assert problem is None or "store-claim" in problem.message


def test_the_oldest_repository_has_the_claim() -> None:
    older = sample.custom("BackupRepository", "zz-older", {"claimName": "store-claim"}, age=-60)
    found = Claim("store-claim", sample.claim())
    problem = decide_claim(STORE, found, [STORE, older])
    assert problem is not None
    assert (problem.reason, problem.meaning) == ("ClaimInUse", Meaning.FINAL)
    assert "zz-older" in problem.message
    assert decide_claim(older, found, [STORE, older]) is None
    assert decide_claim(STORE, found, [STORE, sample.deleting(older)]) is None
    assert decide_claim(STORE, found, []) is None


def test_is_exclusive() -> None:
    assert is_exclusive(sample.claim(modes=("ReadWriteOncePod",)))
    assert not is_exclusive(sample.claim())
    assert not is_exclusive({"metadata": {}})


@pytest.mark.parametrize(
    ("modes", "of_volume", "expected"),
    [
        (("ReadWriteOnce",), None, True),
        (("ReadWriteOnce",), ("ReadWriteOnce",), True),
        (("ReadWriteOnce", "ReadOnlyMany"), None, True),
        (("ReadWriteOnce",), ("ReadWriteOnce", "ReadWriteMany"), False),
        (("ReadWriteMany",), None, False),
        (("ReadWriteOnce", "ReadWriteMany"), None, False),
        (("ReadWriteOncePod",), ("ReadWriteOncePod",), False),
    ],
)
def test_needs_one_node(modes: tuple[str, ...], of_volume: tuple[str, ...] | None, expected: bool) -> None:
    claim = sample.claim(modes=modes)
    if of_volume:
        claim["status"]["accessModes"] = list(of_volume)
    assert needs_one_node(claim) is expected
