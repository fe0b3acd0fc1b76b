"""What the API server fills in, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable

from tests.support import manifests
from tests.support.kube import Kube


def test_backup(kube: Kube, namespace: str) -> None:
    spec = kube.create(manifests.backup("plain", namespace))["spec"]
    assert spec == {
        "vmRef": {"name": "vm"},
        "repositoryRef": {"name": "repo"},
        "type": "Full",
        "onMissingParent": "Full",
        "retries": 2,
        "startDeadlineSeconds": 86_400,
        "activeDeadlineSeconds": 172_800,
        "cancel": False,
    }


def test_repository(kube: Kube, namespace: str) -> None:
    spec = kube.create(manifests.repository("plain", namespace))["spec"]
    assert spec == {
        "claimName": "claim",
        "path": "",
        "maxConcurrentBackups": 4,
        "maxConcurrentVerifications": 1,
        "maxConcurrentConsolidations": 1,
        "maxConcurrentRestores": 2,
        "minFreeBytes": 1 << 30,
        "probeIntervalSeconds": 900,
        "scanIntervalSeconds": 21_600,
        "deletionPolicy": "Delete",
        "deletionGraceSeconds": 0,
        "maxChainDepth": 32,
        "folder": "",
        "podSecurity": {"runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532, "supplementalGroups": []},
    }


def test_restore(kube: Kube, namespace: str) -> None:
    spec = kube.create(manifests.restore("plain", namespace, claims={0: "disk-0"}))["spec"]
    assert spec == {
        "source": {"backupRef": {"name": "plain"}, "disks": []},
        "target": {"persistentVolumeClaims": [{"disk": 0, "claimName": "disk-0"}]},
        "verifyOnly": False,
        "allowDamaged": False,
        "retries": 2,
        "startDeadlineSeconds": 86_400,
        "activeDeadlineSeconds": 172_800,
        "cancel": False,
    }


def test_restore_into_a_virtual_machine(kube: Kube, namespace: str) -> None:
    target = {"virtualMachine": {"name": "web"}}
    spec = kube.create(manifests.restore("machine", namespace, target=target))["spec"]
    assert spec["target"]["virtualMachine"] == {
        "name": "web",
        "storageClasses": [],
        "accessModes": ["ReadWriteOnce"],
        "networks": [],
        "keepMacAddresses": True,
    }


def test_chain(kube: Kube, namespace: str) -> None:
    spec = kube.create(manifests.backup_chain("plain", namespace))["spec"]
    assert (spec["parentCheck"], spec["compaction"]) == ("Content", "Never")
    assert spec["consolidation"] == {"mode": "Auto", "targetDepth": 8}


def test_the_window_of_a_consolidation(kube: Kube, namespace: str) -> None:
    window = {"start": "22:00", "end": "06:00"}
    spec = kube.create(manifests.backup_chain("window", namespace, consolidation={"window": window}))["spec"]
    assert spec["consolidation"] == {"mode": "Auto", "targetDepth": 8, "window": {**window, "timeZone": "UTC"}}


def test_files_of_a_restore(kube: Kube, namespace: str) -> None:
    target = {"file": {"claimName": "exports", "format": "OVA", "create": {}, "hardware": {}}}
    spec = kube.create(manifests.restore("files", namespace, target=target))["spec"]
    expected = {"claimName": "exports", "format": "OVA", "create": {"accessModes": ["ReadWriteOnce"]}, "hardware": {}}
    assert spec["target"]["file"] == expected


def test_protected_vm(kube: Kube, namespace: str) -> None:
    spec = kube.create(manifests.protected_vm("plain", namespace))["spec"]
    assert spec["discoveryIntervalSeconds"] == 3600
    assert spec["datacenter"] == ""


def test_appliance(kube: Kube, namespace: str) -> None:
    spec = kube.create(manifests.appliance("plain", namespace))["spec"]
    assert spec["nbd"] == {
        "exposure": "NodePort",
        "portRange": {"first": 10100, "last": 10200},
        "allowedFrom": manifests.EVERYBODY,
    }
    assert spec["traits"] == {
        "zeroWrites": "Refuse",
        "fullCoverage": "WholeDisk",
        "changeIDAsks": "AlwaysZero",
        "callbackRetries": "Never",
    }
    assert spec["callbacks"] == {"acceptFormerPaths": False, "rotation": 0, "allowedFrom": []}
    assert spec["timeouts"]["connectSeconds"] == 120
    assert "tls" not in spec


def test_a_part_that_is_given_gets_the_defaults_of_the_rest(kube: Kube, namespace: str) -> None:
    made = kube.create(
        manifests.appliance("partly", namespace, timeouts={"connectSeconds": 5}, nbd={"allowedFrom": ["::/0"]})
    )
    assert made["spec"]["timeouts"]["connectSeconds"] == 5
    assert made["spec"]["timeouts"]["stallSeconds"] == 1800
    assert made["spec"]["nbd"]["exposure"] == "NodePort"


def test_a_status_is_never_filled_in(kube: Kube, settled: Callable[..., str], namespace: str) -> None:
    name = settled("plain", namespace)
    disk = {"id": 0, "key": 2000, "virtualSize": 512}
    status = {"progress": {"totalBytes": 512}, "disks": [disk], "conditions": []}
    written = kube.merge("Backup", name, namespace, {"status": status}, sub="status")
    assert {key: written["status"][key] for key in status} == status
