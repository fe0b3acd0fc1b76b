from typing import Any

import pytest
from tests.unit.gateway.rest.rig import backup, chain, vm

from sendense_operator.gateway.rest.errors import RestError
from sendense_operator.gateway.rest.vm_resolution import find_chained_vm, find_vm
from sendense_operator.views.cached_objects import CachedBackup, CachedChain, CachedVM

NAME = "web"
NEW, OLD, OLDER = vm("new", NAME), vm("old", NAME, vanished=True), vm("older", NAME, vanished=True)
TWIN, NAMED, OTHER = vm("twin", NAME), vm(NAME, "Web Server"), vm("other", "other")


def vms(*objects: Any) -> list[CachedVM]:
    return [CachedVM.from_object(obj) for obj in objects]


@pytest.mark.parametrize(
    ("there", "meant"),
    [
        ((NEW, OTHER), "new"),
        ((OLD, NEW), "new"),
        ((NAMED, NEW, OLD), "new"),
        ((NAMED, OLD), NAME),
        ((OLD, OTHER), "old"),
        ((OTHER,), None),
    ],
)
def test_the_vm_that_is_meant(there: tuple[Any, ...], meant: str | None) -> None:
    found = find_vm(vms(*there), NAME)
    assert (found.name if found else None) == meant


@pytest.mark.parametrize("there", [(NEW, TWIN, OLD), (OLD, OLDER)])
def test_two_of_one_rank(there: tuple[Any, ...]) -> None:
    with pytest.raises(RestError, match="give vm_context_id, one of ") as refused:
        find_vm(vms(*there), NAME)
    assert refused.value.status == 409


@pytest.mark.parametrize(
    ("there", "with_points", "made", "meant"),
    [
        ((NEW,), ("new",), (), "new"),
        ((NEW, OLD), ("new", "old"), (), "new"),
        ((NEW, OLD), ("old",), (), "old"),
        ((NEW, OLD), (), (), "new"),
        ((NEW, OTHER), ("other",), ("other",), "other"),
        ((NEW, OTHER), ("new", "other"), ("other",), "new"),
        ((), ("gone",), ("gone",), "gone"),
        ((OTHER,), ("other",), (), ""),
    ],
)
def test_the_vm_whose_restore_points_are_meant(
    there: tuple[Any, ...], with_points: tuple[str, ...], made: tuple[str, ...], meant: str
) -> None:
    assert found_chained(there, with_points, made) == meant


@pytest.mark.parametrize(
    ("there", "with_points", "made"),
    [((NEW, TWIN), ("new",), ()), ((NEW, TWIN), (), ()), ((), ("gone", "lost"), ("gone", "lost"))],
)
def test_two_whose_restore_points_may_be_meant(
    there: tuple[Any, ...], with_points: tuple[str, ...], made: tuple[str, ...]
) -> None:
    with pytest.raises(RestError, match="ambiguous"):
        found_chained(there, with_points, made)


def test_what_has_not_ended_well_is_no_restore_point() -> None:
    failed = CachedBackup.from_object(backup("b", "gone", phase="Failed", vmName=NAME))
    chains = [CachedChain.from_object(chain("a", vm_id="gone"))]
    assert find_chained_vm([], chains, [failed], NAME) == ""


def found_chained(there: tuple[Any, ...], with_points: tuple[str, ...], made: tuple[str, ...]) -> str:
    chains = [CachedChain.from_object(chain("a", vm_id=name)) for name in with_points]
    backups = [CachedBackup.from_object(backup(f"of-{name}", name, vmName=NAME)) for name in made]
    return find_chained_vm(vms(*there), chains, backups, NAME)
