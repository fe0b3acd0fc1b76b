import base64
import ssl
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.sample import NOON
from tests.unit.certificates.support import SERVER, handshake, made, pem

from sendense_operator.certificates.contents import encoded
from sendense_operator.certificates.renewal import Need, decide, make
from sendense_operator.certificates.subject_names import Server, general_name

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
PARTS = ("ca.crt", "ca.key", "tls.crt", "tls.key")


@cache
def first() -> dict[str, str]:
    """Return a Secret that was filled at noon."""
    return made(NOON)


@cache
def second() -> dict[str, str]:
    """Another one."""
    return made(NOON)


def need(data: dict[str, str], now: datetime = NOON, server: Server = SERVER) -> Need:
    return decide(data, server, now).need


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in after if before.get(name) != after[name]}


def test_an_empty_secret_gets_all_four_parts() -> None:
    assert decide({}, SERVER, NOON).why == "there is no authority"
    assert set(first()) == set(PARTS)
    assert need(first()) is Need.NOTHING
    assert make(decide(first(), SERVER, NOON), SERVER, NOON) == {}


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (60 * DAY - SECOND, Need.NOTHING),
        (60 * DAY, Need.SERVING),
        (90 * DAY, Need.SERVING),
        (1000 * DAY, Need.SERVING),
        (3285 * DAY, Need.SERVING),
        (3285 * DAY + SECOND, Need.AUTHORITY),
        (3650 * DAY, Need.AUTHORITY),
        (9999 * DAY, Need.AUTHORITY),
        (-timedelta(hours=1), Need.NOTHING),
        (-timedelta(hours=1) - SECOND, Need.AUTHORITY),
    ],
)
def test_what_time_needs(age: timedelta, expected: Need) -> None:
    assert need(first(), NOON + age) is expected


def test_a_renewed_certificate_leaves_the_authority_alone() -> None:
    later = NOON + 61 * DAY
    after = made(later, data=first())
    assert changed(first(), after) == {"tls.crt", "tls.key"}
    assert need(after, later) is Need.NOTHING


