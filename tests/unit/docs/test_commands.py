"""Commands of the documentation and the README, as far as they can be checked without a cluster."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

import pytest
import yaml
from tests.support.documentation import COMMANDS, TEXTS, blocks
from tests.support.kube import CHECKOUT
from tests.support.objects import Obj

from sendense_operator.api.schema import crd
from sendense_operator.api.v1alpha1 import RESOURCES, Resource, names

VALUES: Final = yaml.safe_load((CHECKOUT / "charts/sendense-backup/values.yaml").read_text(encoding="utf-8"))
TARGETS: Final = set(re.findall(r"^([a-z]+):", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
SOURCES: Final = "".join(path.read_text(encoding="utf-8") for path in (CHECKOUT / "operator").rglob("*.py"))
KEYS: Final = {value for value in vars(names).values() if isinstance(value, str)}
OURS: Final = {name: r for r in RESOURCES for name in (r.short_name, r.plural, r.kind.lower())}
CORE: Final = {"deploy", "pod", "pods", "pvc", "rolebinding", "secret", "serviceaccount", "svc", "token"}
PLACES: Final = ("charts", "crds", "examples", "hack")
WITH_VALUE: Final = {"-n", "-o", "-l", "-f", "-p", "--field-selector", "--namespace", "-H", "-d", "-X", "--cacert"}
OTHERS: Final = {"base64", "jq", "nbdcopy", "nbdinfo", "pip", "qemu-img", "sendense"}
"""Commands of which nothing is checked but that they are known here."""


def _of(program: str) -> list[Any]:
    found = [(page, command) for page, command in COMMANDS if command[0] == program]
    assert found, f"no {program} was found"
    return [pytest.param(command, id=f"{page}: {' '.join(command)[:90]}") for page, command in found]


def _options(command: list[str], name: str) -> list[str]:
    return [after for word, after in pairwise(command) if word == name]


def _arguments(command: list[str]) -> list[str]:
    """Words that are no option and no option's value."""
    words = [word for before, word in pairwise(command) if before not in WITH_VALUE]
    return [word for word in words if not word.startswith("-")]


def _schema(resource: Resource, part: str) -> Obj:
    (version,) = crd(resource)["spec"]["versions"]
    schema: Obj = version["schema"]["openAPIV3Schema"]["properties"][part]
    return schema


def _has(schema: Obj, path: list[str]) -> bool:
    return not path or (path[0] in schema.get("properties", {}) and _has(schema["properties"][path[0]], path[1:]))


def _paths(value: Any) -> Iterator[list[str]]:
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield [name]
        yield from ([name, *rest] for rest in _paths(inner))


def _merged(base: Any, patch: Any) -> Any:
    if not (isinstance(base, Mapping) and isinstance(patch, Mapping)):
        return patch
    return {**base, **{name: _merged(base.get(name), value) for name, value in patch.items()}}


def _example(resource: Resource) -> Obj:
    for file in sorted((CHECKOUT / "examples").rglob("*.yaml")):
        for item in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            if item["kind"] == resource.kind:
                return dict(item["spec"])
    return {"vmRef": {"name": "vm"}, "repositoryRef": {"name": "main"}}


def _value_exists(path: str) -> bool:
    """Whether a value of the chart exists. Below an empty map, an empty list and null anything may be set."""
    value = VALUES
    for name in re.sub(r"\[\d+\]", "", path).split("."):
        if value in ({}, [], None):
            return True
        if not isinstance(value, dict) or name not in value:
            return False
        value = value[name]
    return True


def test_commands_are_in_blocks_that_are_checked() -> None:
    for page, text in TEXTS.items():
        for language, content in blocks(text):
            assert language in ("", "json", "mermaid", "sh", "yaml"), page
            assert language == "sh" or not re.search(r"^ *(kubectl|helm|make|curl) ", content, re.MULTILINE), page


def test_each_command_is_known() -> None:
    known = OTHERS | {"curl", "helm", "kubectl", "make"}
    assert [c for _, c in COMMANDS if c[0] not in known and not re.match("[a-z]+=", c[0])] == []
    assert len(COMMANDS) > 50


@pytest.mark.parametrize("command", [param for p in ("helm", "kubectl", "make") for param in _of(p)])
def test_files_exist(command: list[str]) -> None:
    for word in command:
        if word.split("/")[0] in PLACES:
            assert (CHECKOUT / word).exists(), word
    for path in _options(command, "-f"):
        assert (CHECKOUT / path).exists(), path


@pytest.mark.parametrize("command", _of("kubectl"))
def test_kinds_and_fields_exist(command: list[str]) -> None:
    arguments = _arguments(command)
    if arguments[0] in ("apply", "logs") or "-f" in command:
        return
    kinds, *path = arguments[1].split("/")[0].split(".")
    for kind in kinds.split(","):
        assert kind in OURS or kind in CORE, kind
    resource = OURS.get(kinds)
    if path:
        assert resource is not None
        assert _has(_schema(resource, path[0]), path[1:])
    for selector in (part for option in _options(command, "--field-selector") for part in option.split(",")):
        assert resource is not None
        assert f".{selector.partition('=')[0]}" in resource.selectable
    for _, part, rest in re.findall(r"(\{\.(spec|status)\.([\w.]+)\})", " ".join(command)):
        assert resource is not None
        assert _has(_schema(resource, part), rest.split("."))


@pytest.mark.parametrize("command", [param for param in _of("kubectl") if "patch" in param.values[0]])
def test_patches_fit_their_kind(command: list[str]) -> None:
    resource = OURS[_arguments(command)[1]]
    (patch,) = map(json.loads, _options(command, "-p"))
    assert set(patch) == {"spec"}
    schema = _schema(resource, "spec")
    assert [path for path in _paths(patch["spec"]) if not _has(schema, path)] == []
    resource.spec.model_validate(_merged(_example(resource), patch["spec"]), strict=False)


@pytest.mark.parametrize("command", _of("helm"))
def test_values_exist(command: list[str]) -> None:
    for setting in _options(command, "--set"):
        assert _value_exists(setting.partition("=")[0]), setting


def test_values_in_the_table_exist() -> None:
    table = TEXTS["docs/operations/configuration.md"].split("| value |", 1)[1].split("\n\n", 1)[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`([\w.*]+)`", row.split("|")[1])]
    assert [name for name in named if not _value_exists(name.removesuffix(".*"))] == []
    assert len(named) > 25


@pytest.mark.parametrize("page", TEXTS)
def test_make_targets_and_keys_exist(page: str) -> None:
    targets = {command[1] for where, command in COMMANDS if where == page and command[0] == "make"}
    assert targets | set(re.findall(r"`make ([a-z]+)", TEXTS[page])) <= TARGETS
    assert set(re.findall(r"(?<![\w.])backup\.sendense\.io/[\w-]+", TEXTS[page])) <= KEYS


@pytest.mark.parametrize("command", _of("curl"))
def test_endpoints_exist(command: list[str]) -> None:
    (url,) = [word for word in _arguments(command) if word.startswith(("http", "$api"))]
    path = re.sub(r"^(\$api|https?://[^/]+)|\?.*", "", url)
    path = re.sub(r"[A-Z_]{3,}", lambda name: f"{{{name.group().lower()}}}", path)
    assert f'"{path}"' in SOURCES
