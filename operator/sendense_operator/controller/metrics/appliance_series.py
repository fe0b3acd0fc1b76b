"""Series of VMwareAppliances. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from prometheus_client.core import GaugeMetricFamily

from sendense_operator import metric_catalogue as catalogue
from sendense_operator.api.v1alpha1.vmwareappliance import VMwareApplianceSpec, VMwareApplianceStatus
from sendense_operator.cluster.objects import Obj
from sendense_operator.controller.metrics.families import gauge
from sendense_operator.controller.metrics.state_records import NamedRecord, is_ready, read_model, seconds
from sendense_operator.metric_catalogue import Metric
from sendense_operator.object_key import ObjectKey


@dataclass(frozen=True, slots=True)
class ApplianceRecord(NamedRecord):
    """What is kept of a VMwareAppliance."""

    ready: bool = False
    contact: float | None = None
    """When it last answered, in seconds since the epoch."""
    stuck: int | None = None
    slots: int | None = None
    used: int | None = None

    @classmethod
    def of(cls, obj: Obj) -> Self:
        """From a VMwareAppliance. Raises KeyError for what can't be one."""
        meta = obj["metadata"]
        spec = read_model(VMwareApplianceSpec, obj.get("spec"))
        status = read_model(VMwareApplianceStatus, obj.get("status"))
        if spec is None or status is None:
            return cls(meta["uid"], meta["namespace"], meta["name"])
        return cls(
            meta["uid"],
            meta["namespace"],
            meta["name"],
            ready=is_ready(status.conditions),
            contact=seconds(status.last_contact_time),
            stuck=status.stuck_clients,
            slots=spec.max_concurrent_backups,
            used=status.active_backups,
        )


_SERIES: Final[tuple[tuple[Metric, Callable[[ApplianceRecord], float | None]], ...]] = (
    (catalogue.APPLIANCE_READY, lambda one: int(one.ready)),
    (catalogue.APPLIANCE_CONTACT, lambda one: one.contact),
    (catalogue.APPLIANCE_STUCK, lambda one: one.stuck),
    (catalogue.APPLIANCE_SLOTS, lambda one: one.slots),
    (catalogue.APPLIANCE_USED, lambda one: one.used),
)


def appliance_families(
    records: Sequence[ApplianceRecord], queued: Mapping[ObjectKey, int]
) -> Iterator[GaugeMetricFamily]:
    """Yield the series of VMwareAppliances. `queued`: how many Backups wait for their turn, by appliance."""
    for metric, value_of in _SERIES:
        yield gauge(metric, ((one.key, value_of(one)) for one in records))
    yield gauge(catalogue.APPLIANCE_QUEUED, ((one.key, queued.get(one.key, 0)) for one in records))
