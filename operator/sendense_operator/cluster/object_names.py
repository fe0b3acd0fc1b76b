"""Names of the objects that are made for another one: deterministic, so that a name is a lock."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

_LIMIT: Final = 63
_RUN: Final = re.compile(r"-(?P<run>[0-9]{12}|run-[0-9a-f]{8})-[0-9a-f]{8}$")
"""End of a policy's Backup's name."""
_NOT_ALLOWED: Final = re.compile(r"[^a-z0-9]+")


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _short(name: str, room: int) -> str:
    return name[:room].rstrip("-.").replace(".", "-")


def _named(owner: str, kind: str, uid: str) -> str:
    """Return the name of the object of a kind that is made for the object `owner` with this UID."""
    end = f"-{kind}-{_digest(uid)}"
    return _short(owner, _LIMIT - len(end)) + end


def worker_name(backup: str, uid: str) -> str:
    """Return the name of a Backup's Job and NetworkPolicy. Another Backup of the same name gets another one."""
    return _named(backup, "bkp", uid)


def service_name(backup: str, uid: str) -> str:
    """Return the name of a Backup's Service: the Job's, with a letter in front of a digit.

    Before Kubernetes 1.37 a Service has to begin with a letter (DNS-1035). The Job keeps its name all the same: it is
    the lock, and one that runs while the operator is upgraded must be found.
    """
    return worker_name(f"b-{backup}" if backup[0].isdigit() else backup, uid)


def probe_name(repository: str, uid: str) -> str:
    """Return the name of a repository's probe Job."""
    return _named(repository, "probe", uid)


def verification_name(chain: str, uid: str) -> str:
    """Return the name of a chain's verification Job."""
    return _named(chain, "verify", uid)


def consolidation_name(chain: str, uid: str) -> str:
    """Return the name of a chain's consolidation Job."""
    return _named(chain, "merge", uid)


def restore_name(restore: str, uid: str) -> str:
    """Return the name of a Restore's Job."""
    return _named(restore, "restore", uid)


def sender_name(restore: str, uid: str) -> str:
    """Return the name of the Job that serves a Restore's disks to the one that writes them."""
    return _named(restore, "sender", uid)


def tls_secret_name(restore: str, uid: str) -> str:
    """Return the name of the Secret with the key of a Restore's exports."""
    return _named(restore, "tls", uid)


def restore_service_name(restore: str, uid: str) -> str:
    """Return the name of a Restore's Service: the Job's, with a letter in front of a digit, as of `service_name`."""
    return restore_name(f"r-{restore}" if restore[0].isdigit() else restore, uid)


def chain_name(vm: str, repository: str) -> str:
    """Return the name of a BackupChain; the digest keeps `a-b` + `c` apart from `a` + `b-c`."""
    digest = _digest(vm, repository)
    room = (_LIMIT - len(digest) - 2) // 2
    return f"{_short(vm, room)}-{_short(repository, room)}-{digest}"


def policy_backup_name(vm: str, policy: str, run: str) -> str:
    """Return the name of a policy's Backup. `run`: the slot's time in UTC, or a digest of the request.

    The same VM, policy and run give the same name, so that a run creates each Backup at most once.
    """
    digest = _digest(vm, policy)
    room = (_LIMIT - len(digest) - len(run) - 3) // 2
    return f"{_short(vm, room)}-{_short(policy, room)}-{run}-{digest}"


def is_policy_backup_name(name: str, vm: str, policy: str) -> bool:
    """Return whether a Backup's name is one that this policy gives for that VM.

    It tells the policy's restore points from others after they were found in the repository: manifests name no policy.
    """
    match = _RUN.search(name)
    return match is not None and policy_backup_name(vm, policy, match["run"]) == name


def run_digest(request: str) -> str:
    """Return the part of a name that stands for a run on request."""
    return f"run-{_digest(request)}"


def vm_object_name(vm_name: str, *identity: str) -> str:
    """Return the name of a discovered VM's ProtectedVM: its DNS-1123 form and a digest of its identity."""
    digest = _digest(*identity)
    plain = unicodedata.normalize("NFKD", vm_name).encode("ascii", "ignore").decode().lower()
    readable = _NOT_ALLOWED.sub("-", plain)[: _LIMIT - len(digest) - 1].strip("-")
    return f"{readable or 'vm'}-{digest}"
