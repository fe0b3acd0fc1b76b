"""Manifests as a user would write them: only what is required, the rest by keyword in API spelling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tests.support.objects import Obj


def manifest(kind: str, name: str, namespace: str | None, spec: Mapping[str, Any], **metadata: Any) -> Obj:
    """Return an object with a spec."""
    place = {"namespace": namespace} if namespace else {}
    return {"kind": kind, "metadata": {"name": name, **place, **metadata}, "spec": dict(spec)}


def backup(name: str, namespace: str, *, vm: str = "vm", repository: str = "repo", **spec: Any) -> Obj:
    """Return a Backup."""
    refs = {"vmRef": {"name": vm}, "repositoryRef": {"name": repository}}
    return manifest("Backup", name, namespace, {**refs, **spec})


def backup_chain(name: str, namespace: str, *, vm: str = "vm", repository: str = "repo", **spec: Any) -> Obj:
    """Return a BackupChain."""
    refs = {"vmRef": {"name": vm}, "repositoryRef": {"name": repository}}
    return manifest("BackupChain", name, namespace, {**refs, **spec})


def backup_policy(
    name: str, namespace: str, *, repository: str = "repo", vms: tuple[str, ...] = ("vm",), **spec: Any
) -> Obj:
    """Return a BackupPolicy."""
    refs = {"repositoryRef": {"name": repository}, "vmRefs": [{"name": vm} for vm in vms]}
    return manifest("BackupPolicy", name, namespace, {**refs, **spec})


def restore(
    name: str,
    namespace: str,
    *,
    source: Mapping[str, Any] | None = None,
    claims: Mapping[int, str] | None = None,
    **spec: Any,
) -> Obj:
    """Return a Restore, by default of the Backup of the same name; `claims`: by disk index, None: it has no target."""
    fields = {"source": source or {"backupRef": {"name": name}}, **spec}
    if claims is not None:
        targets = [{"disk": disk, "claimName": claim} for disk, claim in claims.items()]
        fields["target"] = {"persistentVolumeClaims": targets}
    return manifest("Restore", name, namespace, fields)


def repository(name: str, namespace: str, *, claim: str = "claim", **spec: Any) -> Obj:
    """Return a BackupRepository."""
    return manifest("BackupRepository", name, namespace, {"claimName": claim, **spec})


def protected_vm(
    name: str, namespace: str, *, path: str = "/DC1/vm/pgtest1", appliance: str = "vma", **spec: Any
) -> Obj:
    """Return a ProtectedVM."""
    return manifest("ProtectedVM", name, namespace, {"applianceRef": {"name": appliance}, "path": path, **spec})


EVERYBODY: Final = ["0.0.0.0/0", "::/0"]
"""`spec.nbd.allowedFrom` of an appliance that any address may be."""


def appliance(
    name: str, namespace: str, *, url: str = "http://vma.example:8081", credentials: str = "vcenter", **spec: Any
) -> Obj:
    """Return a VMwareAppliance with a vCenter of its own per namespace: a VM has one backup at a time."""
    vcenter = {"host": f"vcenter.{namespace}.example", "credentialsSecretRef": {"name": credentials}}
    nbd = {"allowedFrom": EVERYBODY}
    return manifest("VMwareAppliance", name, namespace, {"url": url, "vcenter": vcenter, "nbd": nbd, **spec})


def secret(name: str, namespace: str, **values: str) -> Obj:
    """Return a Secret."""
    return {"kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "stringData": values}


def put(target: Obj, dotted: str, value: Any) -> Obj:
    """Set a field by its dotted path, making what is missing on the way; returns `target`."""
    *way, last = dotted.split(".")
    node = target
    for step in way:
        node = node.setdefault(step, {})
    node[last] = value
    return target
