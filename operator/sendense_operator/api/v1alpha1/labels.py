"""Field types for label keys and values with the bounds of Kubernetes, and rules for the keys of maps."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

MAX_LABELS: Final = 32
MAX_KEY: Final = 317
KEY_PATTERN: Final = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
_SYNTAX: Final = "must be a name of at most 63 characters, with an optional DNS prefix and a slash before it"


def key_syntax(name: str) -> tuple[str, str]:
    """Return the CEL rule for a map's keys, and its message, because a schema cannot constrain the keys of a map."""
    return f"self.all(k, k.size() <= {MAX_KEY} && k.matches(r'{KEY_PATTERN}'))", f"{name}: each key {_SYNTAX}"


def cel_list(texts: tuple[str, ...]) -> str:
    """Return a CEL list of these texts, which contain no quotes."""
    return "[" + ", ".join(f"'{text}'" for text in texts) + "]"


def not_prefixed(name: str, prefixes: tuple[str, ...]) -> tuple[str, str]:
    """Return the CEL rule that no key of a map begins with one of the prefixes, and its message."""
    rule = f"self.all(k, !{cel_list(prefixes)}.exists(p, k.startsWith(p)))"
    return rule, f"{name}: keys that begin with {', '.join(prefixes)} are reserved"


def is_key(text: str) -> bool:
    """Return whether `text` is a valid label key."""
    return len(text) <= MAX_KEY and re.fullmatch(KEY_PATTERN, text) is not None


def check_keys(values: dict[str, str]) -> dict[str, str]:
    """Return `values` if each key is valid. For the chart's values, which no API server checks. Raises ValueError."""
    for key in values:
        if not is_key(key):
            raise ValueError(f"key {key[:64]!r} {_SYNTAX}")
    return values


LabelKey = Annotated[str, Field(min_length=1, max_length=MAX_KEY, pattern=KEY_PATTERN)]
LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")]
Labels = Annotated[dict[str, LabelValue], Field(max_length=MAX_LABELS), AfterValidator(check_keys)]
"""A map of labels; the field that has this type adds the rule `key_syntax`."""
