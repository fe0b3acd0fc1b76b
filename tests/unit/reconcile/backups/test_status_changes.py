"""The typed changes of statuses are fields of the models, and nothing changes a model in another way."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from pydantic import BaseModel

import sendense_operator
from sendense_operator.api.v1alpha1.backup import BackupDisk, BackupProgress, BackupStatus
from sendense_operator.api.v1alpha1.backupchain import RemovedPoint
from sendense_operator.reconcile.backups.status_changes import (
    BackupChanges,
    DerivedChanges,
    DiskChanges,
    ProgressChanges,
    changed_status,
)
from sendense_operator.reconcile.catalogue.point_changes import PointChanges

DERIVED = {"observed_generation", "conditions", "phase", "message", "duration", "duration_seconds"}
"""By `next_backup_status`."""
PACKAGE = Path(sendense_operator.__file__).parent
NO_STATUS = {
    "answer.py": "a worker's answer",
    "worker/main.py": "a worker's answer",
    "reconcile/restores/restore_sender.py": "a task",
    "chain/parent_blocks.py": "a mark",
    "chain/consolidation.py": "a manifest",
    "worker/storage/merge_switch.py": "a manifest, and the journal of a merge",
}
"""Files whose models go into no status."""


def test_each_field_of_the_status_is_changed_by_name_or_derived() -> None:
    assert set(get_type_hints(BackupChanges)) == set(BackupStatus.model_fields) - DERIVED
    assert set(get_type_hints(DerivedChanges)) == set(BackupStatus.model_fields)


@pytest.mark.parametrize("name", sorted(get_type_hints(BackupChanges)))
def test_a_change_lands_in_its_field(name: str) -> None:
    marker = object()
    assert getattr(changed_status(BackupStatus(), {name: marker}), name) is marker  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "model"),
    [
        (DerivedChanges, BackupStatus),
        (DiskChanges, BackupDisk),
        (ProgressChanges, BackupProgress),
        (PointChanges, RemovedPoint),
    ],
)
def test_changes_have_the_types_of_their_fields(changes: type[Any], model: type[BaseModel]) -> None:
    fields = get_type_hints(model)
    assert {name: fields[name] for name in get_type_hints(changes)} == get_type_hints(changes)


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path.relative_to(PACKAGE).as_posix(), node


def typed_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Mapping[str, str]:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *filter(None, [arguments.kwarg])]
    return {one.arg: ast.unparse(one.annotation) for one in every if one.annotation is not None}


def updates(function: ast.AST) -> Iterator[ast.expr]:
    """What `model_copy` is to change, in each call."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "model_copy":
            yield from node.args
            yield from (keyword.value for keyword in node.keywords if keyword.arg != "deep")


def test_no_model_is_changed_by_a_dict_without_a_type() -> None:
    """`model_copy` takes unknown names and wrong types in silence, so only typed changes reach it."""
    untyped = []
    for file, function in functions():
        types = typed_parameters(function)
        allowed = {f"dict({name})" for name, kind in types.items() if kind.removesuffix("]").endswith("Changes")}
        if file not in NO_STATUS:
            untyped += [f"{file}: {ast.unparse(one)}" for one in updates(function) if ast.unparse(one) not in allowed]
    assert untyped == []


def test_what_is_excepted_is_needed() -> None:
    assert {file for file, function in functions() if file in NO_STATUS and any(updates(function))} == set(NO_STATUS)
