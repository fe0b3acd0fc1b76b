"""The keys from which the callbacks' base paths are derived, in a mounted Secret."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol

KEY: Final = "key"
PREVIOUS: Final = "previous"
FOLDER: Final = "/etc/sendense/callbacks"
"""Where the chart mounts the Secret."""
_LEAST_BYTES: Final = 16
_MOST_BYTES: Final = 1024


class CallbackKeys(Protocol):
    """Source of the present keys."""

    def current(self) -> bytes | None:
        """Return the key from which URLs are derived, None if there is none."""
        ...

    def previous(self) -> bytes | None:
        """Return the key before the last change if it is still accepted, else None."""
        ...


class MountedKeys:
    """Keys in a Secret's files, read at each call, so that a changed Secret takes effect as soon as it is mounted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def current(self) -> bytes | None:
        """See `CallbackKeys`."""
        return self._read(KEY)

    def previous(self) -> bytes | None:
        """See `CallbackKeys`."""
        return self._read(PREVIOUS)

    def check(self) -> None:
        """Raise ValueError if there is no key, because no callback could be accepted then."""
        if self.current() is None:
            raise ValueError(
                f"SENDENSE_CALLBACK_KEY_FOLDER: {self._folder} has no file {KEY} with {_LEAST_BYTES} bytes or more"
            )

    def _read(self, name: str) -> bytes | None:
        try:
            with (self._folder / name).open("rb") as file:
                value = file.read(_MOST_BYTES).strip()
        except OSError:
            return None
        return value if len(value) >= _LEAST_BYTES else None
