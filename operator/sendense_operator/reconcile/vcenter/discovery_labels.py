"""Labels that discovery sets on ProtectedVMs. An annotation records their keys; discovery changes no other labels.

Discovery owns the recorded keys: they get the values of the rules, and are removed once no rule sets them. It does not
take over a key that an object already has, whatever its value.
"""

from __future__ import annotations

from collections.abc import Mapping

from sendense_operator.api.v1alpha1.discovery import RESERVED_PREFIXES
from sendense_operator.api.v1alpha1.labels import is_key
from sendense_operator.api.v1alpha1.names import ANNOTATION_DISCOVERY_LABELS
from sendense_operator.cluster.objects import Obj
from sendense_operator.reconcile.state.kubernetes_objects import labels_of


def label_changes(obj: Obj, wanted: Mapping[str, str]) -> Obj:
    """Return the merge patch of the metadata that gives the object the wanted labels; empty if it needs none."""
    present, text = labels_of(obj), _record_of(obj)
    record = {key for key in text.split(",") if is_key(key) and not key.startswith(RESERVED_PREFIXES)}
    own = {key: value for key, value in wanted.items() if key in record or key not in present}
    labels: dict[str, str | None] = {key: value for key, value in own.items() if present.get(key) != value}
    labels |= {key: None for key in record.difference(own) if key in present}
    change: Obj = {"labels": labels} if labels else {}
    new_text = ",".join(sorted(own))
    if new_text != text:
        change["annotations"] = {ANNOTATION_DISCOVERY_LABELS: new_text or None}
    return change


def _record_of(obj: Obj) -> str:
    return str((obj["metadata"].get("annotations") or {}).get(ANNOTATION_DISCOVERY_LABELS, ""))
