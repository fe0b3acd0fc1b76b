"""The log that tests read: every call received and made, and what the clients went through. In memory, bounded."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

_LIMIT: Final = 200_000
_SECRET: Final = frozenset(
    {"password", "username", "user", "vcenter_password", "vcenter_user", "token", "authorization"}
)


def without_credentials(values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that may be shown."""
    return {name: value for name, value in values.items() if name.lower() not in _SECRET}


def safe_query(query: str) -> str:
    """Return a query string without credentials."""
    return urlencode(without_credentials(dict(parse_qsl(query, keep_blank_values=True))))


class CallLog:
    """Entries with a sequence number that never repeats, also after `clear`."""

    def __init__(self) -> None:
        self._entries: deque[dict[str, Any]] = deque(maxlen=_LIMIT)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._last = 0

    def add(self, kind: str, **fields: Any) -> None:
        """Append one entry; fields of None or "" are left out, but for a status."""
        kept = {name: value for name, value in fields.items() if value not in (None, "") or name == "status"}
        with self._lock:
            self._last = next(self._numbers)
            entry = {"seq": self._last, "time": round(time.monotonic(), 6), "wall": round(time.time(), 3)}
            self._entries.append({**entry, "kind": kind, **kept})

    def find(self, since: int = 0, path: str = "", **wanted: str) -> list[dict[str, Any]]:
        """Return the entries after `since` whose path contains `path` and whose fields equal those wanted."""
        with self._lock:
            entries = [entry for entry in self._entries if entry["seq"] > since]
        return [
            entry
            for entry in entries
            if path in entry.get("path", "")
            and all(entry.get(name) == value for name, value in wanted.items() if value)
        ]

    @property
    def last(self) -> int:
        """Number of the newest entry."""
        return self._last

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
