"""What happens when an object changes: a key goes into the work queue, nothing else.

Only `on.event` handlers: they store nothing in the objects and add no finalizers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import kopf

from sendense_operator.api.v1alpha1 import conditions, names
from sendense_operator.api.v1alpha1.backup import Phase
from sendense_operator.cluster import kinds
from sendense_operator.cluster.provenance import is_worker_pod
from sendense_operator.reconcile.chains.chain_reconciler import key_of_chain
from sendense_operator.reconcile.state.hints import WatchHints
from sendense_operator.reconcile.state.keys import ChainKey, Key, Work
from sendense_operator.reconcile.state.kubernetes_objects import answer_of, is_live, requested_by

_RESTORE_POINTS: Final = (Phase.COMPLETED, Phase.LOST)
"""Phases of Backups that a chain lists."""
SETTLE_S: Final = 5.0
"""Seconds until a chain is checked of which adopted Backups come: a repository may hold thousands of them."""

_OF_CHAINS: Final = (names.COMPONENT_VERIFICATION, names.COMPONENT_CONSOLIDATION)
"""Components whose Jobs belong to a chain."""
_PROTECTION_FIELDS: Final = ("latestBackup", "latestTime", "policy", "nextTime")
"""Of a ProtectedVM's status, beside the condition Protected: how recent its newest restore point is."""

Add = Callable[[Key, float], None]
"""Look at something in so many seconds."""

_SIMPLE: Final = (
    (kinds.BACKUP_REPOSITORY, Work.REPOSITORY),
    (kinds.BACKUP_POLICY, Work.POLICY),
    (kinds.PROTECTED_VM, Work.VM),
    (kinds.APPLIANCE, Work.APPLIANCE),
)


def register(registry: kopf.OperatorRegistry, add: Add, hints: WatchHints) -> None:
    """Register the handlers of all kinds but Backups and chains, see `following`."""

    async def on_job(type: str | None, body: kopf.Body, **_: Any) -> None:
        for key in named(keys_of_job(type, body)):
            add(key, 0.0)

    async def on_pod(type: str | None, body: kopf.Body, **_: Any) -> None:
        if type == "DELETED":
            remember_answer(body, hints)
        for key in named(keys_of_pod(body)):
            add(key, 0.0)

    def on_simple(work: Work) -> Any:
        async def handler(type: str | None, body: kopf.Body, **_: Any) -> None:
            for key in keys_of_reference(work, type, body, hints):
                add(key, 0.0)

        handler.__name__ = f"on_{work.value.lower()}"
        return handler

    async def on_restore(type: str | None, body: kopf.Body, **_: Any) -> None:
        for key in keys_of_restore(type, body):
            add(key, 0.0)

    _on(registry, kinds.RESTORE, on_restore)
    _on(registry, kinds.JOB, on_job)
    _on(registry, kinds.POD, on_pod)
    for kind, work in _SIMPLE:
        _on(registry, kind, on_simple(work))


def _on(registry: kopf.OperatorRegistry, kind: kinds.Kind, handler: Any) -> None:
    group, _, version = kind.api_version.rpartition("/")
    kopf.on.event(group, version, kind.plural, registry=registry)(handler)


def keys_of_backup(event: str | None, body: Any) -> list[Key]:
    """Return the keys to reconcile for a changed Backup; one that is over and tidied up concerns only its chain."""
    meta, status = body["metadata"], body.get("status") or {}
    phase = status.get("phase")
    keys = []
    if event != "DELETED" and not _is_tidy(meta, status):
        keys.append(Key.of(Work.BACKUP, body))
    # A failed one of a policy: older failures may be beyond its history limit now.
    failed = phase in conditions.TERMINAL_PHASES and (body.get("spec") or {}).get("policyRef")
    if phase in _RESTORE_POINTS or failed or event == "DELETED" or meta.get("deletionTimestamp"):
        keys.append(Key.of_chain(meta["namespace"], ChainKey.of(body)))
    if event == "DELETED":
        keys.append(Key(Work.WAKE, meta["namespace"]))
    return keys


