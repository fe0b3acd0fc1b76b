"""What `sendense doctor` finds, and what to do about it. Pure and total."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sendense_operator.api.v1alpha1.conditions import READY, find, is_true
from sendense_operator.formatting import human_bytes
from sendense_operator.views.backup_view import number, objects, part, reason_of, text

Obj = Mapping[str, Any]
_CALLBACKS: Final = "CallbacksArrive"
_VERSION: Final = "app.kubernetes.io/version"
_COMPONENT: Final = "app.kubernetes.io/component"


class Verdict(StrEnum):
    """How a check ended."""

    GOOD = "ok"
    UNKNOWN = "?"
    BAD = "!"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line."""

    verdict: Verdict
    what: str
    advice: str = ""
    """What to do; empty when all is fine."""


def check_programs(deployments: Sequence[Obj], own_version: str) -> Iterator[Finding]:
    """Yield whether the operator's programs run, and of which version they are."""
    if not deployments:
        yield Finding(Verdict.BAD, "the operator is not installed in this cluster", "install the chart: see the guide")
    for one in deployments:
        labels, status = part(part(one, "metadata"), "labels"), part(one, "status")
        name = f"{text(labels.get(_COMPONENT)) or 'program'} {text(part(one, 'metadata').get('name'))}"
        wanted, ready = number(part(one, "spec").get("replicas")), number(status.get("readyReplicas"))
        if ready < wanted or not wanted:
            where = f"kubectl describe deployment -n {text(part(one, 'metadata').get('namespace'))}"
            yield Finding(Verdict.BAD, f"{name}: {ready} of {wanted} replicas are ready", where)
        else:
            yield Finding(Verdict.GOOD, f"{name}: {ready} of {wanted} replicas are ready")
    yield from _check_versions(
        {text(part(part(one, "metadata"), "labels").get(_VERSION)) for one in deployments}, own_version
    )


def _check_versions(found: set[str], own: str) -> Iterator[Finding]:
    for version in sorted(found - {""}):
        if not own or version == own:
            yield Finding(Verdict.GOOD, f"operator {version}, command line {own or 'from a checkout'}")
        else:
            advice = "both know older and newer objects; for all commands install the operator's version"
            yield Finding(Verdict.UNKNOWN, f"operator {version}, command line {own}", advice)


def check_appliance(appliance: Obj) -> Iterator[Finding]:
    """Yield whether the appliance is reached, its callbacks arrive, and its clients end."""
    name, status = _label(appliance), part(appliance, "status")
    yield _readiness(appliance)
    callbacks = find(objects(status.get("conditions")), _CALLBACKS)
    if callbacks is not None and callbacks.get("status") == "False":
        yield Finding(Verdict.BAD, f"{name}: callbacks do not arrive", text(callbacks.get("message")))
    elif status.get("callbackURL"):
        yield Finding(Verdict.GOOD, f"{name}: no callback is known to be lost")
    if stuck := number(status.get("stuckClients")):
        yield Finding(Verdict.BAD, f"{name}: {stuck} of its clients hang", "restart the appliance's service")


def check_repository(repository: Obj) -> Iterator[Finding]:
    """Yield whether the repository can be written, and has room."""
    yield _readiness(repository)
    capacity = part(part(repository, "status"), "capacity")
    free, least = number(capacity.get("freeBytes")), number(part(repository, "spec").get("minFreeBytes"))
    if "freeBytes" in capacity and free < least:
        what = f"{_label(repository)}: {human_bytes(free)} are free, spec.minFreeBytes is {human_bytes(least)}"
        yield Finding(Verdict.BAD, what, "enlarge the claim, or delete restore points: no backup starts before")
    elif "freeBytes" in capacity:
        yield Finding(Verdict.GOOD, f"{_label(repository)}: {human_bytes(free)} are free")


def check_ready(obj: Obj) -> Iterator[Finding]:
    """Yield whether the object is Ready."""
    yield _readiness(obj)


def _readiness(obj: Obj) -> Finding:
    status = part(obj, "status")
    if is_true(objects(status.get("conditions")), READY):
        return Finding(Verdict.GOOD, f"{_label(obj)} is ready")
    why = reason_of(status)
    return Finding(
        Verdict.BAD, f"{_label(obj)} is not ready", why or "the operator has not reconciled it: is it running?"
    )


def _label(obj: Obj) -> str:
    return f"{text(obj.get('kind'))} {text(part(obj, 'metadata').get('name'))}"


def check_rights(missing: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Yield what the user may not do. `missing`: for each ability the rights that it lacks, as `verb resource`."""
    for ability, rights in missing.items():
        if rights:
            yield Finding(Verdict.UNKNOWN, f"you may not {ability}", f"it needs: {', '.join(rights)}")
        else:
            yield Finding(Verdict.GOOD, f"you may {ability}")
