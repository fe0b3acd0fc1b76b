"""`sendense restore`: into claims or files, as a VirtualMachine, over NBD, or only read and compared."""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sendense_operator.api.v1alpha1.conditions import REASON_SERVING
from sendense_operator.api.v1alpha1.restore import LATEST
from sendense_operator.api.v1alpha1.restore_target import NBDEncryption
from sendense_operator.cli.errors import ExitCode, usage
from sendense_operator.cli.run_bars import has_ended
from sendense_operator.cli.session import Session
from sendense_operator.cli.waits import Patience, follow_runs
from sendense_operator.cluster.kinds import BACKUP, BACKUP_REPOSITORY, RESTORE
from sendense_operator.cluster.objects import Obj
from sendense_operator.restore_task import FOLDER_PATTERN, FileFormat
from sendense_operator.views.backup_view import objects, part, reason_of, text
from sendense_operator.views.new_names import made_up_name

_POD_NETWORK: Final = "pod"
"""Word for the pod network; a NetworkAttachmentDefinition of that name is NAMESPACE/pod."""
_LETTERS: Final = string.ascii_lowercase + string.digits
_CLAIM: Final = re.compile(r"[a-z0-9.-]+")
_TARGET: Final = re.compile(r"(\d{1,2})=([a-z0-9.-]+)")


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """What to restore, and where to."""

    backup: str = ""
    vm: str = ""
    """With `repository` and `at`, instead of `backup`."""
    repository: str = ""
    at: str = ""
    """A time in RFC 3339; empty: the newest restore point."""
    targets: Sequence[str] = ()
    """`DISK=CLAIM` for each disk."""
    create: bool = False
    """Whether the operator makes the claims."""
    storage_class: str = ""
    virtual_machine: str = ""
    """Name of the VirtualMachine to make."""
    networks: Sequence[str] = ()
    """For it, `NETWORK=WHERE` for each network of the VM: `pod`, or a NetworkAttachmentDefinition."""
    default_network: str = ""
    """For it, what the cards of all other networks are connected to."""
    file: str = ""
    """`CLAIM` or `CLAIM/FOLDER` for files."""
    format: str = ""
    """With `file`: their format, in any case."""
    nbd: bool = False
    ttl_s: int = 0
    """How long the disks are served; 0: until the Restore is cancelled."""
    tls: bool = False
    """Whether the disks are served with TLS only, to clients with a key that the operator makes."""
    verify_only: bool = False
    disks: Sequence[int] = field(default=())
    allow_damaged: bool = False
    name: str = ""
    wait: bool = False
    timeout_s: float = 0


async def restore(session: Session, options: RestoreOptions) -> None:
    """Create a Restore, and wait for its end if that is wanted: of an NBD export until it serves."""
    patience = Patience.of(options.timeout_s)
    spec = build_spec(options, await _repository(session, options))
    stem = f"restore-{options.vm or await _vm_of(session, options.backup)}"
    token = "".join(secrets.choice(_LETTERS) for _ in range(5))
    name = options.name or made_up_name(stem, session.now(), token)
    made = await session.create(RESTORE, {"metadata": {"namespace": session.namespace, "name": name}, "spec": spec})
    session.code = ExitCode.DONE
    if session.for_people:
        session.screen.line(f"Restore {name} created")
    if not options.wait:
        session.put_out(made, single=True)
        return
    (run,) = await follow_runs(session, RESTORE, [name], patience, is_over=_serves_or_ended)
    if not session.put_out(run, single=True):
        for disk in objects(part(run, "status").get("disks")):
            if uri := text(disk.get("uri")):
                session.screen.line(uri)
        if secret := text(part(run, "status").get("tlsSecret")):
            session.screen.line(f"the key for clients is in Secret {secret}")


def _serves_or_ended(run: Mapping[str, Any]) -> bool:
    return has_ended(run) or reason_of(part(run, "status")).startswith(REASON_SERVING)


