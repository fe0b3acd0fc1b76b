"""The kind cluster of this checkout: one control plane, two workers, build/data on every node."""

from __future__ import annotations

import json
import secrets
import shlex

from . import engine_choice, tools
from .engine import Engine
from .from_packages import dockerd, nodeimage, orphans
from .settings import (
    CHOICE,
    DATA,
    ENVIRONMENT,
    KIND_LABEL,
    KUBECONFIG,
    NODE_DATA,
    PUBLISHED_NODE_IMAGE,
    cluster_name,
    nodes,
)
from .shell import SetupError, attempt, lock, run, step, wait_until, write


def up() -> None:
    """A cluster whose nodes and system pods are ready: the one that is up, repaired or made anew."""
    with lock(cluster_name()):
        prepare_folders()
        engine = engine_choice.ensure()
        image = nodeimage.ensure(engine) if engine.own else PUBLISHED_NODE_IMAGE
        tools.search_path()
        if engine.own:
            orphans.remove(engine)
        if not _reuse(engine):
            _delete(engine)
            try:
                _create(engine, image)
            except SetupError as failure:
                # a machine under load may miss one of kubeadm's deadlines; what is wrong for good fails again
                step(f"that failed, once more: {str(failure).splitlines()[-1]}")
                _delete(engine)
                _create(engine, image)
        write(ENVIRONMENT, "".join(f"{name}={value}\n" for name, value in environment(engine).items()))
    step(f"cluster {cluster_name()} is ready: export KUBECONFIG={KUBECONFIG}")


def prepare_folders() -> None:
    """build/data, entered by any user: pods of several users work in it through the nodes."""
    DATA.mkdir(parents=True, exist_ok=True)
    for folder in (DATA.parent, DATA):
        folder.chmod(0o755)


def environment(engine: Engine) -> dict[str, str]:
    """Variables for commands that work with the cluster: its engine, its tools, its kubeconfig."""
    return {
        **engine.env,
        "PATH": tools.search_path(),
        "KUBECONFIG": str(KUBECONFIG),
        "SENDENSE_CLUSTER": cluster_name(),
        "SENDENSE_CONTAINER_COMMAND": engine.command,
        "SENDENSE_DATA": str(DATA),
    }


def exports(engine: Engine) -> str:
    """Return the same as lines for a shell to evaluate."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment(engine).items())


def _create(engine: Engine, image: str) -> None:
    step(f"making cluster {cluster_name()} of three nodes (40 s" + (")" if engine.own else ", and fetching its image)"))
    configuration = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [
            {"role": role, "extraMounts": [{"hostPath": str(DATA), "containerPath": NODE_DATA}]}
            for role in ("control-plane", "worker", "worker")
        ],
        "kubeadmConfigPatches": [
            "kind: KubeletConfiguration\n"
            "apiVersion: kubelet.config.k8s.io/v1beta1\n"
            # machines with the first version of control groups, and ones whose root can't lower oom scores
            "failCgroupV1: false\noomScoreAdj: 0\n"
        ],
    }
    kind = ("create", "cluster", "--image", image, "--config", "-", "--wait", "120s")
    _kind(engine, *kind, stdin=json.dumps(configuration))
    KUBECONFIG.chmod(0o600)
    if not wait_until(lambda: _ready(120), 180):
        raise SetupError("the new cluster's nodes are not ready:\n" + _kubectl("get", "nodes,pods", "-A", "-o", "wide"))


def _kind(engine: Engine, verb: str, noun: str, *options: str, stdin: str | None = None) -> str:
    command = (tools.command("kind"), verb, noun, "--name", cluster_name(), "--kubeconfig", str(KUBECONFIG), *options)
    return run(*command, env=engine.env, stdin=stdin)


def _kubectl(*arguments: str) -> str:
    done = attempt(tools.command("kubectl"), "--kubeconfig", KUBECONFIG, *arguments)
    return done.stdout + done.stderr


def _containers(engine: Engine) -> dict[str, str]:
    """Return the cluster's node containers and their states."""
    label = f"label={KIND_LABEL}={cluster_name()}"
    lines = engine.run("ps", "-a", "--filter", label, "--format", "{{.Names}} {{.State}}").splitlines()
    pairs = (line.partition(" ") for line in lines)
    return {name: state for name, _, state in pairs}


