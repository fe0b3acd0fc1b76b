"""The typed changes of a Backup's status are fields of the status itself."""

from __future__ import annotations

from typing import get_type_hints

import pytest

from sendense_operator.api.v1alpha1.backup import BackupStatus
from sendense_operator.reconcile.backups.status_changes import BackupChanges, changed_status

DERIVED = {"observed_generation", "conditions", "phase", "message", "duration", "duration_seconds"}
"""By `next_backup_status`."""


def test_each_field_of_the_status_is_changed_by_name_or_derived() -> None:
    assert set(get_type_hints(BackupChanges)) == set(BackupStatus.model_fields) - DERIVED


@pytest.mark.parametrize("name", sorted(get_type_hints(BackupChanges)))
def test_a_change_lands_in_its_field(name: str) -> None:
    marker = object()
    assert getattr(changed_status(BackupStatus(), {name: marker}), name) is marker  # type: ignore[misc]
