"""Numbers of the REST listener in Prometheus' text format. No names of users, VMs or backups."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from typing import Final

from sendense_operator.gateway.rest.object_cache import Freshness, Stores
from sendense_operator.process_metrics import resident_bytes

BUCKETS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counted since the start."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets: Counter[tuple[str, int]] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def done(self, operation: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests[operation, status] += 1
        self._buckets[operation, bisect_left(BUCKETS_S, seconds)] += 1
        self._seconds[operation] += seconds

    def text(self, stores: Stores, freshness: Freshness) -> str:
        """Return all of them."""
        age = freshness.age_s
        lines = ["# TYPE sendense_rest_requests_total counter"]
        lines += [
            f'sendense_rest_requests_total{{operation="{operation}",code="{status}"}} {count}'
            for (operation, status), count in sorted(self._requests.items())
        ]
        lines += ["# TYPE sendense_rest_request_seconds histogram", *self._histogram()]
        lines += ["# TYPE sendense_rest_objects gauge"]
        lines += [
            f'sendense_rest_objects{{kind="{kind}"}} {len(store)}'
            for kind, store in (
                ("Backup", stores.backups),
                ("BackupChain", stores.chains),
                ("BackupRepository", stores.repositories),
                ("ProtectedVM", stores.vms),
            )
        ]
        lines += ["# TYPE sendense_rest_cache_age_seconds gauge"]
        lines += [f"sendense_rest_cache_age_seconds {'+Inf' if age == float('inf') else round(age, 3)}"]
        lines += ["# TYPE process_resident_memory_bytes gauge", f"process_resident_memory_bytes {resident_bytes()}"]
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        name, lines = "sendense_rest_request_seconds", []
        for operation in sorted({operation for operation, _ in self._buckets}):
            total = 0
            for place, bound in enumerate((*BUCKETS_S, "+Inf")):
                total += self._buckets[operation, place]
                lines.append(f'{name}_bucket{{operation="{operation}",le="{bound}"}} {total}')
            lines.append(f'{name}_sum{{operation="{operation}"}} {self._seconds[operation]:.6f}')
            lines.append(f'{name}_count{{operation="{operation}"}} {total}')
        return lines
