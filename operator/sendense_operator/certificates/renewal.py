"""Whether what a Secret holds still serves, and what replaces it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from sendense_operator.certificates.authority import SERVING_LIFETIME, Pair, issue, make_authority
from sendense_operator.certificates.contents import (
    AUTHORITY,
    AUTHORITY_KEY,
    CERTIFICATE,
    KEY,
    Data,
    encoded,
    is_issued_by,
    names_in,
    read_authority,
    read_authority_key,
    read_serving,
)
from sendense_operator.certificates.subject_names import Server

AUTHORITY_LEFT: Final = timedelta(days=365)
"""An authority that ends sooner is renewed."""
SERVING_LEFT: Final = SERVING_LIFETIME / 3
"""A serving certificate that has no more than this left is renewed."""


class Need(Enum):
    """What has to be made."""

    NOTHING = "nothing"
    SERVING = "serving certificate"
    AUTHORITY = "authority and serving certificate"


@dataclass(frozen=True)
class Plan:
    """What has to be made, and of what."""

    need: Need
    why: str = ""
    authority: Pair | None = None
    """What signs a serving certificate. None: it has to be made too."""
    key: ec.EllipticCurvePrivateKey | None = field(default=None, repr=False)
    """What a new authority keeps of the former one, so that who trusts that one isn't cut off. None: nothing."""


def decide(data: Data, server: Server, now: datetime) -> Plan:
    """Return what is needed besides the Secret's `data`. Raises ValueError for a server with a name that is none."""
    authority = read_authority(data)
    why = _wrong_with_authority(authority, data, now)
    if authority is None or why:
        return Plan(Need.AUTHORITY, why, key=read_authority_key(data))
    why = _wrong_with_serving(read_serving(data), data, authority, server, now)
    return Plan(Need.SERVING if why else Need.NOTHING, why, authority)


def make(plan: Plan, server: Server, now: datetime) -> dict[str, str]:
    """Return the parts of the Secret's `data` that are replaced."""
    if plan.need is Need.NOTHING:
        return {}
    authority = plan.authority or make_authority(server, now, plan.key)
    serving = issue(authority, server, now)
    made = encoded(**{CERTIFICATE: serving.certificate_pem, KEY: serving.key_pem})
    if plan.authority is None:
        made |= encoded(**{AUTHORITY: authority.certificate_pem, AUTHORITY_KEY: authority.key_pem})
    return made


def _wrong_with_authority(authority: Pair | None, data: Data, now: datetime) -> str:
    if authority is None:
        absent = not (data.get(AUTHORITY) or data.get(AUTHORITY_KEY))
        return "there is no authority" if absent else "the authority can't be read, or does not fit its key"
    if _begins_later(authority.certificate, now):
        return "the authority is not valid yet"
    return "the authority ends soon" if _left(authority.certificate, now) < AUTHORITY_LEFT else ""


def _wrong_with_serving(serving: Pair | None, data: Data, authority: Pair, server: Server, now: datetime) -> str:
    if serving is None:
        absent = not (data.get(CERTIFICATE) or data.get(KEY))
        return "there is no certificate" if absent else "the certificate can't be read, or does not fit its key"
    if not is_issued_by(serving.certificate, authority.certificate):
        return "the certificate is not the authority's"
    if names_in(serving.certificate) != server.names:
        return "the names have changed"
    if _begins_later(serving.certificate, now):
        return "the certificate is not valid yet"
    return "the certificate ends soon" if _left(serving.certificate, now) <= SERVING_LEFT else ""


def _begins_later(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc > now


def _left(certificate: x509.Certificate, now: datetime) -> timedelta:
    return certificate.not_valid_after_utc - now
