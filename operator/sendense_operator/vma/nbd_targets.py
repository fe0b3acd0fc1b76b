"""The `nbd_targets` text of a start call, from typed values."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_EXPORT: Final = re.compile(r"(?!.*-disk[0-9]+-)[0-9A-Za-z][0-9A-Za-z-]{0,200}disk[0-9]{1,3}")
_LABEL: Final = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOSTNAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_MAX_KEY: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Target:
    """Where the VMA finds the export of one disk."""

    key: int
    """VMware's device key, bare (2000)."""
    host: str
    """IPv4 or IPv6 address (without brackets) or DNS name, as seen from the appliance."""
    port: int
    export: str


def build_nbd_targets(targets: Sequence[Target]) -> str:
    """`KEY:nbd://HOST:PORT/EXPORT,…` without blanks.

    Raises ValueError, naming the part, for anything that could be read otherwise by the VMA.
    """
    if not targets:
        raise ValueError("nbd_targets: no disks")
    for what, values in (("device keys", [t.key for t in targets]), ("exports", [t.export for t in targets])):
        if len(set(values)) != len(values):
            raise ValueError(f"nbd_targets: {what} repeat")
    return ",".join(_one(target) for target in targets)


def _one(target: Target) -> str:
    if not 0 <= target.key <= _MAX_KEY:
        raise ValueError(f"nbd_targets: device key {target.key} is out of range")
    if not 1 <= target.port <= 65535:
        raise ValueError(f"nbd_targets: port {target.port} is out of range")
    if not _EXPORT.fullmatch(target.export):
        raise ValueError(f"nbd_targets: export name {target.export!r} is not of the form …disk<N>")
    return f"{target.key}:nbd://{format_host(target.host)}:{target.port}/{target.export}"


def format_host(host: str) -> str:
    """`host` as it stands in a URL: IPv6 in brackets. Raises ValueError for anything but address and name."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        if len(host) > 253 or not _HOSTNAME.fullmatch(host):
            raise ValueError(f"nbd_targets: {host[:64]!r} is neither an address nor a host name") from None
        return host
    if "%" in bare:
        raise ValueError("nbd_targets: an address with a zone means something else on the appliance")
    return f"[{address}]" if address.version == 6 else str(address)