def build_spec(options: RestoreOptions, repository: str) -> Obj:
    """Return the spec. Raises CommandError for options that don't go together."""
    if bool(options.backup) == bool(options.vm):
        raise usage("name either a Backup, or a VM by --vm", "`sendense list --phase Completed` lists restore points")
    if options.at and not options.vm:
        raise usage("--at chooses among the restore points of a VM", "give --vm instead of the Backup")
    chosen = [
        bool(options.targets),
        bool(options.virtual_machine),
        bool(options.file),
        options.nbd,
        options.verify_only,
    ]
    if sum(chosen) != 1:
        raise usage(
            "say where to: one of --to DISK=CLAIM, --virtual-machine, --file CLAIM/FOLDER, --nbd and --verify-only"
        )
    if (options.networks or options.default_network) and not options.virtual_machine:
        raise usage("--network and --default-network are for --virtual-machine")
    if options.format and not options.file:
        raise usage("--format is that of files", "give --file CLAIM or --file CLAIM/FOLDER")
    if options.tls and not options.nbd:
        raise usage("--tls is for disks that are served: give --nbd, too")
    if options.backup:
        source: Obj = {"backupRef": {"name": options.backup}}
    else:
        at = options.at or LATEST
        source = {"vmRef": {"name": options.vm}, "repositoryRef": {"name": repository}, "at": at}
    if options.disks:
        source["disks"] = list(options.disks)
    spec: Obj = {"source": source, **({"allowDamaged": True} if options.allow_damaged else {})}
    return spec | ({"verifyOnly": True} if options.verify_only else {"target": _target(options)})


def _target(options: RestoreOptions) -> Obj:
    if options.nbd:
        tls: Obj = {"tls": NBDEncryption.PSK.value} if options.tls else {}
        return {"nbd": {**({"ttlSeconds": options.ttl_s} if options.ttl_s else {}), **tls}}
    if options.virtual_machine:
        return {"virtualMachine": _machine(options)}
    if options.file:
        return {"file": _file(options)}
    return {"persistentVolumeClaims": [_claim(one, options) for one in options.targets]}


def _machine(options: RestoreOptions) -> Obj:
    machine: Obj = {"name": options.virtual_machine}
    if options.storage_class:
        machine["defaultStorageClassName"] = options.storage_class
    if options.networks:
        machine["networks"] = [_mapping(word) for word in options.networks]
    if options.default_network:
        machine["defaultNetwork"] = _connection(options.default_network)
    return machine


def _mapping(word: str) -> Obj:
    network, _, where = word.rpartition("=")
    if not network or not where:
        raise usage(f"--network {word} names no network and where to", "as in --network 'VM Network=pod'")
    return {"network": network, **_connection(where)}


def _connection(where: str) -> Obj:
    return {"pod": {}} if where == _POD_NETWORK else {"multus": where}


def _claim(word: str, options: RestoreOptions) -> Obj:
    found = _TARGET.fullmatch(word)
    if not found:
        raise usage(f"--to {word} names no disk and claim", "as in --to 0=database-disk")
    return {"disk": int(found[1]), "claimName": found[2], **_create(options)}


def _create(options: RestoreOptions) -> Obj:
    new: Obj = {"storageClassName": options.storage_class} if options.storage_class else {}
    return {"create": new} if options.create or options.storage_class else {}


def _file(options: RestoreOptions) -> Obj:
    known = {one.lower(): one.value for one in FileFormat}
    kind = known.get(options.format.lower())
    if kind is None:
        raise usage("say in which format: give --format", f"one of: {', '.join(known.values())}")
    claim, slash, folder = options.file.partition("/")
    if not _CLAIM.fullmatch(claim) or (slash and not re.fullmatch(FOLDER_PATTERN, folder)):
        raise usage(f"--file {options.file} names no claim and folder", "as in --file exports or --file exports/2026")
    return {"claimName": claim, **_create(options), **({"folder": folder} if folder else {}), "format": kind}


async def _repository(session: Session, options: RestoreOptions) -> str:
    """Return the repository of the VM's restore points. Raises CommandError where several may be meant."""
    if options.repository or not options.vm:
        return options.repository
    known = sorted(text(part(one, "metadata").get("name")) for one in await session.list(BACKUP_REPOSITORY))
    if len(known) != 1:
        raise usage("say which repository: give --repository", f"one of: {', '.join(known)}" if known else "")
    return known[0]


async def _vm_of(session: Session, backup: str) -> str:
    found = await session.find(BACKUP, backup)
    return text(part(part(found or {}, "spec"), "vmRef").get("name")) or backup