def settling_s(key: Key, event: str | None, body: Any) -> float:
    """Return seconds that a key of a Backup can wait: its chain lists all of its Backups at each check.

    With an adopted one more of its chain come, and when the watch begins (no event) all there are.
    """
    meta = body["metadata"]
    going = event == "DELETED" or meta.get("deletionTimestamp")
    many = event is None or (meta.get("labels") or {}).get(names.LABEL_ADOPTED)
    return SETTLE_S if key.work is Work.CHAIN and many and not going else 0.0


def keys_of_chain(event: str | None, body: Any) -> list[Key]:
    """Return the keys to reconcile for a changed chain; the controller's own status write is not a change."""
    meta, status = body["metadata"], body.get("status") or {}
    known = status.get("observedGeneration")
    acted_on = _is_acted_on(body, names.ANNOTATION_VERIFY, status.get("verification"))
    acted_on = acted_on and _is_acted_on(body, names.ANNOTATION_CONSOLIDATE, status.get("consolidation"))
    same = known == meta.get("generation") and acted_on
    ours = event == "MODIFIED" and same and not meta.get("deletionTimestamp")
    return [] if ours else [key_of_chain(dict(body))]


def _is_acted_on(body: Any, annotation: str, state: Any) -> bool:
    """Return whether what the annotation requests is done or being done, as `state`, a part of the status, says.

    One that is being acted on is followed until its end: each write of its progress must not cause another check.
    """
    known = state or {}
    return requested_by(body, annotation) == known.get("request", "") or bool(known.get("requestTime"))


def keys_of_restore(event: str | None, body: Any) -> list[Key]:
    """Return the keys to reconcile for a changed Restore, except one that is over and tidied up."""
    meta, status = body["metadata"], body.get("status") or {}
    known = status.get("observedGeneration") == meta.get("generation")
    over = status.get("phase") in conditions.TERMINAL_PHASES and not meta.get("deletionTimestamp")
    if event == "DELETED":
        return [Key(Work.WAKE, meta["namespace"])]
    return (
        [] if over and known and names.FINALIZER not in (meta.get("finalizers") or []) else [Key.of(Work.RESTORE, body)]
    )


def _is_tidy(meta: Any, status: Any) -> bool:
    """Return whether a Backup needs no reconcile: it is over, its finalizers are right, its spec is observed."""
    phase = status.get("phase")
    held = meta.get("finalizers") or []
    known = status.get("observedGeneration") == meta.get("generation")
    reported = (meta.get("labels") or {}).get(names.LABEL_PHASE) == phase
    kept = names.FINALIZER_RESTORE_POINT in held or phase not in _RESTORE_POINTS
    over = phase in conditions.TERMINAL_PHASES and not meta.get("deletionTimestamp")
    return over and known and reported and kept and names.FINALIZER not in held


def keys_of_job(event: str | None, body: Any) -> list[Key]:
    """Return the keys to reconcile for a changed Job of the operator."""
    meta = body["metadata"]
    labels, namespace = meta.get("labels") or {}, meta["namespace"]
    if labels.get(names.LABEL_COMPONENT) in _OF_CHAINS:
        return _keys_of_chain_job(body)
    if labels.get(names.LABEL_COMPONENT) == names.COMPONENT_RESTORE:
        gone = event == "DELETED" or not is_live(body)
        return [*_keys_of_restore_worker(body), *([Key(Work.WAKE, namespace)] if gone else [])]
    repository = Key(Work.REPOSITORY, namespace, labels.get(names.LABEL_REPOSITORY, ""))
    if labels.get(names.LABEL_COMPONENT) != names.COMPONENT_WORKER:
        return [repository]
    keys = [Key(Work.BACKUP, namespace, labels.get(names.LABEL_BACKUP, ""))]
    gone = event == "DELETED" or not is_live(body)
    if gone or event == "ADDED":
        keys += [repository, Key(Work.APPLIANCE, namespace, labels.get(names.LABEL_APPLIANCE, ""))]
    if gone:
        keys.append(Key(Work.WAKE, namespace))
    return keys


def keys_of_reference(work: Work, event: str | None, body: Any, hints: WatchHints) -> list[Key]:
    """Something that Backups refer to changed. They are only woken by what they may wait for.

    Hundreds may wait, and most changes are of a status that says how much room is left or when the appliance was last
    heard of. Slots become free with Jobs, which wake by themselves.
    """
    meta = body["metadata"]
    reported = _waited_for(body)
    before = hints.waited_for.pop(meta["uid"])
    if event != "DELETED":
        hints.waited_for.put(meta["uid"], reported)
    keys = [] if work is Work.VM and _is_protection_only(event, body, hints) else [Key.of(work, body)]
    return keys if reported == before and event != "DELETED" else [*keys, Key(Work.WAKE, meta["namespace"])]


