"""What a repository says of its pods is what they get."""

from __future__ import annotations

from functools import partial

from tests.support.objects import find_condition
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import SLOW_MACHINE, Workspace, summary

TEMPLATE = {
    "labels": {"team": "storage"},
    "annotations": {"example.com/note": "it's nightly"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "example.com/backup", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "nobody"}}}
            ]
        }
    },
    "resources": {"requests": {"cpu": "20m"}},
}


def test_a_worker_is_made_as_its_repository_says(space: Workspace) -> None:
    space.ready(Disk("pattern", 4 * MIB), podTemplate=TEMPLATE)
    space.backup()
    space.wait_phase("Completed")
    (pod,) = space.workers()
    assert pod["metadata"]["labels"]["team"] == "storage"
    assert pod["metadata"]["annotations"]["example.com/note"] == "it's nightly"
    assert pod["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert "example.com/backup" in {item.get("key") for item in pod["spec"]["tolerations"]}
    assert pod["spec"]["affinity"]["podAntiAffinity"]
    containers = [*pod["spec"]["containers"], *pod["spec"]["initContainers"]]
    assert {item["resources"]["requests"]["cpu"] for item in containers} == {"20m"}


def test_a_priority_class_that_is_missing_is_named(space: Workspace) -> None:
    space.ready(Disk("pattern", 4 * MIB), podTemplate={"priorityClassName": "nobody-made-it"})
    space.backup()
    wait_for("the Backup to name it", partial(_names, space, "nobody-made-it"), timeout=SLOW_MACHINE)
    assert find_condition(space.status(), "Ready")["reason"] in ("RepositoryNotReady", "PodForbidden")
    space.kube.merge("BackupRepository", "repo", space.namespace, {"spec": {"podTemplate": None}})
    space.wait_phase("Completed")


def _names(space: Workspace, what: str) -> None:
    """Its repository may not have been checked before."""
    status = space.status()
    until(what in find_condition(status, "Ready").get("message", ""), summary(status))
