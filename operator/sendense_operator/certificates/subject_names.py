"""The DNS names and IP addresses that a server is called by."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography import x509

_LABEL: Final = r"[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?"
_DNS: Final = re.compile(rf"(\*\.)?({_LABEL}\.)*{_LABEL}")
_MAX_DNS: Final = 253
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Server:
    """A Service, and all names that its certificate has to be good for."""

    service: str
    namespace: str
    further: tuple[str, ...] = ()
    """DNS names and IP addresses besides those that the cluster gives the Service."""

    @property
    def names(self) -> frozenset[x509.GeneralName]:
        """As a certificate holds them. Raises ValueError for one that is no name."""
        own = f"{self.service}.{self.namespace}"
        given = (self.service, own, f"{own}.svc", f"{own}.svc.cluster.local", *_LOOPBACK, *self.further)
        return general_names(given)


def general_names(texts: Iterable[str]) -> frozenset[x509.GeneralName]:
    """Return the names as a certificate holds them, each once. Raises ValueError as `general_name` does."""
    return frozenset(general_name(text) for text in texts)


def general_name(text: str) -> x509.GeneralName:
    """Return an IP address or a DNS name, `*.` in front allowed, as a certificate holds it. Raises ValueError."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return _dns_name(text)
    if "%" in text:
        raise ValueError(f"{text!r} has a zone, which means nothing to other machines")
    return x509.IPAddress(address)


def _dns_name(text: str) -> x509.DNSName:
    name = text.lower()
    # all digits at the end: an IP address with a slip of the pen
    if len(name) > _MAX_DNS or not _DNS.fullmatch(name) or name.rpartition(".")[2].isdigit():
        raise ValueError(f"{text[:_MAX_DNS]!r} is neither a DNS name nor an IP address")
    return x509.DNSName(name)
