import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.support.sample import NOON
from tests.unit.certificates.support import SERVER, handshake, made, pem

from sendense_operator.certificates.authority import issue, make_authority
from sendense_operator.certificates.contents import is_issued_by
from sendense_operator.certificates.subject_names import Server


@pytest.fixture(scope="module")
def data() -> dict[str, str]:
    return made(datetime.now(UTC))


@pytest.mark.parametrize(
    "host",
    [
        "api", "api.ops", "api.ops.svc", "api.ops.svc.cluster.local", "localhost", "127.0.0.1", "::1",
        "backup.example", "any.apps.example", "192.0.2.7",
    ],
)  # fmt: skip
def test_a_client_that_trusts_the_authority_accepts_each_name(data: dict[str, str], tmp_path: Path, host: str) -> None:
    handshake(data, host, tmp_path)


@pytest.mark.parametrize("host", ["api.other", "other", "apps.example", "192.0.2.8", "2001:db8::1"])
def test_it_accepts_no_other_name(data: dict[str, str], tmp_path: Path, host: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"[Hh]ostname mismatch|IP address mismatch"):
        handshake(data, host, tmp_path)


def test_it_accepts_no_other_authoritys_certificate(data: dict[str, str], tmp_path: Path) -> None:
    other = made(datetime.now(UTC))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(data, "api", tmp_path, authority=other)


def test_what_the_serving_certificate_signs_is_worth_nothing(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    authority = make_authority(SERVER, now)
    serving = issue(authority, SERVER, now)
    forged = issue(serving, SERVER, now)
    assert not is_issued_by(forged.certificate, authority.certificate)
    constraints = serving.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.ca) == (True, False)


def test_lifetimes() -> None:
    authority = make_authority(SERVER, NOON)
    serving = issue(authority, SERVER, NOON)
    for pair, days in ((authority, 3650), (serving, 90)):
        assert pair.certificate.not_valid_before_utc == NOON - timedelta(hours=1)
        assert pair.certificate.not_valid_after_utc == NOON + timedelta(days=days)


def test_each_certificate_has_a_key_and_a_number_of_its_own() -> None:
    authority = make_authority(SERVER, NOON)
    pairs = [authority, issue(authority, SERVER, NOON), issue(authority, SERVER, NOON)]
    assert len({pair.key_pem for pair in pairs}) == len(pairs)
    assert len({pair.certificate.serial_number for pair in pairs}) == len(pairs)


def test_the_certificate_is_a_servers_and_no_clients() -> None:
    serving = issue(make_authority(SERVER, NOON), SERVER, NOON)
    usage = serving.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_the_longest_names_that_kubernetes_allows_fit(tmp_path: Path) -> None:
    server = Server("s" * 63, "n" * 63)
    data = made(datetime.now(UTC), server)
    handshake(data, f"{server.service}.{server.namespace}.svc.cluster.local", tmp_path)


def test_keys_are_shown_nowhere_by_accident() -> None:
    authority = make_authority(SERVER, NOON)
    assert "key" not in repr(authority)
    assert b"PRIVATE KEY" in authority.key_pem
    assert b"PRIVATE KEY" not in authority.certificate_pem


def test_parts_are_files_that_other_programs_read(data: dict[str, str]) -> None:
    assert set(data) == {"ca.crt", "ca.key", "tls.crt", "tls.key"}
    assert pem(data, "tls.crt").count(b"BEGIN CERTIFICATE") == 1
    assert pem(data, "tls.key").startswith(b"-----BEGIN PRIVATE KEY-----")