def _is_protection_only(event: str | None, body: Any, hints: WatchHints) -> bool:
    """Return whether nothing of a VM changed but how recent its newest restore point is: our own write of that.

    With each backup and slot that changes. What a changed VM wakes, its chains, has nothing to do with it.
    """
    meta, status = dict(body["metadata"]), dict(body.get("status") or {})
    before = hints.looked_up.pop(meta["uid"])
    if event == "DELETED":
        return False
    protection = [status.pop(field, None) for field in _PROTECTION_FIELDS]
    found = status.pop("conditions", None) or []
    protection += [c for c in found if c.get("type") == conditions.PROTECTED]
    for field in ("resourceVersion", "managedFields"):
        meta.pop(field, None)
    rest = [meta, dict(body.get("spec") or {}), status, [c for c in found if c.get("type") != conditions.PROTECTED]]
    reported = _hash_of(rest), _hash_of(protection)
    hints.looked_up.put(meta["uid"], reported)
    return event == "MODIFIED" and before is not None and before[0] == reported[0] and before[1] != reported[1]


def _hash_of(value: Any) -> int:
    return hash(json.dumps(value, sort_keys=True, default=str))


def _waited_for(body: Any) -> tuple[object, ...]:
    """Return all fields on which a waiting Backup depends: spec, deletion, Ready, the repository's identity."""
    meta, status = body["metadata"], body.get("status") or {}
    ready = conditions.find(status.get("conditions") or (), conditions.READY) or {}
    return (
        meta.get("generation"),
        bool(meta.get("deletionTimestamp")),
        status.get("repositoryID"),
        *(ready.get(field) for field in ("status", "reason", "observedGeneration")),
    )


def keys_of_pod(body: Any) -> list[Key]:
    """Return the keys to reconcile for a changed pod of the operator."""
    labels, namespace = body["metadata"].get("labels") or {}, body["metadata"]["namespace"]
    if labels.get(names.LABEL_COMPONENT) in _OF_CHAINS:
        return _keys_of_chain_job(body)
    if labels.get(names.LABEL_COMPONENT) == names.COMPONENT_RESTORE:
        return _keys_of_restore_worker(body)
    if labels.get(names.LABEL_COMPONENT) == names.COMPONENT_WORKER:
        return [Key(Work.BACKUP, namespace, labels.get(names.LABEL_BACKUP, ""))]
    return [Key(Work.REPOSITORY, namespace, labels.get(names.LABEL_REPOSITORY, ""))]


def _keys_of_chain_job(body: Any) -> list[Key]:
    labels = body["metadata"].get("labels") or {}
    vm, repository = labels.get(names.LABEL_VM), labels.get(names.LABEL_REPOSITORY)
    return [Key.of_chain(body["metadata"]["namespace"], ChainKey(vm, repository))] if vm and repository else []


def _keys_of_restore_worker(body: Any) -> list[Key]:
    labels = body["metadata"].get("labels") or {}
    return [Key(Work.RESTORE, body["metadata"]["namespace"], labels.get(names.LABEL_RESTORE, ""))]


def named(keys: list[Key]) -> list[Key]:
    """Return those that name an object: somebody else's Job may carry our component label and none of the others."""
    return [key for key in keys if key.name or key.work is Work.WAKE]


def remember_answer(body: Any, hints: WatchHints) -> None:
    """Keep the answer of a pod that is gone: nobody may have read it yet.

    Of a worker it is kept by its Backup's UID, of a maintenance pod by its Job's. Pods that somebody else made say
    nothing: a worker's must belong to its Backup's Job, and the answer of a maintenance pod is looked up by its Job.
    """
    meta = body["metadata"]
    answer = answer_of(body)
    uid = (meta.get("labels") or {}).get(names.LABEL_BACKUP_UID)
    if uid and not is_worker_pod(body):
        return
    uid = uid or next((ref["uid"] for ref in meta.get("ownerReferences") or []), None)
    if answer is not None and uid:
        hints.answers.put(uid, answer)
