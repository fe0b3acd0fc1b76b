"""The demo's verdict: anything but qemu-img's own words is a failure."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hack.demo import proof
from hack.demo.kubectl import DemoError

VM: Final[dict[str, Any]] = {
    "disks": [{"key": 2000, "file": "DC1/vm/a/0.raw"}, {"key": 2001, "file": "DC1/vm/a/1.raw"}]
}
BACKUP: Final[dict[str, Any]] = {
    "status": {
        "disks": [
            {"id": 0, "key": 2000, "file": "n/v/disk-0/f.qcow2", "virtualSize": 1, "type": "Full", "storedBytes": 1},
            {"id": 1, "key": 2001, "file": "n/v/disk-1/f.qcow2", "virtualSize": 1, "type": "Full", "storedBytes": 1},
        ]
    }
}


@pytest.mark.parametrize(
    ("second", "same"),
    [
        ("Images are identical.\n", True),
        ("Content mismatch at offset 0!\n", False),
        ("Warning: Image size mismatch!\nImages are identical.\n", False),
        ("", False),
    ],
)
def test_every_disk_must_be_identical(monkeypatch: pytest.MonkeyPatch, second: str, same: bool) -> None:
    asked: list[tuple[str, ...]] = []

    def inside(*command: str) -> str:
        asked.append(command)
        return "Images are identical.\n" if len(asked) == 1 else second

    monkeypatch.setattr(proof, "_inside", inside)
    assert proof.compare(BACKUP, VM) is same
    assert [command[-2:] for command in asked] == [
        ("/source/DC1/vm/a/0.raw", "/repository/n/v/disk-0/f.qcow2"),
        ("/source/DC1/vm/a/1.raw", "/repository/n/v/disk-1/f.qcow2"),
    ]
    asked.clear()
    assert proof.compare(BACKUP, VM, kept=True) is same
    assert [command[-2] for command in asked] == ["/scratch/before/DC1/vm/a/0.raw", "/scratch/before/DC1/vm/a/1.raw"]


def test_a_comparison_that_fails_is_no_proof(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def inside(*_: str) -> str:
        raise DemoError("kubectl exec\nqemu-img: Could not open")

    monkeypatch.setattr(proof, "_inside", inside)
    assert proof.compare(BACKUP, VM) is False
    assert "Could not open" in capsys.readouterr().out
