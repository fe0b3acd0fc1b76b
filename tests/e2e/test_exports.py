"""Disks that a Restore serves with TLS: to whoever has the key, as the documentation says, and to nobody else."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex

from tests.support import manifests
from tests.support.client_pods import run_in_pod
from tests.support.documentation import documented
from tests.support.namespaces import wait_gone
from tests.support.points import History
from tests.support.vma import MIB, Disk
from tests.support.workspace import Workspace

ODD = Disk("pattern", 9 * MIB + 1536)
_REFUSED = "if {command} > /tmp/said 2>&1; then echo served; else echo refused; fi"


def _line(command: list[str]) -> str:
    """Return a documented command as a shell runs it: its variables stand."""
    return " ".join(f'"{word}"' if "$" in word else shlex.quote(word) for word in command)


def _documented() -> str:
    """Return the documented commands as a script: digests of the disk by two clients, and what the third says."""
    info, copy = (documented(f"{start} ") for start in ("nbdinfo", "nbdcopy"))
    convert = documented("qemu-img convert -O raw --object")
    digest = "sha256sum disk-0.raw && rm disk-0.raw"
    return f"{_line(info)} > said && {_line(copy)} && {digest} && {_line(convert)} && {digest} && grep size: said"


def test_only_with_the_key(space: Workspace, history: History) -> None:
    space.ready(ODD)
    history.backup("full")
    target = {"nbd": {"tls": "PSK"}}
    source = {"backupRef": {"name": "full"}}
    space.kube.create(manifests.restore("look", space.namespace, source=source, target=target))
    space.wait_reason("Serving", "look", "Restore")
    status = space.status("look", "Restore")
    uri, secret = status["disks"][0]["uri"], status["tlsSecret"]
    assert uri.startswith("nbds://qemu@")
    host = uri.removeprefix("nbds://qemu@").partition(":")[0]
    plain = uri.replace("nbds://qemu@", "nbd://")
    others = "echo qemu:0000 > /tmp/keys.psk"
    script = "\n".join([
        f"set -e; cd /tmp; uri={uri}; host={host}",
        _documented(),
        _REFUSED.format(command=f"qemu-img info -f raw {plain}"),
        others,
        _REFUSED.format(command="nbdinfo $uri?tls-psk-file=/tmp/keys.psk"),
    ])  # fmt: skip
    said = run_in_pod(space, "client", script, secret=secret)
    digest = hashlib.sha256(history.kept["full"][0].read_bytes()).hexdigest()
    assert said.count(digest) == 2
    assert said.split()[-2:] == ["refused", "refused"]

    key = base64.b64decode(space.get(secret, "Secret")["data"]["keys.psk"]).decode().strip().partition(":")[2]
    assert len(bytes.fromhex(key)) == 32
    (pod,) = space.kube.select("Pod", space.namespace, labels="backup.sendense.io/restore=look")
    shown = [space.kube.logs(pod["metadata"]["name"], space.namespace), json.dumps(pod), json.dumps(status)]
    shown += [json.dumps(space.kube.select(kind, space.namespace)) for kind in ("Event", "Job", "Service")]
    assert key not in "".join(shown)

    space.kube.delete("Restore", "look", space.namespace)
    wait_gone(space.kube, "Restore", "look", space.namespace)
    wait_gone(space.kube, "Secret", secret, space.namespace)
