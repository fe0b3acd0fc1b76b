"""The keys of the callbacks' base paths, as a mounted Secret holds them."""

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
    """Gives the keys as they are now."""

    def current(self) -> bytes | None:
        """Return the key that URLs are made with; None while there is none."""
        ...

    def previous(self) -> bytes | None:
        """Return the key before the last change, if it still counts."""
        ...


class MountedKeys:
    """Reads the Secret's files each time, so that a changed Secret counts as soon as it is mounted."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def current(self) -> bytes | None:
        """See `CallbackKeys`."""
        return self._read(KEY)

    def previous(self) -> bytes | None:
        """See `CallbackKeys`."""
        return self._read(PREVIOUS)

    def check(self) -> None:
        """Raise ValueError where there is no key: then no callback could be admitted."""
        if self.current() is None:
            raise ValueError(
                f"SENDENSE_CALLBACK_KEY_FOLDER: no {KEY} of {_LEAST_BYTES} bytes or more in {self._folder}"
            )

    def _read(self, name: str) -> bytes | None:
        try:
            with (self._folder / name).open("rb") as file:
                value = file.read(_MOST_BYTES).strip()
        except OSError:
            return None
        return value if len(value) >= _LEAST_BYTES else None
