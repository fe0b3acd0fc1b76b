"""An engine of our own: Debian's docker.io, started by hand with its own folders, socket and control group."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from ..engine import Engine
from ..shell import SetupError, attempt, lock, step, wait_until, write
from . import debian, hostnet
from .settings import ENGINE, FILES

_CAP_SYS_RESOURCE = 24
_GROUP = f"sendense-{hashlib.sha256(str(ENGINE).encode()).hexdigest()[:6]}"
"""Parent of all our containers' control groups: what is in it is ours to end."""
_SOCKET = ENGINE / "docker.sock"
_HOST_STATE = ENGINE / "host.json"
_CONFIG = ENGINE / "daemon.json"
_DOCKERD = ENGINE / "docker.pid"
_CONTAINERD = ENGINE / "run" / "containerd" / "containerd.pid"


def own() -> Engine:
    """Return the engine we would start ourselves."""
    return Engine(True, "docker", {"DOCKER_HOST": f"unix://{_SOCKET}", "DOCKER_BUILDKIT": "0", "DOCKER_CONTEXT": ""})


def _process(file: Path = _DOCKERD) -> int | None:
    """Id of our dockerd (or containerd), when it runs."""
    with suppress(OSError, ValueError):
        pid = int(file.read_text())
        # a process that is gone or a zombie has no command line; another one may have got the number since
        if str(ENGINE).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return None


def _end(file: Path, seconds: float) -> None:
    """End the process of a pid file: asked first, then killed. Removes the file."""
    pid = _process(file)
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            if not wait_until(lambda: _process(file) is None, seconds):
                os.kill(pid, signal.SIGKILL)
                wait_until(lambda: _process(file) is None, 10)
    file.unlink(missing_ok=True)


def left_behind() -> bool:
    """Return whether our own engine was started and never stopped in order: it runs, or was killed."""
    return _HOST_STATE.exists()


def start() -> None:
    """Start our own engine unless it answers. Raises SetupError with the end of its log."""
    debian.ensure_packages()
    with lock("engine"):
        if own().answers():
            return
        step("starting the container engine (5 s)")
        ENGINE.mkdir(parents=True, exist_ok=True)
        if _process() and wait_until(own().answers, 30):
            return
        # a killed dockerd leaves containerd, which ends a little later: a new dockerd would wait for that one in vain
        _end(_DOCKERD, 60)
        _end(_CONTAINERD, 30)
        # one that was killed has networks, and containers in them: it goes on with the same configuration
        if hostnet.another_engine():
            raise SetupError(
                "another dockerd runs here but doesn't answer us, and two would reset each other's firewall rules: "
                "start it properly and use it (SENDENSE_ENGINE=existing, DOCKER_HOST), or stop it"
            )
        subnet = _subnet() if left_behind() else _free_subnet()
        hostnet.remember(_HOST_STATE)
        hostnet.prepare()
        write(_CONFIG, json.dumps(_configuration(subnet), indent=1))
        with (ENGINE / "dockerd.log").open("w") as log:
            subprocess.Popen(
                ["/usr/sbin/dockerd", "--config-file", str(_CONFIG)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if not wait_until(own().answers, 90):
            said = "\n".join((ENGINE / "dockerd.log").read_text().splitlines()[-15:])
            raise SetupError(f"the container engine does not start; its log ends:\n{said}")


def _configuration(subnet: str) -> dict[str, object]:
    configuration: dict[str, object] = {
        "hosts": [own().env["DOCKER_HOST"]],
        "data-root": str(ENGINE / "data"),
        "exec-root": str(ENGINE / "run"),
        "pidfile": str(ENGINE / "docker.pid"),
        "oom-score-adjust": 0,
        "cgroup-parent": f"/{_GROUP}",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        # no bridge but kind's own network: builds use the host's network, other containers need none
        "bridge": "none",
        "default-address-pools": [{"base": subnet, "size": 24}],
    }
    if not _capable():
        wrapper = ENGINE / "runc"
        write(wrapper, (FILES / "runc-no-sys-resource").read_text(), 0o755)
        configuration["runtimes"] = {"no-sys-resource": {"path": str(wrapper)}}
        configuration["default-runtime"] = "no-sys-resource"
    return configuration


def _capable() -> bool:
    """Return whether root here has CAP_SYS_RESOURCE, which `docker run --privileged` asks for."""
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next(line.split()[1] for line in lines if line.startswith("CapEff"))
    return bool(int(effective, 16) >> _CAP_SYS_RESOURCE & 1)


def _subnet() -> str:
    """Return the network that our engine was started with."""
    with suppress(OSError, ValueError, LookupError):
        return str(json.loads(_CONFIG.read_text())["default-address-pools"][0]["base"])
    return _free_subnet()


def _free_subnet() -> str:
    """Return a network for containers that no route of this machine leads into."""
    taken = []
    for line in attempt("ip", "-4", "route").stdout.splitlines():
        with suppress(ValueError):
            words = [word for word in line.split() if word not in ("unreachable", "blackhole")]
            taken.append(ipaddress.IPv4Network(words[0], strict=False))
    for number in (29, 30, 28, 27, 26, 25):
        subnet = ipaddress.IPv4Network(f"172.{number}.0.0/16")
        if not any(subnet.overlaps(route) for route in taken):
            return str(subnet)
    raise SetupError("no free network among 172.25.0.0/16 to 172.30.0.0/16 for containers: free one of them")


def stop() -> None:
    """End our own engine and undo what it changed on the host, unless containers of another checkout are up."""
    with lock("engine"):
        if _process() and own().answers():
            if own().run("ps", "-q").strip():
                step("the engine stays up: it runs containers of another checkout")
                return
            attempt("docker", "network", "rm", "kind", env=own().env)
        _end(_DOCKERD, 60)
        _end(_CONTAINERD, 10)
        _end_strays()
        _SOCKET.unlink(missing_ok=True)
        hostnet.undo(_HOST_STATE, _subnet())
        _release()


def _end_strays() -> None:
    """End what a killed engine left: containerd and shims name our folder, containers are in our control group."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            program = Path(words[0].decode(errors="replace")).name
            if program.startswith("containerd") and any(str(ENGINE).encode() in word for word in words[1:]):
                os.kill(int(folder.name), signal.SIGKILL)
    for processes in (file for top in _groups() for file in top.rglob("cgroup.procs")):
        with suppress(OSError):
            for pid in processes.read_text().split():
                os.kill(int(pid), signal.SIGKILL)


def _groups() -> list[Path]:
    """Our control group: one in each hierarchy."""
    root = Path("/sys/fs/cgroup")
    return [*root.glob(_GROUP), *root.glob(f"*/{_GROUP}")]


def _release() -> None:
    """Mounts and control groups: the engine leaves some of both."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((mount for mount in mounts if mount.startswith(f"{ENGINE}/")), reverse=True):
        attempt("umount", "--lazy", mount)
    for top in _groups():
        wait_until(lambda top=top: _remove(top), 5)  # type: ignore[misc]


def _remove(group: Path) -> bool:
    """Return whether a control group is gone: one that had processes a moment ago can't be removed yet."""
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()
    return not group.exists()
