"""Paths of the API."""

from __future__ import annotations

import pytest

from sendense_operator.cluster import kinds


@pytest.mark.parametrize(
    ("kind", "place", "path"),
    [
        (kinds.POD, ("shop", "p"), "/api/v1/namespaces/shop/pods/p"),
        (kinds.POD, ("shop", None), "/api/v1/namespaces/shop/pods"),
        (kinds.POD, (None, None), "/api/v1/pods"),
        (kinds.NODE, (None, "n"), "/api/v1/nodes/n"),
        (kinds.JOB, ("shop", "j"), "/apis/batch/v1/namespaces/shop/jobs/j"),
        (kinds.BACKUP, ("shop", "b"), "/apis/backup.sendense.io/v1alpha1/namespaces/shop/backups/b"),
    ],
)
def test_path(kind: kinds.Kind, place: tuple[str | None, str | None], path: str) -> None:
    assert kind.path(*place) == path


def test_subresource() -> None:
    assert kinds.BACKUP.path("shop", "b", "status").endswith("/backups/b/status")


def test_an_object_without_its_namespace_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="Backup"):
        kinds.BACKUP.path(None, "b")
