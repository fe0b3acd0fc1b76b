"""The text `nbd_targets` of a start call (vma-contract 2.1)."""

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
    """Address of the export of one disk."""

    key: int
    """Device key, such as 2000."""
    host: str
    """IPv4 or IPv6 address (without brackets) or DNS name at which the appliance reaches the export."""
    port: int
    """TCP port at which the appliance reaches the export."""
    export: str
    """Export name."""


def build_nbd_targets(targets: Sequence[Target]) -> str:
    """Return `KEY:nbd://HOST:PORT/EXPORT,…` without blanks.

    Raises ValueError, naming the part, for values that the VMA would not accept or would interpret differently.
    """
    if not targets:
        raise ValueError("nbd_targets: no disks")
    for what, values in (("device keys", [t.key for t in targets]), ("exports", [t.export for t in targets])):
        if len(set(values)) != len(values):
            raise ValueError(f"nbd_targets: {what} repeat")
    return ",".join(_describe(target) for target in targets)


def _describe(target: Target) -> str:
    if not 0 <= target.key <= _MAX_KEY:
        raise ValueError(f"nbd_targets: device key {target.key} is out of range")
    if not 1 <= target.port <= 65535:
        raise ValueError(f"nbd_targets: port {target.port} is out of range")
    if not _EXPORT.fullmatch(target.export):
        raise ValueError(f"nbd_targets: export name {target.export!r} is not of the form …disk<N>")
    return f"{target.key}:nbd://{format_host(target.host)}:{target.port}/{target.export}"


def format_host(host: str) -> str:
    """Return `host` in the form for a URL, with IPv6 in brackets. Raises ValueError unless it is an address or name."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        if len(host) > 253 or not _HOSTNAME.fullmatch(host):
            raise ValueError(f"nbd_targets: {host[:64]!r} is neither an address nor a host name") from None
        return host
    if "%" in bare:
        raise ValueError("nbd_targets: an address with a zone, which is valid on this machine only")
    return f"[{address}]" if address.version == 6 else str(address)
