"""Where a backup's tags and policy are kept: labels where they fit, else annotations of the same key. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sendense_operator.api.v1alpha1.names import GROUP

TAG_PREFIX: Final = f"tags.{GROUP}/"
POLICY: Final = f"{GROUP}/policy"
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def is_tag_key(key: str) -> bool:
    """Return whether a tag of that name can be kept."""
    return _NAME.fullmatch(key) is not None


def metadata_of(tags: Mapping[str, str], policy: str | None) -> dict[str, dict[str, str]]:
    """`labels` and `annotations` that keep both; the keys of `tags` satisfy `is_tag_key`."""
    pairs = {TAG_PREFIX + key: value for key, value in tags.items()} | ({POLICY: policy} if policy else {})
    fits = {key: value == "" or _NAME.fullmatch(value) is not None for key, value in pairs.items()}
    return {
        "labels": {key: value for key, value in pairs.items() if fits[key]},
        "annotations": {key: value for key, value in pairs.items() if not fits[key]},
    }


def tags_of(meta: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags in an object's metadata, in the order of their names."""
    found = {
        key.removeprefix(TAG_PREFIX): str(value)
        for kept in (meta.get("annotations"), meta.get("labels"))
        for key, value in (kept or {}).items()
        if key.startswith(TAG_PREFIX)
    }
    return dict(sorted(found.items()))


def policy_of(meta: Mapping[str, Any]) -> str | None:
    """Return the policy in an object's metadata."""
    for kept in (meta.get("labels"), meta.get("annotations")):
        if value := (kept or {}).get(POLICY):
            return str(value)
    return None
