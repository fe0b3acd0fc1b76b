"""vCenter credentials whose `repr` shows no secret, and removal of the password from text that may contain it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

USERNAME_KEY: Final = "username"
PASSWORD_KEY: Final = "password"  # noqa: S105 - the name of a key
HIDDEN: Final = "[hidden]"
_LIMIT: Final = 4096


class CredentialsError(ValueError):
    """The credentials can't be used, such as for a missing or empty key; the message names the key, but no value."""


class Credentials:
    """User name and password of a vCenter. `repr` and `str` show neither."""

    __slots__ = ("_password", "_pattern", "_username")

    def __init__(self, username: str, password: str) -> None:
        """Initialize. Raises CredentialsError if a value is empty or longer than 4096 characters."""
        self._username = _checked(USERNAME_KEY, username)
        self._password = _checked(PASSWORD_KEY, password)
        self._pattern = _pattern_of(self._password)

    @property
    def username(self) -> str:
        """User name, such as `backup@vsphere.local`."""
        return self._username

    @property
    def password(self) -> str:
        """Password in clear text, to be used in calls to the VMA only."""
        return self._password

    def scrub(self, text: str) -> str:
        """Return `text` with the password replaced, be it plain, URL-encoded, JSON-quoted or in base64."""
        return self._pattern.sub(HIDDEN, text)

    def __repr__(self) -> str:
        return f"Credentials({HIDDEN})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("credentials can't be serialized")


def credentials_from_secret(data: Mapping[str, bytes]) -> Credentials:
    """Return the credentials in a Secret's decoded data (keys `username`, `password`). Raises CredentialsError."""
    return Credentials(_text(USERNAME_KEY, data), _text(PASSWORD_KEY, data))


def read_credentials(directory: Path) -> Credentials:
    """Return the credentials in a folder's files `username` and `password`. Raises CredentialsError."""
    data: dict[str, bytes] = {}
    for key in (USERNAME_KEY, PASSWORD_KEY):
        try:
            data[key] = (directory / key).read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CredentialsError(f"credentials: {key} can't be read: {error.strerror}") from None
    return credentials_from_secret(data)


def _text(key: str, data: Mapping[str, bytes]) -> str:
    if key not in data:
        raise CredentialsError(f"credentials: the Secret has no key {key!r}")
    try:
        # `echo secret | base64` and editors add a line end, which no vCenter password has.
        return data[key].decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise CredentialsError(f"credentials: {key} is not UTF-8") from None


def _checked(key: str, value: str) -> str:
    if not value:
        raise CredentialsError(f"credentials: {key} is empty")
    if len(value) > _LIMIT:
        raise CredentialsError(f"credentials: {key} is longer than {_LIMIT} characters")
    return value


def _pattern_of(secret: str) -> re.Pattern[str]:
    once = quote(secret, safe="")
    forms = {
        secret,
        once,
        quote(once, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        # Go's JSON encoder escapes these three characters.
        json.dumps(secret, ensure_ascii=False)[1:-1]
        .replace("&", "\\u0026")
        .replace("<", "\\u003c")
        .replace(">", "\\u003e"),
        base64.b64encode(secret.encode()).decode(),
    }
    longest_first = sorted(forms, key=len, reverse=True)
    # Percent escapes occur in upper and lower case.
    return re.compile("|".join(re.escape(form) for form in longest_first), re.IGNORECASE)
