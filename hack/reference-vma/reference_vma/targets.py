"""`nbd_targets` of a start call: which disk goes where."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

_DEFAULT_PORT: Final = 10809
_INDEX = re.compile(r"disk(\d+)$")
_PINNED = re.compile(r"-disk(\d+)-")


class TargetError(Exception):
    """A disk has no usable target."""


@dataclass(frozen=True)
class Target:
    """Where one disk goes."""

    host: str
    port: int
    export: str

    def disk_index(self, job_id: str) -> int:
        """N of the export's `disk<N>`; a `-disk<N>-` in the job id pins it. Raises TargetError."""
        found = _PINNED.search(job_id) or _INDEX.search(self.export)
        if not found:
            raise TargetError(f"export name {self.export!r} has no disk index")
        return int(found.group(1))


def parse_targets(text: str) -> dict[str, str]:
    """Device key to URL. Raises ValueError for an entry without a key."""
    targets = {}
    for entry in text.split(","):
        key, colon, url = entry.partition(":")
        if not colon or "://" not in url:
            raise ValueError("invalid NBD target format")
        targets[key] = url
    return targets


def parse_url(url: str) -> Target:
    """Host, port and export; the scheme is ignored. Raises TargetError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise TargetError(f"invalid NBD target: {error}") from error
    if not host:
        raise TargetError("invalid NBD target: no host")
    return Target(host, port or _DEFAULT_PORT, unquote(parts.path.removeprefix("/")))
