"""What a worker receives."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import sample
from tests.support.sample import GIB

from sendense_operator.api.v1alpha1.backup import BackupSpec
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMSpec, VMDisk
from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceSpec
from sendense_operator.reconcile.backups.backup_task import build_backup_task, disk_ports
from sendense_operator.reconcile.state.inventory_path import datacenter_of
from sendense_operator.task import BackupTask, BackupType, Compaction, Exposure, MissingParent, ParentCheck


@pytest.mark.parametrize(
    ("path", "given", "expected"),
    [
        ("/DC1/vm/db", "", "DC1"),
        ("/folder/DC1/vm/a/b", "", "folder/DC1"),
        ("/DC1/vm/x/vm/db", "", "DC1"),
        ("/DC1/other/db", "", "DC1"),
        ("/DC1/vm/db", "DC2", "DC2"),
    ],
)
def test_datacenter(path: str, given: str, expected: str) -> None:
    spec = sample.protected_vm(path=path, datacenter=given)["spec"]
    assert datacenter_of(ProtectedVMSpec.model_validate(spec)) == expected


@pytest.mark.parametrize(
    ("exposure", "given", "ports"),
    [
        (Exposure.POD_IP, (), [10809, 10810]),
        (Exposure.POD_IP, (1, 2), [10809, 10810]),
        (Exposure.NODE_PORT, (31000, 31007), [31000, 31007]),
        (Exposure.HOST_PORT, (10100, 10101), [10100, 10101]),
    ],
)
def test_ports(exposure: Exposure, given: tuple[int, ...], ports: list[int]) -> None:
    assert disk_ports(exposure, 2, given) == ports


@pytest.mark.parametrize("given", [(), (1,), (1, 2, 3)])
def test_too_few_or_too_many_ports_are_an_error(given: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="2 disks"):
        disk_ports(Exposure.NODE_PORT, 2, given)


def build(
    appliance: dict[str, Any], repository: dict[str, Any] | None = None, ports: tuple[int, ...] = (), **spec: Any
) -> BackupTask:
    return build_backup_task(
        namespace="shop",
        backup="b1",
        uid="uid-1",
        spec=BackupSpec.model_validate(sample.backup(**spec)["spec"]),
        repository=BackupRepositorySpec.model_validate(sample.repository(**(repository or {}))["spec"]),
        repository_id="repo-1",
        vm=ProtectedVMSpec.model_validate(sample.protected_vm()["spec"]),
        disks=[VMDisk(index=i, key=2000 + i, virtual_size=(i + 1) * GIB) for i in range(2)],
        appliance=VMwareApplianceSpec.model_validate(sample.appliance(**appliance)["spec"]),
        ports=ports,
        parent_check=ParentCheck.STRUCTURE,
        compaction=Compaction.AUTO,
        now=sample.NOON,
    )


def test_the_specs_go_into_the_task() -> None:
    task = build(
        {
            "nbd": {"exposure": "NodePort", "advertisedHost": "tunnel.example"},
            "traits": {"zeroWrites": "Trust", "fullCoverage": "AllocatedOnly", "changeIDAsks": "OwnDisk"},
            "timeouts": {"firstSignSeconds": 7, "stallSeconds": 9},
        },
        {"path": "team/a", "minFreeBytes": 5},
        ports=(31000, 31001),
    )
    assert (task.backup, task.backup_uid, task.vm, task.repository_id) == ("b1", "uid-1", "db", "repo-1")
    assert (task.repository_path, task.min_free) == ("team/a", 5)
    assert (task.appliance.zero_writes, task.appliance.full_coverage) == ("Trust", "AllocatedOnly")
    assert (task.appliance.change_id_asks, task.appliance.callback_retries) == ("OwnDisk", "Never")
    assert (task.appliance.vm_path, task.appliance.datacenter) == ("/DC1/vm/db", "DC1")
    assert (task.exposure, task.advertised_host) == (Exposure.NODE_PORT, "tunnel.example")
    assert (task.clocks.first_sign, task.clocks.stall, task.clocks.snapshot) == (7, 9, 1800)
    assert [(d.index, d.key, d.virtual_size, d.port) for d in task.disks] == [
        (0, 2000, GIB, 31000),
        (1, 2001, 2 * GIB, 31001),
    ]


@pytest.mark.parametrize(
    ("retries", "stall", "reconnect"), [("Never", 1800, 180), ("UntilAnswered", 1800, 1800), ("UntilAnswered", 60, 180)]
)
def test_one_that_calls_again_may_be_silent_for_longer(retries: str, stall: int, reconnect: int) -> None:
    task = build({"traits": {"callbackRetries": retries}, "timeouts": {"stallSeconds": stall}})
    assert (task.appliance.callback_retries, task.clocks.reconnect) == (retries, reconnect)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"type": "Full"}, (BackupType.FULL, MissingParent.FULL)),
        ({"type": "Incremental"}, (BackupType.INCREMENTAL, MissingParent.FULL)),
        ({"type": "Incremental", "onMissingParent": "Fail"}, (BackupType.INCREMENTAL, MissingParent.FAIL)),
        ({"type": "Auto"}, (BackupType.INCREMENTAL, MissingParent.FULL)),
    ],
)
def test_what_is_wanted(spec: dict[str, Any], expected: tuple[BackupType, MissingParent]) -> None:
    task = build({}, {"maxChainDepth": 7, "folder": "other"}, **spec)
    assert (task.type, task.on_missing_parent) == expected
    assert (task.max_depth, task.folder, task.parent_check) == (7, "other", ParentCheck.STRUCTURE)
    assert task.compaction is Compaction.AUTO


def test_no_reference_to_the_secret_is_in_it() -> None:
    assert "credentials" not in build({}).model_dump_json().lower()
