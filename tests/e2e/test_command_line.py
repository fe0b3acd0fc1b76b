"""The command line as a user runs it, on a real cluster: a backup that is waited for, lists, the chain, a deletion."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

import pytest
from tests.support import manifests, programs
from tests.support.kube import CHECKOUT
from tests.support.points import History
from tests.support.vma import MIB, Disk
from tests.support.waiting import until, wait_for
from tests.support.workspace import SLOW_MACHINE, Workspace

TWO: Final = (Disk("pattern", 6 * MIB), Disk("pattern", 4 * MIB))
PROGRAM: Final = (sys.executable, "-c", "from sendense_operator.cli.main import main; main()")

Sendense = Callable[..., subprocess.CompletedProcess[str]]


def run(namespace: str, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run `sendense WORDS` in that namespace."""
    environment = programs.environment() | {"PYTHONPATH": str(CHECKOUT / "operator")}
    command = [*PROGRAM, words[0], "-n", namespace, *words[1:]]
    return subprocess.run(command, input=given, capture_output=True, text=True, env=environment, check=False)


@pytest.fixture
def sendense(space: Workspace) -> Sendense:
    return partial(run, space.namespace)


def names(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the names that `-o name` printed."""
    assert done.returncode == 0, done.stderr
    return [line.rpartition("/")[2] for line in done.stdout.split()]


def test_from_a_backup_to_its_deletion(space: Workspace, history: History, sendense: Sendense) -> None:
    space.ready(*TWO)
    full = _backed_up(sendense, "--full")
    space.vma.write("vm", count=4, size=4096, seed=1)
    increment = _backed_up(sendense)
    history.wait_points(full, increment)
    assert names(sendense("list", "--vm", "vm", "--phase", "Completed", "-o", "name")) == [increment, full]
    assert names(sendense("list", "--type", "incremental", "-o", "name")) == [increment]
    _shown(sendense, full, increment)
    refused = sendense("delete", full, given="n\n")
    assert (refused.returncode, space.get(full)["metadata"]["name"]) == (1, full)
    assert f"its files stay until {increment} no longer need them" in refused.stderr
    done = sendense("delete", increment, "--yes", "--wait", "--timeout", str(SLOW_MACHINE))
    assert done.returncode == 0, done.stderr
    assert re.search(rf"^{increment}: frees [0-9.]+ (KiB|MiB): ", done.stderr, re.MULTILINE)
    assert space.kube.find("Backup", increment, space.namespace) is None


def _backed_up(sendense: Sendense, *more: str) -> str:
    """Return the name of a Backup that the command waited for."""
    done = sendense("backup", "vm", "--wait", "--timeout", str(SLOW_MACHINE), *more)
    assert done.returncode == 0, done.stdout + done.stderr
    first, *lines = done.stdout.splitlines()
    name = re.match(r"Backup (\S+) created: vm to repo, type (Full|Auto)", first)
    assert name is not None, first
    assert lines[-1].startswith(f"{name[1]}: Completed")
    return name[1]


def _shown(sendense: Sendense, full: str, increment: str) -> None:
    """Every command that reads says the same."""
    chain = sendense("chain", "vm").stdout
    assert chain.splitlines()[0].startswith("vm in repo: 2 restore points, ")
    assert re.search(rf"{full} .* Full .*\n(.*\n)*?.*{increment} .* Incremental ", chain)
    assert "disk 1 Incremental" in chain
    status = json.loads(sendense("status", "-o", "json").stdout)
    assert [(row["vm"], row["state"]) for row in status] == [("vm", "NoPolicy")]
    described = sendense("describe", increment).stdout
    assert re.search(r"^Phase +Completed", described, re.MULTILINE)
    assert re.search(r"Committed ", described)
    assert re.search(r"^repo +\S+ .* of ", sendense("repo").stdout, re.MULTILINE)
    assert "WARNING" not in sendense("doctor").stdout


def test_a_time_out_and_a_cancellation(space: Workspace, sendense: Sendense) -> None:
    space.ready(*TWO)
    space.kube.create(manifests.backup("waits", space.namespace, repositoryRef={"name": "missing"}))
    cancelled = sendense("cancel", "waits", "--wait", "--timeout", str(SLOW_MACHINE))
    assert cancelled.returncode == 0, cancelled.stderr
    assert cancelled.stdout.splitlines()[-1].startswith("waits: Cancelled")
    late = sendense("backup", "vm", "--name", "late", "-r", "missing", "--wait", "--timeout", "2")
    assert late.returncode == 124, late.stderr
    assert "Backup late goes on" in late.stderr
    wait_for("it waits on", lambda: until(space.status("late").get("phase") == "Pending", space.status("late")))


def test_who_may_only_look(space: Workspace, sendense: Sendense) -> None:
    """The chart's view role is enough for what reads; a change is one line."""
    space.ready(*TWO)
    token = programs.kubectl("create", "token", "default", "-n", space.namespace).strip()
    programs.kubectl(
        "create", "rolebinding", "look", "-n", space.namespace, "--clusterrole=view",
        f"--serviceaccount={space.namespace}:default",
    )  # fmt: skip
    kubeconfig = CHECKOUT / "build" / f"{space.namespace}.kubeconfig"
    config = json.loads(programs.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    config["users"][0]["user"] = {"token": token}
    kubeconfig.write_text(json.dumps(config), encoding="utf-8")
    try:
        look = partial(sendense, "status", "--kubeconfig", str(kubeconfig))
        wait_for("the role binding", lambda: until((done := look()).returncode == 0, done.stderr))
        assert "NeverBackedUp" in look().stdout
        refused = sendense("backup", "vm", "-r", "repo", "--kubeconfig", str(kubeconfig))
        assert refused.returncode == 1
        assert f"error: you may not create backups.backup.sendense.io in namespace {space.namespace}" in refused.stderr
    finally:
        kubeconfig.unlink()
