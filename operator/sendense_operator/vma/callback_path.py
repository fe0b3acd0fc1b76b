"""The base path of an appliance's callbacks, which the controller creates and the gateway checks. No I/O.

The VMA sends no credentials, but keeps the path of its control-plane URL. The path therefore contains a token, derived
from a key that only controller and gateway have: nobody else can send callbacks in the appliance's name, and the
gateway needs no list of tokens.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b32encode
from dataclasses import dataclass
from typing import Final

_MAC_CHARACTERS: Final = 26
"""Base32 characters of a MAC: 130 bits."""
_TOKEN: Final = re.compile(r"([0-9]{1,6})-([a-z2-7]{26})")


@dataclass(frozen=True, slots=True)
class Token:
    """The secret part of a base path."""

    rotation: int
    """Value of `spec.callbacks.rotation` for which it was made."""
    mac: str
    """Truncated HMAC-SHA256 in base32, lower case."""

    def __str__(self) -> str:
        return f"{self.rotation}-{self.mac}"


def make_token(key: bytes, namespace: str, appliance: str, rotation: int) -> Token:
    """Return an appliance's token."""
    text = "\0".join(("callbacks", namespace, appliance, str(rotation)))
    digest = hmac.new(key, text.encode(), hashlib.sha256).digest()
    return Token(rotation, b32encode(digest).decode("ascii").lower()[:_MAC_CHARACTERS])


def parse_token(text: str) -> Token | None:
    """Return the token in a path element, None if it is not one."""
    found = _TOKEN.fullmatch(text)
    return Token(int(found[1]), found[2]) if found else None


def is_made_with(key: bytes, token: Token, namespace: str, appliance: str) -> bool:
    """Return whether a token was made with `key` for this appliance; compares in constant time."""
    return hmac.compare_digest(make_token(key, namespace, appliance, token.rotation).mac, token.mac)


def base_path(namespace: str, appliance: str, token: Token) -> str:
    """Return the path to append to the gateway's URL."""
    return f"/appliances/{namespace}/{appliance}/{token}"
