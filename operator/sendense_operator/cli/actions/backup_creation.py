"""`sendense backup`: one Backup per VM."""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sendense_operator.api.v1alpha1.backup import RequestedType
from sendense_operator.api.v1alpha1.names import is_object_name
from sendense_operator.cli.errors import CommandError, ExitCode, usage
from sendense_operator.cli.session import Session
from sendense_operator.cli.waits import Patience, follow_runs
from sendense_operator.cluster.kinds import BACKUP, BACKUP_POLICY, BACKUP_REPOSITORY, PROTECTED_VM
from sendense_operator.cluster.objects import Obj
from sendense_operator.views.backup_view import part, text
from sendense_operator.views.cached_objects import CachedVM
from sendense_operator.views.new_names import made_up_name
from sendense_operator.views.vm_ranks import ranked_vms

_LETTERS: Final = string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """How the Backups are made."""

    repository: str = ""
    """Empty: that of the VM's policy, or the only one of the namespace."""
    full: bool = False
    name: str = ""
    """Of the Backup; only for one VM. Empty: made of the VM's name and the time in UTC."""
    wait: bool = False
    timeout_s: float = 0


async def back_up(session: Session, vms: Sequence[str], options: BackupOptions) -> None:
    """Create a Backup of each VM, and wait for their end if that is wanted. Raises CommandError and ClusterError."""
    patience = Patience.of(options.timeout_s)
    if options.name and len(vms) > 1:
        raise usage("--name is for one VM", "leave it out, or run the command once per VM")
    known = await session.list(PROTECTED_VM)
    meant = [_meant(name, known, session.namespace) for name in dict.fromkeys(vms)]
    chosen = {vm: await _repository(session, vm, known, options) for vm in meant}
    made = [await _create(session, vm, repository, options) for vm, repository in chosen.items()]
    # what could not be looked up was not needed
    session.code = ExitCode.DONE
    names = [text(part(one, "metadata").get("name")) for one in made]
    if options.wait:
        ended = await follow_runs(session, BACKUP, names, patience)
        session.put_out(*ended, single=True)
    elif not session.put_out(*made, single=True) and session.screen.live:
        session.screen.note(f"`sendense describe {names[0]}` shows it, --wait follows it")


def _meant(name: str, known: Sequence[Obj], namespace: str) -> str:
    """Return the name of the ProtectedVM that is meant. Raises CommandError for none, or for several."""
    ranks = ranked_vms((CachedVM.from_object(vm) for vm in known if _is_whole(vm)), name)
    if not ranks:
        # without the right to list them the name is taken for an object's
        if not known and is_object_name(name):
            return name
        raise CommandError(f"no VM {name} in namespace {namespace}", "`sendense vms` lists those that there are")
    if len(ranks[0]) > 1:
        some = ", ".join(vm.name for vm in ranks[0][:5])
        raise usage(f"several VMs are called {name}", f"give the name of the ProtectedVM, one of: {some}")
    return ranks[0][0].name


def _is_whole(vm: Mapping[str, Any]) -> bool:
    meta = part(vm, "metadata")
    return all(isinstance(meta.get(key), str) for key in ("namespace", "name", "uid"))


async def _repository(session: Session, vm: str, known: Sequence[Obj], options: BackupOptions) -> str:
    """Return the repository that the VM is backed up to. Raises CommandError when nothing says which."""
    if options.repository:
        return options.repository
    found = next((one for one in known if text(part(one, "metadata").get("name")) == vm), {})
    policy_name = text(part(found, "status").get("policy"))
    policy = await session.find(BACKUP_POLICY, policy_name) if policy_name else None
    if policy is not None and (name := text(part(part(policy, "spec"), "repositoryRef").get("name"))):
        return name
    repositories = [text(part(one, "metadata").get("name")) for one in await session.list(BACKUP_REPOSITORY)]
    if len(repositories) == 1:
        return repositories[0]
    if session.code is not ExitCode.DONE:
        raise CommandError(f"where {vm} is backed up to can't be looked up", "give --repository")
    what = f"one of: {', '.join(sorted(repositories))}" if repositories else "create a BackupRepository first"
    raise usage(f"no policy says where {vm} is backed up to: give --repository", what)


async def _create(session: Session, vm: str, repository: str, options: BackupOptions) -> Obj:
    kind = RequestedType.FULL if options.full else RequestedType.AUTO
    token = "".join(secrets.choice(_LETTERS) for _ in range(5))
    made = await session.create(
        BACKUP,
        {
            "metadata": {
                "namespace": session.namespace,
                "name": options.name or made_up_name(vm, session.now(), token),
            },
            "spec": {"vmRef": {"name": vm}, "repositoryRef": {"name": repository}, "type": kind.value},
        },
    )
    if session.for_people:
        name = text(part(made, "metadata").get("name"))
        session.screen.line(f"Backup {name} created: {vm} to {repository}, type {kind.value}")
    return made
