"""What can go wrong with the VMA. No message holds a URL with a query or a secret."""

from __future__ import annotations


class VMAError(Exception):
    """Base of all errors of a call to the VMA; `str()` is fit for a condition's message."""


class VMAUnreachable(VMAError):  # noqa: N818 - says what happened
    """No answer: refused, not resolved, timed out, broken, TLS not trusted, or a proxy's 502/503/504."""


class VMARefused(VMAError):  # noqa: N818 - says what happened
    """The VMA answered an error. `text` is its own (plain) text: scrubbed, cleaned, at most 1 KiB."""

    def __init__(self, call: str, status: int, text: str) -> None:
        self.call = call
        self.status = status
        self.text = text
        super().__init__(f"{call}: the VMA answered {status}: {text or 'without a text'}")


class VMAGarbage(VMAError):  # noqa: N818 - says what happened
    """The VMA answered success with a body that does not fit; the message names the field."""


class StartUnknown(VMAError):  # noqa: N818 - says what happened
    """A start call was sent, its outcome is not known: look for signs of life, never start again."""
