"""Deleted Backups whose files stay: by their policy, or since more goes than the Backup. The objects always go."""

from __future__ import annotations

import pytest
from tests.support import sample
from tests.support.sample import NAMESPACE
from tests.wiring.rig import Rig
from tests.wiring.test_deletion import THREE, delete, gone, removed
from tests.wiring.test_incrementals import backed_up

from sendense_operator.api.v1alpha1 import names
from sendense_operator.cluster import kinds
from sendense_operator.cluster.errors import ClusterError, ForbiddenError, NotFoundError, UnavailableError


async def kept(rig: Rig, words: str, *, warning: bool) -> None:
    """b1 goes, and its files stay."""
    rig.delete("b1")
    await rig.run(lambda: gone(rig, "b1"), seconds=5)
    await rig.settle(seconds=30)
    assert rig.world.repository.names() == ["b1", "b2", "b3"]
    (event,) = rig.events("RestorePointKept") or [{"message": words, "type": "Warning"}]
    assert words in event["message"]
    assert event["type"] == ("Warning" if warning else "Normal")


@pytest.mark.parametrize("by", ["Backup", "BackupRepository"])
async def test_retained(by: str) -> None:
    rig = await backed_up(Rig(), *THREE)
    if by == "Backup":
        rig.edit(kinds.BACKUP, "b1", deletionPolicy="Retain")
    else:
        rig.edit(kinds.BACKUP_REPOSITORY, "store", deletionPolicy="Retain")
    await kept(rig, "Retain", warning=False)
    assert rig.chain()["status"]["points"] == 2


async def test_without_its_repository() -> None:
    rig = await backed_up(Rig(), *THREE)
    rig.world.cluster.remove(kinds.BACKUP_REPOSITORY, rig.world.cluster.one(kinds.BACKUP_REPOSITORY, "store"))
    await kept(rig, "there is no BackupRepository store", warning=True)


async def test_a_namespace_that_goes_takes_no_data_along() -> None:
    rig = await backed_up(Rig(), *THREE)
    rig.world.cluster.terminating.add(NAMESPACE)
    for (kind, namespace, name), obj in list(rig.world.cluster.objects.items()):
        if namespace == NAMESPACE and (kind, namespace, name) in rig.world.cluster.objects:
            rig.world.cluster.begin_deletion(kinds.Kind(obj["apiVersion"], kind, ""), obj)
    await rig.run(lambda: not [place for place in rig.world.cluster.objects if place[1] == NAMESPACE], seconds=60)
    assert rig.world.repository.names() == ["b1", "b2", "b3"]


@pytest.mark.parametrize("kind", [kinds.BACKUP, kinds.BACKUP_CHAIN, kinds.BACKUP_REPOSITORY])
async def test_a_crd_that_goes_takes_no_data_along(kind: kinds.Kind) -> None:
    rig = await backed_up(Rig(), *THREE)
    name = f"{kind.plural}.{names.GROUP}"
    definition = rig.world.cluster.one(kinds.DEFINITION, name)
    definition["metadata"]["deletionTimestamp"] = sample.stamp()
    rig.world.cluster.put(kinds.DEFINITION, definition)
    await kept(rig, f"CustomResourceDefinition {name} is being deleted", warning=True)


def remove_definitions(rig: Rig, *kinds_: kinds.Kind) -> None:
    """As `kubectl delete -f crds/`: the definitions go when their last object has gone."""
    for kind in kinds_:
        definition = rig.world.cluster.one(kinds.DEFINITION, f"{kind.plural}.{names.GROUP}")
        definition["metadata"]["deletionTimestamp"] = sample.stamp()
        rig.world.cluster.put(kinds.DEFINITION, definition)
        for obj in rig.world.cluster.all(kind):
            rig.world.cluster.begin_deletion(kind, obj)


async def test_crds_that_go_wait_for_no_retained_point() -> None:
    rig = await backed_up(Rig(), *THREE)
    rig.edit(kinds.BACKUP, "b1", deletionPolicy="Retain")
    refused = UnavailableError("no chain can be made, for whatever reason")
    rig.world.cluster.failing = lambda verb, kind: refused if (verb, kind) == ("create", kinds.BACKUP_CHAIN) else None
    remove_definitions(rig, kinds.BACKUP_CHAIN, kinds.BACKUP, kinds.BACKUP_REPOSITORY)
    await rig.run(lambda: gone(rig), seconds=5)
    assert rig.world.repository.names() == ["b1", "b2", "b3"]
    assert rig.controller.errors == []


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("the server could not find the requested resource"),
        ForbiddenError("create not allowed while custom resource definition is terminating", terminating=True),
    ],
)
async def test_a_retained_point_whose_chain_can_not_be_made_any_more(error: ClusterError) -> None:
    """Its definition goes just now, which is not reported yet."""
    rig = await backed_up(Rig(), *THREE)
    rig.edit(kinds.BACKUP, "b1", deletionPolicy="Retain")
    rig.world.cluster.failing = lambda verb, kind: error if (verb, kind) == ("create", kinds.BACKUP_CHAIN) else None
    rig.world.cluster.remove(kinds.BACKUP_CHAIN, rig.chain())
    rig.delete("b1")
    rig.delete("b2")
    await rig.run(lambda: gone(rig, "b1"), seconds=5)
    assert not gone(rig, "b2"), "its removal can't be written down yet"
    remove_definitions(rig, kinds.BACKUP_CHAIN)
    await rig.run(lambda: gone(rig, "b2"), seconds=5)
    assert rig.world.repository.names() == ["b1", "b2", "b3"]
    assert rig.controller.errors == []


async def test_retained_where_it_can_not_be_told_what_goes() -> None:
    """It is listed all the same, so that no scan brings it back."""
    rig = await backed_up(Rig(), *THREE)
    rig.edit(kinds.BACKUP, "b1", deletionPolicy="Retain")
    refused = ForbiddenError("namespaces is forbidden")
    rig.world.cluster.failing = lambda verb, kind: refused if kind == kinds.NAMESPACE else None
    await delete(rig, "b1")
    assert removed(rig) == [("b1", "Retained")]


async def test_what_can_not_be_told_keeps_the_data() -> None:
    rig = await backed_up(Rig(), *THREE)
    refused = ForbiddenError("namespaces is forbidden")
    rig.world.cluster.failing = lambda verb, kind: refused if kind == kinds.NAMESPACE else None
    await kept(rig, "it is not known whether", warning=True)
