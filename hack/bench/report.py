"""What is measured, what is aimed at, and how both are shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.support.kube import CHECKOUT

FILE: Final = CHECKOUT / "build" / "bench.json"
"""One flat object of name and number."""


@dataclass(frozen=True)
class Goal:
    """A number's meaning and its bound; without a bound it is only reported."""

    text: str
    bound: float | None = None
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Return whether the value is within the bound."""
        if self.bound is None:
            return True
        return value >= self.bound if self.at_least else value <= self.bound

    def shown(self) -> str:
        """Return the bound as a table has it."""
        if self.bound is None:
            return ""
        return f"{'at least' if self.at_least else 'at most'} {self.bound:g}"


GOALS: Final[Mapping[str, Goal]] = {
    "data_ratio": Goal("qemu-img convert's time / the copy phase's, 4 GiB with 58% data", 0.7, at_least=True),
    "whole_ratio": Goal("qemu-img convert's time / from apply to Completed"),
    "convert_seconds": Goal("qemu-img convert -t none of that disk, by turns with the backups; medians"),
    "copy_seconds": Goal("its copy phase: from the appliance's first byte to its report of the end"),
    "whole_seconds": Goal("from apply to Completed"),
    "worker_mb": Goal("worker's memory while copying, most that was seen"),
    "worker_mb_depth31": Goal("worker's memory for 256 GiB in 31 layers, 4 KiB changed per GiB and layer", 256),
    "worker_mb_64tib": Goal("worker's memory for a sparse disk of 64 TiB, full and proof", 512),
    "fixed_seconds": Goal("an empty 1 GiB disk, apply to Completed, median of 5", 10),
    "incremental_ratio": Goal("5% of 4 GiB changed in runs, apply to Completed / the full's, client at 230 MiB/s", 0.3),
    "full_seconds": Goal("that full"),
    "incremental_seconds": Goal("that increment"),
    "incremental_ratio_unlimited": Goal("the same where the client is as fast as the machine"),
    "gap_seconds": Goal("from an increment's end to the Job of the VM's next one, created before; median of 9", 3),
    "gap_most_seconds": Goal("the longest of them"),
    "policy_lag_seconds": Goal("from a slot to the creation of its Backups, 100 VMs at once, 99th percentile", 5),
    "stored_ratio_runs": Goal("stored / sent, changed in runs of 1 to 8 MiB", 1.1),
    "sent_ratio_runs": Goal("sent / changed"),
    "stored_ratio_64k": Goal("stored / sent, changed in random 64 KiB", 1.1),
    "sent_ratio_64k": Goal("sent / changed: the appliance merges what is up to 1 MiB apart"),
    "stored_ratio_4k": Goal("stored / sent, changed in random 4 KiB", 1.1),
    "sent_ratio_4k": Goal("sent / changed"),
    "compacted_ratio_runs": Goal("stored / really changed, changed in runs of 1 to 8 MiB", 1.15),
    "compacted_ratio_64k": Goal("stored / really changed, changed in random 64 KiB", 1.15),
    "compacted_ratio_4k": Goal("stored / really changed, changed in random 4 KiB", 1.15),
    "chain_read_ratio": Goal("reading one layer's time / eight layers' of the same content", 0.85, at_least=True),
    "chain_read_seconds": Goal("reading 2 GiB, 58% data, through eight layers"),
    "verify_ratio": Goal("qemu-img convert's time to null / verifying's, 4 GiB of random data", 0.8, at_least=True),
    "verify_seconds": Goal("verifying that content"),
    "compaction_ratio": Goal(
        "qemu-img convert's time for an increment and its parent / digests and compaction, 2 GiB", 0.5, at_least=True
    ),
    "compaction_seconds": Goal("digesting and compacting that increment"),
    "compaction_mb": Goal("worker's memory while compacting, most that was seen", 256),
    "merge_ratio": Goal(
        "cp's time with fsync / a merge's of two increments of 1 GiB, proof included", 0.5, at_least=True
    ),
    "merge_seconds": Goal("that merge"),
    "merge_mb": Goal("worker's memory while merging them, most that was seen", 256),
    "merge_read_ratio": Goal("reading a fresh full's time / the merged increment's with its full", 0.9, at_least=True),
    "merge_full_ratio": Goal(
        "cp's time with fsync / a merge's of a full and an increment of 1 GiB", 0.5, at_least=True
    ),
    "merge_full_seconds": Goal("that merge"),
    "merge_full_mb": Goal("worker's memory then", 256),
    "merge_full_read_ratio": Goal("reading a fresh full's time / the merged full's", 0.9, at_least=True),
    "merge_write_factor": Goal("bytes that merges write / bytes of the files that go, 40 increments, 7 kept", 2),
    "merge_net_write_factor": Goal("bytes that merges write / bytes by which the chain gets smaller"),
    "lasting_stored_ratio": Goal("stored at the end / the disk and the kept changes", 1.3),
    "lasting_depth": Goal("most layers, that of the running increment included; the target is 8", 9),
    "lasting_read_ratio": Goal("reading a fresh full's time / that of the newest restore point", 0.9, at_least=True),
    "restore_ratio": Goal(
        "qemu-img convert's time / a restore's with its read-back, 4 GiB with 58% data", 0.5, at_least=True
    ),
    "restore_copy_ratio": Goal("the same without the read-back", 0.85, at_least=True),
    "restore_depth8_ratio": Goal("restoring from one layer's time / from eight layers'", 0.85, at_least=True),
    "restore_node_ratio": Goal("as restore_ratio, by two workers over NBD with TLS, both on one machine"),
    "restore_seconds": Goal("restoring that disk from one layer"),
    "restore_mb": Goal("a restore's memory with eight layers, most that was seen", 256),
    "restore_fixed_seconds": Goal("an empty 1 GiB disk restored, apply to Completed, median of 5", 6),
    "scan_1000_seconds": Goal("scan of 1000 restore points, from request to report", 60),
    "adopt_1000_seconds": Goal("until there is a Completed Backup for each"),
    "delete_seconds": Goal("kubectl delete of one of them to the object gone, median of 5"),
    "freed_seconds": Goal("to its files gone"),
    "list_p99_ms": Goal("a filtered REST list among 10,000 Backups, gateway on one core, 99th percentile", 50),
    "gateway_mb": Goal("the gateway's memory then", 300),
    "controller_mb_10000": Goal("the controller's memory with 10,000 restore points, most since its start", 200),
    "restart_10000_seconds": Goal("from its start until it is steady", 60),
    "adopt_10000_seconds": Goal("until there is a Completed Backup for each of them", 300),
    "delete_namespace_10000_seconds": Goal("from the deletion of their namespace until all Backups are gone"),
    "kb_per_backup_10000": Goal("its memory beyond that with none / Backups, KB"),
    "controller_mb": Goal("controller's memory with 200 Completed Backups and 200 policies", 150),
    "reconciles_idle_minute": Goal("its reconciles in a minute in which nothing changes"),
}


def show(numbers: Mapping[str, float], say: Callable[[str], None] = print) -> bool:
    """Print the table and write FILE; whether every goal is met."""
    for name, value in numbers.items():
        goal = GOALS[name]
        verdict = "" if goal.bound is None else "ok" if goal.met(value) else "MISSED"
        say(f"{name:<27} {value:>9.2f}  {goal.shown():<14} {verdict:<7} {goal.text}")
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(json.dumps({name: round(value, 3) for name, value in numbers.items()}, indent=1) + "\n")
    return all(GOALS[name].met(value) for name, value in numbers.items())
