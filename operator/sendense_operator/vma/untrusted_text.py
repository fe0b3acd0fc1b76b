"""Cleaning of text from outside, so that it can be used in a log line or a condition's message."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Final

from pydantic import ValidationError

from sendense_operator.vma.credentials import Credentials

TEXT_LIMIT: Final = 1024
"""Largest cleaned text, in bytes of UTF-8."""
_CUT: Final = "…"
_ERRORS_SHOWN: Final = 3


def tidy(text: str, credentials: Credentials | None = None) -> str:
    """Return the text as one line of at most TEXT_LIMIT bytes, without secrets and control characters."""
    scrub = credentials.scrub if credentials else str
    clean = "".join(char if char.isprintable() else " " if char.isspace() else "" for char in scrub(text))
    # Again, because a removed character may have split a secret; and before the cut, which could divide one.
    line = scrub(" ".join(clean.split()))
    data = line.encode("utf-8", "replace")
    if len(data) <= TEXT_LIMIT:
        return data.decode()
    return data[: TEXT_LIMIT - len(_CUT.encode())].decode("utf-8", "ignore") + _CUT


def describe_validation(error: ValidationError, prefix: str, credentials: Credentials | None = None) -> str:
    """Return the fields and rules of an error, but no values: `vms[3].disks[0].capacity_bytes: Input should be …`.

    `prefix`: path of the validated value.
    """
    found = error.errors(include_input=False, include_url=False, include_context=False)
    shown = [f"{_where(prefix, item['loc'])}: {item['msg']}" for item in found[:_ERRORS_SHOWN]]
    if len(found) > len(shown):
        shown.append(f"{len(found) - len(shown)} more")
    return tidy("; ".join(shown), credentials)


def name_cause(error: BaseException) -> str:
    """Return the message of the system's or TLS's error that caused `error`, such as `Connection refused`."""
    for link in _chain(error):
        if isinstance(link, ssl.SSLError):
            return getattr(link, "verify_message", "") or link.reason or "TLS failed"
        if isinstance(link, OSError) and link.strerror:
            return link.strerror
    return str(error) or type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    visited: set[int] = set()
    while link is not None and id(link) not in visited:
        visited.add(id(link))
        yield link
        link = link.exceptions[0] if isinstance(link, BaseExceptionGroup) else link.__cause__ or link.__context__


def _where(prefix: str, location: tuple[int | str, ...]) -> str:
    path = prefix
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path or "answer"
