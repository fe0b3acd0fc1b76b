"""What the metrics cost with many objects."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator

from tests.support import sample
from tests.support.objects import Obj
from tests.support.sample import GIB, NAMESPACE, at, stamp

from sendense_operator.controller.metrics.backup_series import BackupRecord
from sendense_operator.controller.metrics.exposition import state_text
from sendense_operator.controller.metrics.state_records import RecordStore
from sendense_operator.controller.metrics.state_series import StateStores
from sendense_operator.controller.metrics.vm_series import VMRecord

MANY = 10_000


def _completed(number: int) -> Obj:
    status = {
        **sample.ready_status("Committed"),
        "phase": "Completed",
        "type": "Incremental",
        "completionTime": stamp(number),
        "durationSeconds": number,
        "progress": {"bytesTransferred": GIB + number},
        "guestBytes": GIB - number,
        "storedBytes": GIB + 2 * number,
    }
    return sample.backup(f"b{number}", status, vm=f"vm{number % 1000}", age=number)


def _records() -> Iterator[BackupRecord]:
    return (BackupRecord.of(_completed(number)) for number in range(MANY))


def test_ten_thousand_backups_take_few_bytes() -> None:
    store = RecordStore[BackupRecord]()
    tracemalloc.start()
    try:
        store.replace(_records(), None)
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(store) == MANY
    # the UID is counted here, and shared with the follower's index in the controller
    assert kept / MANY < 400
    assert most < kept + (4 << 20)


def test_a_scrape_of_a_thousand_vms_is_quick() -> None:
    stores = StateStores()
    stores.backups.replace(_records(), None)
    status = {"latestTime": at(0).isoformat()}
    stores.vms.replace((VMRecord.of(sample.protected_vm(f"vm{n}", status)) for n in range(1000)), NAMESPACE)
    begin = time.process_time()
    text = state_text(stores.snapshot())
    assert text.count(b"\nsendense_protectedvm_last_backup_stored_bytes{") == 1000
    assert time.process_time() - begin < 3  # it takes 0.2 s
