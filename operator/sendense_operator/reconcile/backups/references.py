"""What a Backup refers to, and what of it is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sendense_operator.api.v1alpha1.backup import RequestedType
from sendense_operator.api.v1alpha1.backupchain import BackupChainSpec
from sendense_operator.api.v1alpha1.backuprepository import BackupRepositorySpec
from sendense_operator.api.v1alpha1.names import last_path_element
from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMSpec, VMDisk
from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceSpec
from sendense_operator.cluster.api_client import find
from sendense_operator.cluster.kinds import APPLIANCE, BACKUP_CHAIN, BACKUP_REPOSITORY, PROTECTED_VM
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.backups.backup_status import ObservedBackup
from sendense_operator.reconcile.state.context import BackupContext, ReconcileContext
from sendense_operator.reconcile.state.keys import Key, Work
from sendense_operator.reconcile.state.kubernetes_objects import is_deleting, ready_condition
from sendense_operator.reconcile.state.problem import Meaning, Problem
from sendense_operator.reconcile.state.vm_records import FoundVM
from sendense_operator.reconcile.vcenter.vm_reconciler import discovered
from sendense_operator.task import Compaction, ParentCheck
from sendense_operator.vma.messages import InventoryVM

MAX_DISCOVERY_AGE_S: Final = 300.0
_PASSED_ON: Final = frozenset({"SecretNotFound", "SecretInvalid", "SecretForbidden"})
_READABLE: Final = frozenset({"RepositoryFull"})
"""A commit may have taken the last room; it can be found all the same."""
_MAY_PASS: Final = frozenset({"ApplianceUnreachable", "ApplianceError"})


@dataclass(frozen=True)
class ChainSettings:
    """How a chain's increments are made; the defaults are for a chain that does not exist yet."""

    parent_check: ParentCheck = ParentCheck.CONTENT
    compaction: Compaction = Compaction.NEVER


@dataclass(frozen=True)
class References:
    """All that a worker needs to know."""

    repository: BackupRepositorySpec
    repository_id: str
    vm: ProtectedVMSpec
    found: FoundVM
    appliance: VMwareApplianceSpec
    chain: ChainSettings = ChainSettings()


async def resolve(ctx: BackupContext, backup: ObservedBackup) -> References | Problem:
    """Read what the Backup refers to, and ask vCenter for its VM. The first thing missing is the Problem.

    Where the worker is only to look for a manifest, vCenter is not asked, and the appliance may be away: a backup that
    was committed must not end as Failed for something that it does not need any more.
    """
    namespace = backup.namespace
    vm = await find(ctx.cluster, PROTECTED_VM, namespace, backup.spec.vm_ref.name)
    if vm is None or is_deleting(vm):
        return Problem("VMNotFound", f"there is no ProtectedVM {backup.spec.vm_ref.name}")
    repository = await find(ctx.cluster, BACKUP_REPOSITORY, namespace, backup.spec.repository_ref.name)
    vm_spec = ProtectedVMSpec.model_validate(vm["spec"])
    appliance = await find(ctx.cluster, APPLIANCE, namespace, vm_spec.appliance_ref.name)
    problem = decide_references(backup, repository, vm_spec.appliance_ref.name, appliance)
    if problem is not None:
        return problem
    if repository is None or appliance is None:
        raise AssertionError("decide_references lets nothing missing pass")
    found = known_vm(backup, vm_spec) if backup.only_looks else await _discovered(ctx, backup, vm)
    if isinstance(found, Problem):
        return found
    return References(
        repository=BackupRepositorySpec.model_validate(repository["spec"]),
        repository_id=str(repository["status"]["repositoryID"]),
        vm=vm_spec,
        found=found,
        appliance=VMwareApplianceSpec.model_validate(appliance["spec"]),
        chain=await _chain_settings(ctx, backup),
    )


async def _discovered(ctx: BackupContext, backup: ObservedBackup, vm: Obj) -> FoundVM | Problem:
    seen = ctx.backup_hints.first_seen.get(backup.uid) or 0.0
    known = ctx.vcenter_hints.lookups.get(vm["metadata"]["uid"])
    # What may pass has to be found out again soon after it has passed.
    passing = known is not None and isinstance(known.result, Problem) and known.result.meaning is not Meaning.FINAL
    age = ctx.settings.retry_seconds if passing else MAX_DISCOVERY_AGE_S
    since = max(seen, ctx.monotonic() - age)
    return await discovered(ctx, vm, since=since, key=Key(Work.BACKUP, backup.namespace, backup.name))


def known_vm(backup: ObservedBackup, vm: ProtectedVMSpec) -> FoundVM:
    """Return the VM as in the task of the worker that ended without an answer."""
    disks = [VMDisk(index=disk.index, key=disk.key, virtual_size=disk.virtual_size) for disk in backup.status.disks]
    name = backup.status.vm_name or last_path_element(vm.path)
    return FoundVM(InventoryVM(name=name, path=vm.path), tuple(disks), cbt_enabled=None)


async def _chain_settings(ctx: ReconcileContext, backup: ObservedBackup) -> ChainSettings:
    """Return how the chain's increments are made; a full needs none of it."""
    if backup.spec.type is RequestedType.FULL:
        return ChainSettings()
    name = backup.chain_key.object_name
    chain = await find(ctx.cluster, BACKUP_CHAIN, backup.namespace, name)
    if chain is None:
        return ChainSettings()
    spec = BackupChainSpec.model_validate(chain["spec"])
    return ChainSettings(spec.parent_check, spec.compaction)


def decide_references(
    backup: ObservedBackup, repository: Obj | None, appliance_name: str, appliance: Obj | None
) -> Problem | None:
    """Return what of repository and appliance is missing or not ready. All that a check has to wait for is a wait."""
    if repository is None or is_deleting(repository):
        return Problem("RepositoryNotFound", f"there is no BackupRepository {backup.spec.repository_ref.name}")
    if appliance is None or is_deleting(appliance):
        return Problem("ApplianceNotFound", f"there is no VMwareAppliance {appliance_name}")
    if backup.only_looks:
        return _repository_ready(repository, _READABLE)
    return _appliance_ready(appliance) or _repository_ready(repository)


def _repository_ready(repository: Obj, accepted: frozenset[str] = frozenset()) -> Problem | None:
    """Return why a repository is not ready. `accepted`: reasons that do not matter here."""
    name = repository["metadata"]["name"]
    ready = ready_condition(repository)
    if ready is None:
        return Problem("RepositoryNotReady", f"repository {name} has not been checked yet")
    if ready["status"] != "True" and ready["reason"] not in accepted:
        text = f"repository {name}: {ready['reason']}: {ready.get('message', '')}"
        return Problem("RepositoryNotReady", text)
    if not (repository.get("status") or {}).get("repositoryID"):
        return Problem("RepositoryNotReady", f"repository {name} has no identity yet")
    return None


def _appliance_ready(appliance: Obj) -> Problem | None:
    name = appliance["metadata"]["name"]
    ready = ready_condition(appliance)
    if ready is None:
        return Problem("ApplianceNotReady", f"appliance {name} has not been checked yet")
    if ready["status"] == "True":
        return None
    reason, words = ready["reason"], ready.get("message", "")
    if reason in _PASSED_ON:
        return Problem(reason, words)
    meaning = Meaning.RETRY if reason in _MAY_PASS else Meaning.WAIT
    return Problem("ApplianceNotReady", f"appliance {name}: {reason}: {words}", meaning)
