"""The documentation's commands as they stand there, but for their namespace, with objects of their names.

Objects are enough for these. test_quickstart.py runs those that need a worker.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from tests.support import manifests, namespaces
from tests.support.documentation import COMMANDS, changes_the_installation, line_of, needs_only_objects, option, placed
from tests.support.kube import CHECKOUT, Kube
from tests.support.programs import environment, kubectl, run

VM, REPOSITORY, APPLIANCE, POLICY = "pgtest1", "main", "vma-dc1", "nightly"
CHAIN = "pgtest1-main-4e8212b9"
KINDS = {
    "backup": "Backup",
    "backupchain": "BackupChain",
    "backuppolicy": "BackupPolicy",
    "bchain": "BackupChain",
    "bkp": "Backup",
    "brepo": "BackupRepository",
    "protectedvm": "ProtectedVM",
    "restore": "Restore",
    "vma": "VMwareAppliance",
}


def _all(chosen: Callable[[list[str]], bool]) -> list[Any]:
    """Each command once; what deletes comes last."""
    found = {line_of(command): command for _, command in COMMANDS if chosen(command)}
    ordered = sorted(found.items(), key=lambda item: ("delete" in item[1], item[0]))
    return [pytest.param(command, id=line) for line, command in ordered]


@pytest.fixture(scope="module")
def place(kube: Kube, operator: str) -> Iterator[str]:
    """A namespace with the objects that the documentation speaks of."""
    with namespaces.temporary(kube, "documented-commands") as name:
        for appliance in (APPLIANCE, "vma-discovering"):
            kube.create(manifests.appliance(appliance, name))
        kube.create(manifests.protected_vm(VM, name, appliance=APPLIANCE))
        kube.create(manifests.repository(REPOSITORY, name))
        kube.create(manifests.backup_chain(CHAIN, name, vm=VM, repository=REPOSITORY))
        kube.create(manifests.backup_policy(POLICY, name, vms=(VM,), repository=REPOSITORY))
        for backup in ("pgtest1-full", "pgtest1-auto"):
            kube.create(manifests.backup(backup, name, vm=VM, repository=REPOSITORY, type="Full"))
        kube.create(
            manifests.restore("pgtest1-back", name, source={"backupRef": {"name": "pgtest1-full"}}, verifyOnly=True)
        )
        yield name


@pytest.mark.parametrize("command", _all(needs_only_objects))
def test_kubectl(kube: Kube, place: str, command: list[str]) -> None:
    program, verb, *words = placed(command, place, NAME=CHAIN)
    if "-w" in words:
        _goes_on_after([program, verb, *words], "pgtest1-auto")
        return
    shown = kubectl(verb, *words)
    match verb:
        case "annotate" | "label":
            (name, value) = next(word.split("=") for word in words if re.match(r"[a-z./]+=", word))
            metadata = kube.get(KINDS[words[0]], words[1], place)["metadata"]
            assert {**metadata.get("labels", {}), **metadata.get("annotations", {})}[name] == value
        case "patch":
            patch = json.loads(option(words, "-p"))
            assert _contains(kube.get(KINDS[words[0]], words[1], place), patch)
        case "delete":
            assert kube.find("Backup", words[-1], place) is None
        case "describe":
            assert re.search(rf"^Name: +{words[-1]}$", shown, re.MULTILINE)
        case "explain":
            assert "FIELDS:" in shown
        case "logs":
            assert shown
        case "get":
            _is_shown(words, shown)


def _contains(whole: Any, part: Any) -> bool:
    if isinstance(part, dict):
        return all(name in whole and _contains(whole[name], value) for name, value in part.items())
    return bool(whole == part)


def _goes_on_after(command: list[str], name: str) -> None:
    """It shows the object, and does not end by itself."""
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert any(line.startswith(name) for line in watching.stdout)
        assert watching.poll() is None
        watching.terminate()


def _is_shown(words: list[str], shown: str) -> None:
    if words[0] == "secret":
        assert base64.b64decode(shown).startswith(b"-----BEGIN CERTIFICATE-----")
    elif option(words, "-o") == "yaml":
        assert yaml.safe_load(shown)["metadata"]["name"] in words
    elif not {"-l", "--field-selector"} & {*words} and "jsonpath" not in option(words, "-o"):
        assert any(name in shown for name in (VM, POLICY, APPLIANCE))


@pytest.mark.parametrize("command", _all(changes_the_installation))
def test_installation(operator: str, command: list[str]) -> None:
    """Up to the API server's answer: nothing changes for the other tests."""
    assert option(command, "--namespace") in ("", operator)
    shown = run(*command, "--dry-run=server", cwd=CHECKOUT)
    assert ("STATUS: pending-" if command[0] == "helm" else "serverside-applied (server dry run)") in shown
