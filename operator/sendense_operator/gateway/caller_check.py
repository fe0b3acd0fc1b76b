"""Who may call: decided from the path and the caller's address, before anything is read, held or counted."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sendense_operator.api.v1alpha1 import names
from sendense_operator.gateway.appliances import ApplianceRecord, ApplianceView
from sendense_operator.vma.callback_bodies import CallbackRefused
from sendense_operator.vma.callback_keys import CallbackKeys
from sendense_operator.vma.callback_path import is_made_with, parse_token

_UNKNOWN: Final = "no such appliance, or not its callback URL: see status.callbackURL of the VMwareAppliance"


class Denial(StrEnum):
    """Why a call was turned away."""

    BARE = "BarePath"
    """The path lacks its secret part."""
    FORMER = "FormerPath"
    """The path was the appliance's before its last rotation."""
    WRONG = "WrongPath"
    """The secret part is not this appliance's."""
    ADDRESS = "Address"
    """The caller's address is in none of `spec.callbacks.allowedFrom`."""


class CallDenied(CallbackRefused):
    """A call to an appliance's base path that is turned away."""

    def __init__(self, status: int, text: str, denial: Denial) -> None:
        super().__init__(status, text)
        self.denial = denial


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a call came from, and where it was sent."""

    namespace: str
    appliance: str
    token: str
    """Path element behind the name; empty without one."""
    source: str
    """Address of the connection's other end, as the gateway's pod sees it."""


class Door:
    """Checks calls."""

    def __init__(self, appliances: ApplianceView, keys: CallbackKeys) -> None:
        self._appliances = appliances
        self._keys = keys

    @property
    def synced(self) -> bool:
        """Whether the appliances are known."""
        return self._appliances.synced

    def check(self, origin: Origin) -> None:
        """Raise CallbackRefused (404) for a path that can be no appliance's, CallDenied (404, 403) else."""
        if not (names.is_object_name(origin.namespace) and names.is_object_name(origin.appliance)):
            raise CallbackRefused(404, _UNKNOWN)
        record = self._appliances.find(origin.namespace, origin.appliance)
        denial = self._denial_of_path(origin, record)
        if denial is not None:
            raise CallDenied(404, _UNKNOWN, denial)
        if record is not None and not _is_allowed(record, origin.source):
            raise CallDenied(403, "callers from this address are not allowed", Denial.ADDRESS)

    def _denial_of_path(self, origin: Origin, record: ApplianceRecord | None) -> Denial | None:
        """Return why the path is not the appliance's.

        Of an appliance that was just deleted (no record) any token that was ever made counts: backups that run must
        not lose their callbacks.
        """
        lenient = record is not None and record.accept_former_paths
        if not origin.token:
            return None if lenient else Denial.BARE
        token = parse_token(origin.token)
        if token is None:
            return Denial.WRONG
        current, previous = self._keys.current(), self._keys.previous()
        fresh = current is not None and is_made_with(current, token, origin.namespace, origin.appliance)
        known = fresh or (previous is not None and is_made_with(previous, token, origin.namespace, origin.appliance))
        if not known:
            return Denial.WRONG
        if record is None or (fresh and token.rotation == record.rotation):
            return None
        former = token.rotation in (record.rotation, record.rotation - 1)
        return None if lenient and former else Denial.FORMER


def _is_allowed(record: ApplianceRecord, source: str) -> bool:
    if record.allowed_from is None:
        return True
    try:
        address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return False
    # The listener takes IPv4 on an IPv6 socket.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return any((mapped or address) in network for network in record.allowed_from)
