"""Errors of calls to the VMA. No message contains a URL with a query, or a secret."""

from __future__ import annotations


class VMAError(Exception):
    """Base of all errors of a call to the VMA; `str()` can be used as a condition's message."""


class VMAUnreachable(VMAError):  # noqa: N818 - says what happened
    """The VMA did not answer: no connection, time-out, TLS error, or a proxy's 502, 503 or 504."""


class VMARefused(VMAError):  # noqa: N818 - says what happened
    """The VMA answered with an error. `text`: its error text in one line of at most 1 KiB, without secrets."""

    def __init__(self, call: str, status: int, text: str) -> None:
        self.call = call
        self.status = status
        self.text = text
        super().__init__(f"{call}: the VMA answered {status}: {text or 'no error text'}")


class VMAGarbage(VMAError):  # noqa: N818 - says what happened
    """The VMA answered with success, but the body is not valid; the message names the field."""


class StartUnknown(VMAError):  # noqa: N818 - says what happened
    """A start call was sent and its result is not known. The caller waits for signs of life and does not repeat it."""
