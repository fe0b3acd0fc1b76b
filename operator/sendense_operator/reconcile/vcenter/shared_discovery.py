"""What an appliance's discovery tells of single VMs: its answer is used for all of them, and they wait for the next."""

from __future__ import annotations

from typing import Final

from sendense_operator.api.v1alpha1.protectedvm import ProtectedVMSpec
from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceSpec
from sendense_operator.cluster.objects import Obj
from sendense_operator.formatting import parse_time
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.context import ReconcileContext, VCenterContext
from sendense_operator.reconcile.state.inventory_path import datacenter_of
from sendense_operator.reconcile.state.vm_records import DatacenterInventory, DatacenterKey

_OVERDUE: Final = 2.0
"""Intervals of the discovery after which a VM no longer waits for it."""


def listing_for(ctx: VCenterContext, namespace: str, spec: ProtectedVMSpec) -> DatacenterInventory | None:
    """Return the last list of the VM's datacenter, if its appliance's discovery made one."""
    appliance = ObjectKey(namespace, spec.appliance_ref.name)
    return ctx.vcenter_hints.listings.get(DatacenterKey(appliance, datacenter_of(spec)))


def expected_in(ctx: ReconcileContext, appliance: Obj, spec: ProtectedVMSpec) -> float | None:
    """Return seconds for which the VM may wait for its appliance's discovery; None when that does not look after it."""
    rules = VMwareApplianceSpec.model_validate(appliance["spec"]).discovery
    if rules is None or datacenter_of(spec) not in rules.datacenters:
        return None
    if rules.interval_seconds > spec.discovery_interval_seconds:
        return None
    last = parse_time(((appliance.get("status") or {}).get("discovery") or {}).get("lastTime"))
    if last is None:
        return None
    rest = rules.interval_seconds * _OVERDUE - abs((ctx.now() - last).total_seconds())
    return rest if rest > 0 else None
