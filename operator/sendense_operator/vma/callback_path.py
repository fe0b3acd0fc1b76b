"""The base path of an appliance's callbacks: made by the controller, checked by the gateway. Pure.

The VMA sends no credentials, but it keeps whatever path its control-plane URL has. So the path holds a token that is
derived from a key which only controller and gateway have: nobody else can answer for the appliance, and the gateway
needs no list of tokens.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b32encode
from dataclasses import dataclass
from typing import Final

_MAC_CHARACTERS: Final = 26
"""Of base32: 130 bits."""
_TOKEN: Final = re.compile(r"([0-9]{1,6})-([a-z2-7]{26})")


@dataclass(frozen=True, slots=True)
class Token:
    """The secret part of a base path."""

    rotation: int
    """`spec.callbacks.rotation` that it was made for."""
    mac: str

    def __str__(self) -> str:
        return f"{self.rotation}-{self.mac}"


def make_token(key: bytes, namespace: str, appliance: str, rotation: int) -> Token:
    """Build an appliance's token."""
    text = "\0".join(("callbacks", namespace, appliance, str(rotation)))
    digest = hmac.new(key, text.encode(), hashlib.sha256).digest()
    return Token(rotation, b32encode(digest).decode("ascii").lower()[:_MAC_CHARACTERS])


def parse_token(text: str) -> Token | None:
    """Read a path element; None for what is no token."""
    found = _TOKEN.fullmatch(text)
    return Token(int(found[1]), found[2]) if found else None


def is_made_with(key: bytes, token: Token, namespace: str, appliance: str) -> bool:
    """Return whether a token was made with the key for this appliance, in constant time."""
    return hmac.compare_digest(make_token(key, namespace, appliance, token.rotation).mac, token.mac)


def base_path(namespace: str, appliance: str, token: Token) -> str:
    """Return the path that follows the gateway's URL."""
    return f"/appliances/{namespace}/{appliance}/{token}"
