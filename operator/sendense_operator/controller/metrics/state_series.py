"""All series that are computed from objects. A new kind adds its store, its records and its families here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily

from sendense_operator.controller.metrics.appliance_series import ApplianceRecord, appliance_families
from sendense_operator.controller.metrics.backup_series import BackupRecord, BackupTotals, backup_families, sum_up
from sendense_operator.controller.metrics.chain_series import ChainRecord, chain_families
from sendense_operator.controller.metrics.policy_series import PolicyRecord, policy_families
from sendense_operator.controller.metrics.repository_series import RepositoryRecord, repository_families
from sendense_operator.controller.metrics.restore_series import RestoreRecord, restore_families
from sendense_operator.controller.metrics.state_records import RecordStore
from sendense_operator.controller.metrics.vm_series import VMRecord, vm_families
from sendense_operator.object_key import ObjectKey


@dataclass(frozen=True)
class StateSnapshot:
    """The records of one moment."""

    backups: list[BackupRecord]
    vms: list[VMRecord]
    chains: list[ChainRecord]
    policies: list[PolicyRecord]
    repositories: list[RepositoryRecord]
    appliances: list[ApplianceRecord]
    restores: list[RestoreRecord]


class StateStores:
    """The records of all kinds, as Mirrors fill them."""

    def __init__(self) -> None:
        self.backups = RecordStore[BackupRecord]()
        self.vms = RecordStore[VMRecord]()
        self.chains = RecordStore[ChainRecord]()
        self.policies = RecordStore[PolicyRecord]()
        self.repositories = RecordStore[RepositoryRecord]()
        self.appliances = RecordStore[ApplianceRecord]()
        self.restores = RecordStore[RestoreRecord]()

    def snapshot(self) -> StateSnapshot:
        """Return what there is now, for another thread to read."""
        return StateSnapshot(
            self.backups.all(),
            self.vms.all(),
            self.chains.all(),
            self.policies.all(),
            self.repositories.all(),
            self.appliances.all(),
            self.restores.all(),
        )


def state_families(state: StateSnapshot) -> Iterator[GaugeMetricFamily]:
    """Yield all series that are computed from objects."""
    totals = sum_up(state.backups)
    repositories, appliances = _queues(totals, state.vms)
    yield from backup_families(totals)
    yield from restore_families(state.restores)
    yield from vm_families(state.vms, {policy.key: policy for policy in state.policies}, totals.vms)
    yield from chain_families(state.chains)
    yield from policy_families(state.policies)
    yield from repository_families(state.repositories, repositories)
    yield from appliance_families(state.appliances, appliances)


def _queues(totals: BackupTotals, vms: list[VMRecord]) -> tuple[Counter[ObjectKey], Counter[ObjectKey]]:
    """Return how many Backups wait for their turn, by repository and by appliance."""
    repositories: Counter[ObjectKey] = Counter()
    appliances: Counter[ObjectKey] = Counter()
    appliance_of = {vm.key: vm.appliance for vm in vms} if totals.queued else {}
    for (namespace, vm, repository), count in totals.queued.items():
        repositories[ObjectKey(namespace, repository)] += count
        appliance = appliance_of.get(ObjectKey(namespace, vm))
        if appliance is not None:
            appliances[ObjectKey(namespace, appliance)] += count
    return repositories, appliances
