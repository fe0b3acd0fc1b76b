"""What a Secret holds of an authority and a serving certificate, as far as it can be read."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sendense_operator.certificates.authority import Pair

AUTHORITY: Final = "ca.crt"
AUTHORITY_KEY: Final = "ca.key"
CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    InvalidSignature,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
)
"""All that the library raises about bytes that somebody else wrote."""

Data = Mapping[str, str]
"""A Secret's `data`: base64 by key."""


def read_authority(data: Data) -> Pair | None:
    """Return the authority, or None unless both parts are there, fit and are an authority's."""
    pair = _read_pair(data, AUTHORITY, AUTHORITY_KEY)
    return pair if pair is not None and _is_authority(pair.certificate) else None


def read_authority_key(data: Data) -> ec.EllipticCurvePrivateKey | None:
    """Return the authority's key, whatever its certificate is like; None when there is none that can be read."""
    try:
        key = load_pem_private_key(_decoded(data, AUTHORITY_KEY), None)
    except _UNREADABLE:
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1) else None


def read_serving(data: Data) -> Pair | None:
    """Return the serving certificate, or None unless both parts are there and fit."""
    return _read_pair(data, CERTIFICATE, KEY)


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Return whether the authority has signed the certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except _UNREADABLE:
        return False
    return True


def names_in(certificate: x509.Certificate) -> frozenset[x509.GeneralName]:
    """Return the names that it is good for; none when they can't be read."""
    try:
        return frozenset(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except _UNREADABLE:
        return frozenset()


def encoded(**parts: bytes) -> dict[str, str]:
    """Return contents as a Secret's `data` holds them."""
    return {name: base64.b64encode(part).decode() for name, part in parts.items()}


def _read_pair(data: Data, certificate: str, key: str) -> Pair | None:
    try:
        read = x509.load_pem_x509_certificate(_decoded(data, certificate))
        secret = load_pem_private_key(_decoded(data, key), None)
        fits = read.public_key() == secret.public_key()
        # the library reads these only when it is asked for them
        _ = (read.subject, read.not_valid_before_utc, read.not_valid_after_utc)
    except _UNREADABLE:
        return None
    return Pair(read, secret) if fits and isinstance(secret, ec.EllipticCurvePrivateKey) else None


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except _UNREADABLE:
        return False
    return constraints.ca and is_issued_by(certificate, certificate)


def _decoded(data: Data, name: str) -> bytes:
    return base64.b64decode(data.get(name, ""), validate=True)
