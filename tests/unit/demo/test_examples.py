"""What the demo makes of the examples."""

from __future__ import annotations

import pytest
import yaml
from hack.demo.cli import NAMESPACE, free_name, in_namespace
from hack.demo.kubectl import CHECKOUT, DemoError
from hack.demo.proof import Place, place_of
from hack.demo.sizes import size


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (300 << 20, "300 MiB"), (5 << 40, "5.0 TiB")]
)
def test_size(count: int, text: str) -> None:
    assert size(count) == text


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
