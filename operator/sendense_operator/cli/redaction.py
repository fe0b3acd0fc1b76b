"""Objects and logs without what nobody else may know. Pure.

Secrets are never read. What is left is the callback URL of an appliance, whose path is a secret, what people put into
annotations, and the task of a worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from sendense_operator.api.v1alpha1.names import ANNOTATION_TASK
from sendense_operator.views.backup_view import part, text

HIDDEN: Final = "[redacted]"
_LEFT_OUT: Final = frozenset({ANNOTATION_TASK, "kubectl.kubernetes.io/last-applied-configuration"})
_SHORTEST: Final = 8
"""Characters of a secret; what is shorter may be any word."""


def secrets_of(appliances: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the last parts of the callback URLs' paths: whoever knows one can send callbacks."""
    paths = (urlsplit(text(part(one, "status").get("callbackURL"))).path for one in appliances)
    return {word for path in paths if len(word := path.rstrip("/").rpartition("/")[2]) >= _SHORTEST}


def without_secrets(value: Any, secrets: Iterable[str]) -> Any:
    """Return JSON without these texts, managed fields, and annotations that hold copies of specs or tasks."""
    if isinstance(value, Mapping):
        return {
            key: without_secrets(one, secrets)
            for key, one in value.items()
            if key not in _LEFT_OUT and key not in ("managedFields", "env", "envFrom")
        }
    if isinstance(value, list):
        return [without_secrets(one, secrets) for one in value]
    return hidden(value, secrets) if isinstance(value, str) else value


def hidden(content: str, secrets: Iterable[str]) -> str:
    """Return the text with the secrets replaced."""
    for secret in secrets:
        content = content.replace(secret, HIDDEN)
    return content
