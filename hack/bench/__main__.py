"""`python -m hack.bench [PART…]`, see PARTS: needs the chart on the test cluster, as `make bench` leaves it.

All parts together take about 20 minutes.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hack.bench import chains, copying, idle, incrementals, manypoints, memory, policies, queueing, report, rest
from tests.support import chart, namespaces, repositories, setup, vma
from tests.support.kube import Kube
from tests.support.workspace import Workspace


@contextmanager
def workspace() -> Iterator[Workspace]:
    """A namespace, an appliance and what is in them; removed at the end."""
    kube = Kube.connect()
    with tempfile.TemporaryDirectory() as run:
        setup.ensure_reference_vma(kube, Path(run))
    operator = str(chart.only(kube, "Deployment", "controller")["metadata"]["namespace"])
    with namespaces.temporary(kube, "bench") as namespace:
        appliance = vma.in_cluster(kube, namespace)
        password = secrets.token_hex(8)
        # large disks that nobody changes meanwhile: no copy as a snapshot
        appliance.configure(vcenter_password=password, snapshot="none")
        space = Workspace(kube, namespace, operator, appliance, password)
        space.add_secret()
        space.add_appliance(timeouts=copying.TIMEOUTS)
        space.add_repository(probeIntervalSeconds=copying.PROBE_SECONDS)
        try:
            yield space
        finally:
            appliance.remove()
            repositories.remove(kube, space.folders.values())


PARTS: Final[Mapping[str, tuple[str, Callable[[Workspace], dict[str, float]]]]] = {
    "data": ("a disk of 4 GiB", copying.data),
    "fixed": ("an empty disk, 5 times", copying.fixed),
    "increments": ("5% of a disk of 4 GiB changed in three ways", incrementals.increments),
    "gaps": (f"{queueing.COUNT} increments of a VM, created at once", queueing.gaps),
    "reading": ("a disk of 2 GiB in 8 layers and in one", chains.reading),
    "memory": ("a disk of 256 GiB in 31 layers and one of 64 TiB", memory.worker),
    "verifying": ("the content of 4 GiB verified", memory.verification),
    "compacting": ("an increment of 2 GiB compacted to the 5% that changed", memory.compaction),
    "merging": ("two increments of 1 GiB merged, and a full and one", memory.merging),
    "lasting": ("40 increments of a disk of 1 GiB, of which the last 7 are kept", memory.lasting),
    "restoring": ("4 GiB with 58% data restored, from one layer, from 8, and by two workers", memory.restore),
    "restored": ("an empty disk restored, 5 times", copying.restored),
    "rest": (f"REST lists among {rest.COUNT} Backups, no cluster", lambda _: rest.gateway()),
    "many": (f"the controller with {manypoints.COUNT} restore points, no cluster", lambda _: manypoints.controller()),
    "policies": (f"{policies.COUNT} VMs of one slot", policies.lag),
    "idle": (f"{idle.COUNT} Completed Backups and {idle.POLICIES} policies", idle.controller),
    # last: its Backups would count in what is measured of the controller
    "catalogue": ("a repository of 1000 restore points", chains.catalogue),
}


def main(chosen: list[str]) -> int:
    """Return the exit code: 0 when all goals are met."""
    numbers: dict[str, float] = {}
    with workspace() as space:
        for name in chosen or PARTS:
            text, part = PARTS[name]
            print(f"measuring: {text}", file=sys.stderr, flush=True)
            numbers |= (found := part(space))
            print("  " + ", ".join(f"{key} {value:.2f}" for key, value in found.items()), file=sys.stderr, flush=True)
    return 0 if report.show(numbers) else 1


sys.exit(main(sys.argv[1:]))
