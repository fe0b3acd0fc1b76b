"""The key of a test's callback URLs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class FixedKeys:
    """`CallbackKeys` that the test chooses."""

    key: bytes | None = b"a key of the test's own"
    former: bytes | None = None

    def current(self) -> bytes | None:
        """Return the key."""
        return self.key

    def previous(self) -> bytes | None:
        """Return the one before."""
        return self.former
