"""`sendense doctor`: definitions, rights, versions, appliances, repositories, callbacks; what to do about each."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from sendense_operator.cli.errors import ExitCode
from sendense_operator.cli.health_checks import (
    Finding,
    Verdict,
    check_appliance,
    check_programs,
    check_ready,
    check_repository,
    check_rights,
)
from sendense_operator.cli.object_output import document
from sendense_operator.cli.screen import Cell, Tone
from sendense_operator.cli.session import Session
from sendense_operator.cluster.errors import ClusterError, ForbiddenError, NotFoundError
from sendense_operator.cluster.kinds import (
    APPLIANCE,
    BACKUP,
    BACKUP_CHAIN,
    BACKUP_POLICY,
    BACKUP_REPOSITORY,
    POD,
    PROTECTED_VM,
    RESTORE,
    Kind,
)
from sendense_operator.cluster.objects import Obj

DEPLOYMENT: Final = Kind("apps/v1", "Deployment", "deployments")
REVIEW: Final = Kind("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False)
OPERATOR: Final = "app.kubernetes.io/name=sendense-backup"
"""Label of the operator's own objects."""
_OURS: Final = (BACKUP, BACKUP_CHAIN, BACKUP_POLICY, BACKUP_REPOSITORY, PROTECTED_VM, RESTORE, APPLIANCE)
_CHECKS: Final = ((APPLIANCE, check_appliance), (BACKUP_REPOSITORY, check_repository), (BACKUP_POLICY, check_ready))
_ABILITIES: Final[Mapping[str, tuple[tuple[str, Kind, str], ...]]] = {
    "see backups": tuple(("list", kind, "") for kind in _OURS),
    "back up, restore and delete": (
        ("create", BACKUP, ""), ("patch", BACKUP, ""), ("delete", BACKUP, ""), ("create", RESTORE, ""),
        ("patch", RESTORE, ""),
    ),
    "read logs": (("list", POD, ""), ("get", POD, "log")),
    "request scans and verify whole chains": (("patch", BACKUP_REPOSITORY, ""), ("patch", BACKUP_CHAIN, "")),
}  # fmt: skip
_TONES: Final = {Verdict.GOOD: Tone.GOOD, Verdict.UNKNOWN: Tone.WARNING, Verdict.BAD: Tone.BAD}


def own_version() -> str:
    """Return the version of this package; empty in a checkout."""
    try:
        return version("sendense-backup")
    except PackageNotFoundError:
        return ""


async def show_health(session: Session) -> None:
    """Print each finding with what to do; exit code 1 if something is bad."""
    found = await examine(session)
    if any(one.verdict is Verdict.BAD for one in found):
        session.code = ExitCode.FAILED
    if not session.for_people:
        rows = [{"verdict": one.verdict.name.capitalize(), "what": one.what, "advice": one.advice} for one in found]
        session.screen.raw(document(rows, session.form))
        return
    for one in found:
        session.screen.line(Cell(f"{one.verdict.value:<2}", _TONES[one.verdict]), one.what)
        if one.advice:
            session.screen.line(one.advice, indent=4)


async def examine(session: Session) -> list[Finding]:
    """Return what was found. Raises ClusterError only where the API server is away."""
    found, served = await _check_kinds(session)
    found += check_rights(await _missing_rights(session))
    found += await _check_programs(session)
    for kind, check in _CHECKS:
        for obj in served.get(kind, ()):
            found += check(obj)
    return found


async def _check_kinds(session: Session) -> tuple[list[Finding], dict[Kind, list[Obj]]]:
    """Return what is not served, and the objects of what is."""
    found: list[Finding] = []
    served: dict[Kind, list[Obj]] = {}
    for kind in _OURS:
        try:
            checked = any(kind is one for one, _ in _CHECKS)
            served[kind] = (
                await session.cluster.list_objects(kind, session.scope) if checked else await _few(session, kind)
            )
        except NotFoundError:
            advice = "apply the chart's definitions: kubectl apply --server-side -f crds/"
            found.append(Finding(Verdict.BAD, f"the kind {kind.kind} is not served", advice))
        except ForbiddenError:
            served[kind] = []
    if not found:
        found.append(Finding(Verdict.GOOD, f"all {len(_OURS)} kinds are served"))
    return found, served


async def _few(session: Session, kind: Kind) -> list[Obj]:
    """Return none or a few: whether the kind is served is all that is asked."""
    async for page in session.cluster.pages(kind, session.namespace, fields="metadata.name=none"):
        return page
    return []


async def _missing_rights(session: Session) -> dict[str, list[str]]:
    missing: dict[str, list[str]] = {}
    for ability, rights in _ABILITIES.items():
        missing[ability] = [
            f"{verb} {kind.plural}{f'/{sub}' if sub else ''}"
            for verb, kind, sub in rights
            if not await _may(session, verb, kind, sub)
        ]
    return missing


async def _may(session: Session, verb: str, kind: Kind, sub: str) -> bool:
    asked = {
        "namespace": session.namespace,
        "verb": verb,
        "group": kind.api_version.rpartition("/")[0],
        "resource": kind.plural,
        **({"subresource": sub} if sub else {}),
    }
    try:
        answer = await session.cluster.create(REVIEW, {"metadata": {}, "spec": {"resourceAttributes": asked}})
    except ForbiddenError:
        return False
    return (answer.get("status") or {}).get("allowed") is True


async def _check_programs(session: Session) -> list[Finding]:
    try:
        deployments = await session.cluster.list_objects(DEPLOYMENT, None, labels=OPERATOR)
    except ForbiddenError:
        advice = "it needs: list deployments.apps in all namespaces"
        return [Finding(Verdict.UNKNOWN, "you may not see the operator's programs", advice)]
    except ClusterError as error:
        return [Finding(Verdict.UNKNOWN, f"the operator's programs can't be listed: {error}")]
    return list(check_programs(deployments, own_version()))
