"""`sendense doctor --bundle FILE`: objects, Events and logs for whoever helps, without secrets."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from sendense_operator.api.v1alpha1.names import LABEL_COMPONENT
from sendense_operator.cli.actions.health_report import OPERATOR, examine
from sendense_operator.cli.actions.object_description import KINDS
from sendense_operator.cli.errors import CommandError
from sendense_operator.cli.object_output import Format, document
from sendense_operator.cli.redaction import hidden, secrets_of, without_secrets
from sendense_operator.cli.session import Session
from sendense_operator.cluster.errors import ClusterError, ForbiddenError
from sendense_operator.cluster.kinds import APPLIANCE, EVENT, POD
from sendense_operator.cluster.objects import Obj
from sendense_operator.views.backup_view import objects, part, text

_MODE: Final = 0o600


async def write_bundle(session: Session, path: Path) -> None:
    """Write a tar.gz that only its owner can read. Raises CommandError when the file is there or can't be written."""
    kept = {kind: await session.list(kind) for kind in KINDS}
    secrets = sorted(secrets_of(kept[APPLIANCE]), key=len, reverse=True)
    pods = [*await session.list(POD, labels=LABEL_COMPONENT), *await _operator_pods(session)]
    shown = {kind.plural: found for kind, found in kept.items()}
    shown |= {"events": await session.list(EVENT), "pods": [_outline(pod) for pod in pods]}
    files = {
        f"objects/{plural}.yaml": document(without_secrets(found, secrets), Format.YAML)
        for plural, found in shown.items()
    }
    findings = await examine(session)
    files["doctor.txt"] = "".join(f"{one.verdict.value} {one.what}: {one.advice}\n" for one in findings)
    for pod in pods:
        async for name, content in _logs(session, pod):
            files[f"logs/{name}"] = content
    _write(path, {name: hidden(content, secrets) for name, content in files.items()})
    session.screen.line(f"{path}: {len(files)} files of namespace {session.namespace}, without Secrets")


async def _operator_pods(session: Session) -> list[Obj]:
    """Return the pods of the operator itself; none where the user may not see them."""
    try:
        return await session.cluster.list_objects(POD, None, labels=OPERATOR)
    except ForbiddenError:
        session.screen.note("the operator's own logs are left out: you may not list pods in all namespaces")
        return []


def _outline(pod: Obj) -> Obj:
    """Return what tells how a pod fared: no environment, no mounted names of Secrets."""
    spec = part(pod, "spec")
    images = [text(one.get("image")) for one in objects(spec.get("containers"))]
    return {
        "metadata": pod.get("metadata"),
        "spec": {"nodeName": spec.get("nodeName"), "images": images},
        "status": pod.get("status"),
    }


async def _logs(session: Session, pod: Obj) -> AsyncIterator[tuple[str, str]]:
    """Yield name and content of the log of each container; of one that can't be read, why."""
    meta = part(pod, "metadata")
    namespace, name = text(meta.get("namespace")), text(meta.get("name"))
    for container in objects(part(pod, "spec").get("containers")):
        which = text(container.get("name"))
        try:
            lines = await session.cluster.read_log(namespace, name, which)
        except ClusterError as error:
            lines = [f"can't be read: {error}"]
        yield f"{name}-{which}.log", "\n".join(lines)


def _write(path: Path, files: dict[str, str]) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
        with os.fdopen(descriptor, "wb") as target, tarfile.open(fileobj=target, mode="w:gz") as archive:
            for name, content in files.items():
                data = content.encode("utf-8", "replace")
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), _MODE
                archive.addfile(entry, io.BytesIO(data))
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror}", "name a file that is not there yet") from error
