"""The chart on the cluster, and the logs of what it runs."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import threading
from collections.abc import Iterator

from . import tools
from .engine import Engine
from .settings import CHECKOUT, KUBECONFIG, cluster_name
from .shell import SetupError, attempt, lock, run, step

RELEASE = "sendense-backup"
NAMESPACE = "sendense-system"
_CHART = CHECKOUT / "charts" / "sendense-backup"
_GROUP = "backup.sendense.io"


def install(engine: Engine, image: str) -> None:
    """Install or upgrade the chart with an image that the workers hold; wait until all of it is ready.

    HELM_ARGS in the environment is added, such as `--set gateway.service.type=NodePort`.
    """
    repository, _, tag = image.rpartition(":")
    with lock(f"{cluster_name()}-release"):
        _end_interrupted(engine)
        _upgrade(engine, repository, tag)


def _end_interrupted(engine: Engine) -> None:
    """Helm refuses to go on where an earlier run was killed: undo that one's unfinished revision."""
    helm = tools.command("helm")
    shown = attempt(helm, "status", RELEASE, "-n", NAMESPACE, "-o", "json", env=_environment(engine))
    status = json.loads(shown.stdout)["info"]["status"] if shown.returncode == 0 else ""
    if status == "pending-install":
        run(helm, "uninstall", RELEASE, "-n", NAMESPACE, "--wait", env=_environment(engine))
    elif status.startswith("pending-"):
        run(helm, "rollback", RELEASE, "-n", NAMESPACE, env=_environment(engine))


def _upgrade(engine: Engine, repository: str, tag: str) -> None:
    image = f"{repository}:{tag}"
    step(f"installing the chart with {image} (20 s the first time)")
    options = ["--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "180s"]
    options += ["--set-string", f"image.repository={repository},image.tag={tag}"]
    options += shlex.split(os.environ.get("HELM_ARGS", ""))
    try:
        run(tools.command("helm"), "upgrade", "--install", RELEASE, _CHART, *options, env=_environment(engine))
    except SetupError as failure:
        seen = attempt(tools.command("kubectl"), "get", "pods", "-n", NAMESPACE, "-o", "wide", env=_environment(engine))
        raise SetupError(f"{failure}\n{seen.stdout}Look at: make logs, kubectl -n {NAMESPACE} get events") from failure


def _environment(engine: Engine) -> dict[str, str]:
    return {**engine.env, "KUBECONFIG": str(KUBECONFIG), "PATH": tools.search_path()}


def logs(engine: Engine, backup: str, follow: bool) -> None:
    """Print what controller, gateways and workers have logged, in order of time; or go on printing (Ctrl-C ends it).

    backup: only lines of that Backup (its name, or NAMESPACE/NAME); empty: all.
    """
    pods = list(_pods(engine))
    if not pods:
        raise SetupError("nothing of the operator runs: make install")
    if follow:
        _follow(engine, backup)
        return
    lines: list[tuple[str, str]] = []
    for namespace, pod, prefix in pods:
        for line in attempt(*_log_command(namespace, pod), env=_environment(engine)).stdout.splitlines():
            stamp, _, text = line.partition(" ")
            if _concerns(text, prefix, backup):
                lines.append((stamp, f"{prefix:<32} {text}"))
    print("\n".join(text for _, text in sorted(lines, key=lambda line: line[0])))


def _log_command(namespace: str, pod: str, *options: str) -> list[str]:
    return [tools.command("kubectl"), "logs", "-n", namespace, pod, "--all-containers", "--timestamps", *options]


def _pods(engine: Engine) -> Iterator[tuple[str, str, str]]:
    """Namespace, name and a prefix for its lines, of each of our pods: a worker's is its Backup."""
    listed = run(tools.command("kubectl"), "get", "pods", "-A", "-o", "json", env=_environment(engine))
    for pod in json.loads(listed)["items"]:
        meta = pod["metadata"]
        labels = meta.get("labels", {})
        if f"{_GROUP}/component" in labels:
            name = labels.get(f"{_GROUP}/backup") or labels.get(f"{_GROUP}/repository") or meta["name"]
            yield meta["namespace"], meta["name"], f"{meta['namespace']}/{name}"
        elif labels.get("app.kubernetes.io/instance") == RELEASE:
            yield meta["namespace"], meta["name"], labels.get("app.kubernetes.io/component", meta["name"])


def _concerns(text: str, prefix: str, backup: str) -> bool:
    return not backup or prefix == backup or prefix.endswith(f"/{backup}") or _mentions(text, backup)


def _mentions(text: str, backup: str) -> bool:
    named = [word.removeprefix("backup=") for word in text.split() if word.startswith("backup=")]
    with contextlib.suppress(ValueError, AttributeError):
        named = [str(json.loads(text).get("backup", ""))]
    return any(name == backup or name.endswith(f"/{backup}") for name in named)


def _follow(engine: Engine, backup: str) -> None:
    """Tail every pod, and those that come."""
    seen: set[tuple[str, str]] = set()
    pause = threading.Event()
    while True:
        for namespace, pod, prefix in _pods(engine):
            if (namespace, pod) not in seen:
                seen.add((namespace, pod))
                threading.Thread(target=_tail, args=(engine, namespace, pod, prefix, backup), daemon=True).start()
        pause.wait(2)


def _tail(engine: Engine, namespace: str, pod: str, prefix: str, backup: str) -> None:
    # --pod-running-timeout: a pod that is still being made has no log yet
    command = _log_command(namespace, pod, "--follow", "--pod-running-timeout=60s", "--tail=20")
    merged = {**os.environ, **_environment(engine)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=merged) as process:
        for line in process.stdout or ():
            text = line.partition(" ")[2].rstrip()
            if _concerns(text, prefix, backup):
                print(f"{prefix:<32} {text}", flush=True)
