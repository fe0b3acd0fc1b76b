import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.certificates.subject_names import Server, general_name


def texts(server: Server) -> set[str]:
    return {str(name.value) for name in server.names}


def test_a_service_is_called_by_all_names_that_the_cluster_gives_it_and_by_loopback() -> None:
    assert texts(Server("api", "ops")) == {
        "api", "api.ops", "api.ops.svc", "api.ops.svc.cluster.local", "localhost", "127.0.0.1", "::1",
    }  # fmt: skip


def test_further_names_are_added_each_once_however_they_are_written() -> None:
    further = ("backup.example", "Backup.Example", "192.0.2.7", "2001:db8::1", "2001:0DB8:0:0::1", "localhost")
    more = texts(Server("api", "ops", further)) - texts(Server("api", "ops"))
    assert more == {"backup.example", "192.0.2.7", "2001:db8::1"}


@pytest.mark.parametrize(
    "text", ["*.backup.example", "b", "a-b.c", "x" * 63 + ".example", "_x.example", "xn--bcher-kva.de"]
)
def test_dns_names(text: str) -> None:
    assert general_name(text) == x509.DNSName(text)


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "a.", ".a", "a..b", "-a.example", "a-.example", "x" * 64, "a." * 126 + "ab", "a b", "a\n", "bücher.de",
        "https://backup.example", "backup.example:443", "*", "*.", "a.*.example", "192.0.2", "192.0.2.256",
        "192.0.2.0/24", "[2001:db8::1]", "fe80::1%eth0", "ſ.example",
    ],
)  # fmt: skip
def test_what_is_no_name_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"neither|zone"):
        general_name(text)


@given(st.ip_addresses())
def test_every_address_is_one(address: object) -> None:
    name = general_name(str(address))
    assert isinstance(name, x509.IPAddress)
    assert name.value == address


@given(st.text(max_size=300))
def test_any_text_is_a_name_that_a_certificate_can_hold_or_refused(text: str) -> None:
    try:
        name = general_name(text)
    except ValueError:
        return
    assert x509.SubjectAlternativeName([name]).public_bytes()
