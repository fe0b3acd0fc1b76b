"""What a repository says of its pods is what they get."""

from __future__ import annotations

from tests.support.vma import MIB, Disk
from tests.support.workspace import Workspace

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
    assert "nobody-made-it" in space.wait_reason({"RepositoryNotReady", "PodForbidden"})
    space.kube.merge("BackupRepository", "repo", space.namespace, {"spec": {"podTemplate": None}})
    space.wait_phase("Completed")