def test_who_trusts_an_authority_that_ends_soon_also_trusts_the_next(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    former = made(now - 3300 * DAY)
    after = made(now, data=former)
    assert changed(former, after) == {"ca.crt", "tls.crt", "tls.key"}
    assert need(after, now) is Need.NOTHING
    for authority in (former, after):
        handshake(after, "api.ops.svc", tmp_path, authority)


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("content", ["", "!", base64.b64encode(b"none").decode(), "ÄÖ"])
def test_a_part_that_cannot_be_read_is_made_anew(name: str, content: str) -> None:
    data = {**first(), name: content}
    expected = Need.AUTHORITY if name.startswith("ca.") else Need.SERVING
    assert need(data) is expected
    assert need(made(NOON, data=data)) is Need.NOTHING


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_is_not_there_is_made_anew(name: str) -> None:
    data = {part: text for part, text in first().items() if part != name}
    assert need(data) is (Need.AUTHORITY if name.startswith("ca.") else Need.SERVING)
    assert need(made(NOON, data=data)) is Need.NOTHING


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_does_not_fit_the_others_is_made_anew(name: str) -> None:
    data = {**first(), name: second()[name]}
    assert need(data) is (Need.AUTHORITY if name.startswith("ca.") else Need.SERVING)


def test_a_certificate_of_another_authority_is_none() -> None:
    data = {**first(), "tls.crt": second()["tls.crt"], "tls.key": second()["tls.key"]}
    assert decide(data, SERVER, NOON).why == "the certificate is not the authority's"


@settings(max_examples=60)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_an_authority_with_one_wrong_bit_is_none(place: float, bit: int) -> None:
    der = bytearray(ssl.PEM_cert_to_DER_cert(pem(first(), "ca.crt").decode()))
    der[int(len(der) * place)] ^= 1 << bit
    data = {**first(), **encoded(**{"ca.crt": ssl.DER_cert_to_PEM_cert(bytes(der)).encode()})}
    assert need(data) is Need.AUTHORITY
    assert need(made(NOON, data=data)) is Need.NOTHING


def test_a_serving_certificate_is_no_authority() -> None:
    data = {**first(), "ca.crt": first()["tls.crt"], "ca.key": first()["tls.key"]}
    assert need(data) is Need.AUTHORITY


@pytest.mark.parametrize(
    "server",
    [
        Server("api", "ops"),
        Server("other", "ops", SERVER.further),
        Server("api", "other", SERVER.further),
        Server("api", "ops", (*SERVER.further, "more.example")),
        Server("api", "ops", ("192.0.2.8", *SERVER.further[:-1])),
    ],
)
def test_other_names_need_another_certificate(server: Server) -> None:
    assert need(first(), server=server) is Need.SERVING
    after = made(NOON, server, first())
    assert changed(first(), after) == {"tls.crt", "tls.key"}
    assert need(after, server=server) is Need.NOTHING


def test_the_same_names_in_another_order_need_nothing() -> None:
    further = ("192.0.2.7", "*.APPS.example", "localhost", "backup.example", "backup.example")
    assert need(first(), server=Server("api", "ops", further)) is Need.NOTHING


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no name"):
        decide(first(), Server("api", "ops", ("no name",)), NOON)


def test_the_authoritys_key_is_kept_and_any_other_is_not() -> None:
    """A missing certificate is made anew for the same key; a key that is not one of ours is replaced."""
    without = {name: text for name, text in first().items() if name != "ca.crt"}
    assert made(NOON, data=without)["ca.key"] == first()["ca.key"]
    foreign = (ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate(),
               rsa.generate_private_key(65537, 2048))  # fmt: skip
    for key in foreign:
        form = serialization.PrivateFormat.PKCS8
        text = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        data = {**first(), **encoded(**{"ca.key": text})}
        after = made(NOON, data=data)
        assert after["ca.key"] not in (data["ca.key"], first()["ca.key"])
        assert need(after) is Need.NOTHING


def test_an_encrypted_key_is_one_that_cannot_be_read() -> None:
    key = serialization.load_pem_private_key(pem(first(), "tls.key"), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )
    assert need({**first(), **encoded(**{"tls.key": locked})}) is Need.SERVING


def test_other_parts_of_the_secret_stay() -> None:
    after = make(decide({"note": "eA=="}, SERVER, NOON), SERVER, NOON)
    assert set(after) == set(PARTS)


@settings(max_examples=60)
@given(
    name=st.sampled_from(PARTS),
    place=st.floats(0, 1, exclude_max=True),
    piece=st.binary(max_size=8),
    cut=st.integers(0, 8),
)
def test_whatever_was_done_to_a_part_one_renewal_puts_it_right(name: str, place: float, piece: bytes, cut: int) -> None:
    whole = pem(first(), name)
    at = int(len(whole) * place)
    data = {**first(), **encoded(**{name: whole[:at] + piece + whole[at + cut :]})}
    after = made(NOON, data=data)
    assert need(after) is Need.NOTHING


@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from(PARTS), st.one_of(st.text(max_size=40), st.binary(max_size=40).map(
    lambda raw: base64.b64encode(raw).decode()))))  # fmt: skip
def test_any_data_at_all_becomes_good(data: dict[str, str]) -> None:
    assert need(made(NOON, data=data)) is Need.NOTHING


_names = st.one_of(
    st.ip_addresses().map(str),
    st.from_regex(r"(\*\.)?[a-zA-Z0-9]([-a-zA-Z0-9]{0,6}[a-z0-9])?(\.[a-z]{1,4}){1,3}", fullmatch=True),
)


@settings(max_examples=40)
@given(st.lists(_names, max_size=6))
def test_what_was_just_made_needs_nothing_whatever_the_names(names: list[str]) -> None:
    """Else the controller would renew without end."""
    server = Server("api", "ops", tuple(names))
    after = made(NOON, server, first())
    assert need(after, server=server) is Need.NOTHING
    assert all(general_name(name) in server.names for name in names)