def _reuse(engine: Engine) -> bool:
    """Return whether the cluster that is there works, after starting nodes that have stopped."""
    found = _containers(engine)
    if not found:
        return False
    if set(found) != set(nodes()):
        step("the cluster lacks nodes: making it anew")
        return False
    stopped = [name for name, state in found.items() if state.lower() != "running"]
    if stopped:
        step(f"starting {', '.join(stopped)} (20 s)")
        # a paused one can't be started, a stopped one can't be unpaused
        engine.succeeds("unpause", *stopped)
        if not engine.succeeds("start", *stopped):
            return False
    if not _same_data(engine):
        step("the nodes don't see build/data any more (was it deleted?): making the cluster anew")
        return False
    if not KUBECONFIG.exists():
        _kind(engine, "export", "kubeconfig")
        KUBECONFIG.chmod(0o600)
    if wait_until(lambda: _ready(5), 90 if stopped else 45, interval=1):
        return True
    step("the cluster does not become ready: making it anew")
    return False


def _same_data(engine: Engine) -> bool:
    """Return whether every node sees this very build/data: a folder that was deleted and made again is another one."""
    mark = DATA / f".seen-{secrets.token_hex(4)}"
    mark.touch()
    try:
        return all(engine.succeeds("exec", name, "test", "-e", f"{NODE_DATA}/{mark.name}") for name in nodes())
    finally:
        mark.unlink()


def _ready(seconds: int) -> bool:
    """Return whether all nodes and all system pods are Ready, given some seconds."""
    base = (tools.command("kubectl"), "--kubeconfig", KUBECONFIG, f"--request-timeout={max(seconds, 5)}s")
    wait = (*base, "wait", "--for=condition=Ready", f"--timeout={seconds}s")
    listed = attempt(*base, "get", "nodes", "-o", "name", timeout=60).stdout.split()
    return (
        len(listed) == len(nodes())
        and attempt(*wait, "node", "--all", timeout=seconds + 60).returncode == 0
        and attempt(*wait, "-n", "kube-system", "pod", "--all", timeout=seconds + 60).returncode == 0
    )


def _delete(engine: Engine) -> None:
    if _containers(engine):
        _kind(engine, "delete", "cluster")
    KUBECONFIG.unlink(missing_ok=True)


def down() -> None:
    """Remove the cluster, and our own engine when no other checkout uses it."""
    with lock(cluster_name()):
        engine = engine_choice.chosen()
        if engine and (engine.own or engine.answers()):
            if engine.own and dockerd.left_behind():
                # a killed engine's containers are best removed by an engine
                dockerd.start()
            if engine.answers():
                step(f"removing cluster {cluster_name()} (10 s)")
                _delete(engine)
                if engine.own:
                    orphans.remove(engine)
            if engine.own:
                dockerd.stop()
        elif engine:
            raise SetupError(f"{engine.command}, which runs the cluster, does not answer: start it and try again")
        for file in (KUBECONFIG, CHOICE, ENVIRONMENT, *KUBECONFIG.parent.glob("kubeconfig*.lock")):
            file.unlink(missing_ok=True)
    step("nothing is left of the cluster")


def status() -> bool:
    """Print what is up; whether all is ready."""
    engine = engine_choice.chosen()
    if not engine:
        print("cluster   none (make up)")
        return False
    kind = "our own, from Debian packages" if engine.own else engine.command
    if not engine.answers():
        print(f"engine    {kind}: does not answer (make up repairs it)")
        return False
    print(f"engine    {kind}")
    print(f"cluster   {cluster_name()}")
    print(f"kubeconfig {KUBECONFIG}")
    for name, state in sorted(_containers(engine).items()):
        print(f"node      {name}: {state}")
    ready = KUBECONFIG.exists() and _ready(5)
    print(f"ready     {'yes' if ready else 'no (make up repairs it)'}")
    return ready


def running() -> Engine:
    """Return the engine of a cluster that `up` has made. Raises SetupError when there is none."""
    engine = engine_choice.chosen()
    if not engine or not KUBECONFIG.exists():
        raise SetupError("no cluster is up: make up")
    if not engine.answers():
        raise SetupError("the cluster's engine does not answer: make up repairs it")
    return engine
