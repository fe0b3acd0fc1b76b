"""What the demo shows of a running Backup."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hack.demo.cli import NAMESPACE, free_name, in_namespace
from hack.demo.kubectl import CHECKOUT, DemoError
from hack.demo.progress import bar, lines, size
from hack.demo.proof import Place, place_of


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (300 << 20, "300 MiB"), (5 << 40, "5.0 TiB")]
)
def test_size(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize("percent", [-5, 0, 1, 50, 99, 100, 250])
def test_bar_has_a_fixed_width(percent: int) -> None:
    assert len(bar(percent)) == len(bar(50))


def test_waiting_says_what_for() -> None:
    status = {"phase": "Pending", "message": "VMNotFound: there is no ProtectedVM pgtest1"}
    (line,) = lines({"status": status}, 3)
    assert "Pending" in line
    assert line.endswith(status["message"])


def test_an_object_without_status_can_be_shown() -> None:
    assert len(lines({}, 0)) == 1


def test_running_has_a_line_for_each_disk() -> None:
    status: dict[str, Any] = {
        "phase": "Running",
        "stage": "Copying",
        "progress": {"percent": 40, "rate": "210 MiB/s", "eta": "9s"},
        "disks": [
            {"id": 0, "percent": 100, "virtualSize": 1 << 30, "bytesTransferred": 1 << 30},
            {"id": 1, "virtualSize": 2 << 30},
        ],
    }
    total, first, second = lines({"status": status}, 12.3)
    assert "Copying" in total
    assert "40%" in total
    assert "12 s" in total
    assert "210 MiB/s" in total
    assert "ETA 9s" in total
    assert "1.0 GiB of 1.0 GiB" in first
    assert "0 B of 2.0 GiB" in second


def test_each_run_takes_the_next_free_name() -> None:
    assert free_name("full", set()) == "full"
    assert free_name("full", {"full", "full-2", "other"}) == "full-3"


def test_place_of_a_volume() -> None:
    assert place_of({"metadata": {"name": "v"}, "spec": {"hostPath": {"path": "/a"}}}, "n") == Place("n", "/a")
    assert place_of({"metadata": {"name": "v"}, "spec": {"local": {"path": "/b"}}}, "n") == Place("n", "/b")
    with pytest.raises(DemoError, match="v is no folder"):
        place_of({"metadata": {"name": "v"}, "spec": {"nfs": {"path": "/c"}}}, "n")


@pytest.mark.parametrize("folder", ["quickstart", "incrementals"])
def test_the_examples_go_into_a_namespace_of_the_demo(folder: str) -> None:
    files = sorted((CHECKOUT / "examples" / folder).glob("*.yaml"))
    objects = [obj for file in files for obj in yaml.safe_load_all(in_namespace(file.read_text(encoding="utf-8")))]
    places = {obj["metadata"]["name" if obj["kind"] == "Namespace" else "namespace"] for obj in objects}
    assert places == {NAMESPACE}
