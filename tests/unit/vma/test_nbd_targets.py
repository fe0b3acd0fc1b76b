import pytest

from sendense_operator.api.v1alpha1 import names
from sendense_operator.vma.nbd_targets import Target, build_nbd_targets, format_host

UID = "0b6f6b0e-6c2b-4b1c-9a53-0f7d2a1c9e11"


def target(key: int = 2000, host: str = "10.0.0.1", port: int = 10809, index: int = 0) -> Target:
    return Target(key, host, port, names.export_name(UID, index))


def test_two_disks() -> None:
    text = build_nbd_targets([target(), target(2001, "fd00::1", 10810, 1)])
    assert text == f"2000:nbd://10.0.0.1:10809/{UID}-disk0,2001:nbd://[fd00::1]:10810/{UID}-disk1"


@pytest.mark.parametrize(
    ("host", "written"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("fd00:0:0::1", "[fd00::1]"),
        ("[fd00::1]", "[fd00::1]"),
        ("tunnel.example.org", "tunnel.example.org"),
        ("localhost", "localhost"),
        ("a_b.example.org.", "a_b.example.org."),
    ],
)
def test_hosts(host: str, written: str) -> None:
    assert format_host(host) == written


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "a b",
        "a,b",
        "a:1",
        "a/b",
        "user@host",
        "[x]",
        "a..b",
        "-a",
        "fe80::1%eth0",
        "a\n",
        "é.org",
        "x" * 300,
        "[10.0.0.1",
        "a?b",
        "a#b",
    ],
)
def test_unsafe_hosts(host: str) -> None:
    with pytest.raises(ValueError, match="nbd_targets"):
        build_nbd_targets([target(host=host)])


@pytest.mark.parametrize(
    "export",
    [
        "",
        "disk",
        "a-disk1-",
        "a-disk0-disk0",
        "a disk0",
        "a,disk0",
        "a/disk0",
        "../disk0",
        "a\ndisk0",
        "-disk0",
        "x" * 250 + "disk0",
    ],
)
def test_unsafe_exports(export: str) -> None:
    with pytest.raises(ValueError, match="export name"):
        build_nbd_targets([Target(2000, "h", 1, export)])


@pytest.mark.parametrize(("key", "port"), [(-1, 1), (2**31, 1), (2000, 0), (2000, 65536)])
def test_out_of_range(key: int, port: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        build_nbd_targets([target(key=key, port=port)])


def test_none_and_repeats() -> None:
    with pytest.raises(ValueError, match="no disks"):
        build_nbd_targets([])
    with pytest.raises(ValueError, match="device keys repeat"):
        build_nbd_targets([target(), target(index=1)])
    with pytest.raises(ValueError, match="exports repeat"):
        build_nbd_targets([target(), target(key=2001)])
