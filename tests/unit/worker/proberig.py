"""A repository's pod on files: what it answers and what it writes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tests.support.chains import increment, point, uid_of

from sendense_operator.answer import Answer
from sendense_operator.catalogue_format import (
    ChainRecord,
    PointRecord,
    Record,
    RootRecord,
    TombstoneRecord,
    read_catalogue,
)
from sendense_operator.chain.manifest import Manifest
from sendense_operator.task import ProbeTask, Removal
from sendense_operator.worker.maintenance.repository_maintenance import run_probe
from sendense_operator.worker.settings import Settings

POD = uid_of(4711)
ID = uid_of(1)
FULL = point(1)
I2 = increment(2, FULL)
FULL3 = point(3)


class Reported:
    """What a probe answered and what it wrote."""

    def __init__(self, answer: Answer, lines: list[str]) -> None:
        self.answer, self.lines = answer, lines
        self.records: list[Record] = list(read_catalogue(lines, answer.catalogue)) if answer.catalogue else []
        self.points = [record for record in self.records if isinstance(record, PointRecord)]
        self.tombstones = [record for record in self.records if isinstance(record, TombstoneRecord)]
        self.chains = {record.vm: record for record in self.records if isinstance(record, ChainRecord)}
        self.roots = [record for record in self.records if isinstance(record, RootRecord)]

    @property
    def chain(self) -> ChainRecord:
        return self.chains["db"]

    @property
    def root(self) -> RootRecord:
        (root,) = self.roots
        return root


def probe(root: Path, *remove: Manifest, **changes: Any) -> Reported:
    lines: list[str] = []
    asked = tuple(Removal(vm=item.vm.name, backup=item.backup.name, backup_uid=item.backup.uid) for item in remove)
    task = ProbeTask(namespace="shop", repository="main", repository_uid=ID, remove=asked)
    settings = Settings(pod_uid=POD, pod_ip="127.0.0.1", node_ip="", repository=root)
    return Reported(run_probe(settings, task.model_copy(update=changes), lines.append), lines)


def scan(root: Path, *remove: Manifest, **changes: Any) -> Reported:
    return probe(root, *remove, scan=True, **changes)


def names(reported: Reported) -> list[str]:
    return [record.backup for record in reported.points]


def put(root: Path, path: str, data: bytes | str = b"x") -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    return file


def failing(monkeypatch: pytest.MonkeyPatch, end: str, code: int = 5) -> None:
    """Listing or opening what ends so fails as a server that is half away does."""
    scandir, listdir, opened = os.scandir, os.listdir, os.open

    def refuse(path: Any) -> None:
        if str(path).endswith(end):
            raise OSError(code, os.strerror(code), str(path))

    def broken(function: Any) -> Any:
        def call(path: Any = ".", *rest: Any, **named: Any) -> Any:
            refuse(path)
            return function(path, *rest, **named)

        return call

    monkeypatch.setattr(os, "scandir", broken(scandir))
    monkeypatch.setattr(os, "listdir", broken(listdir))
    monkeypatch.setattr(os, "open", broken(opened))
