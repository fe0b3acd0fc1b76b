import logging
import pickle
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendense_operator.logs import get_logger
from sendense_operator.vma.credentials import (
    Credentials,
    CredentialsError,
    credentials_from_secret,
    read_credentials,
)

SECRET = 'pa ss/w&"ö<1>+%'


def test_repr_and_str_hide_both() -> None:
    credentials = Credentials("canary-user", "canary-password")
    for text in (repr(credentials), str(credentials), f"{credentials}", f"{[credentials]}"):
        assert "canary" not in text


def test_not_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Credentials("user", "password"))


def test_log_line_hides(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("t").info("%s %r", Credentials("u", "canary"), Credentials("u", "canary"))
        get_logger("t").info("event", credentials=Credentials("u", "canary"), all=[Credentials("u", "canary")])
    assert len(caplog.records) == 2
    assert "canary" not in caplog.text


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote(SECRET, safe="").lower(),
        quote(SECRET),
        quote_plus(SECRET),
        quote(quote(SECRET, safe=""), safe=""),
        'pa ss/w&\\"ö<1>+%',
        'pa ss/w\\u0026\\"ö\\u003c1\\u003e+%',
    ],
)
def test_scrub_finds_every_form(form: str) -> None:
    assert Credentials("u", SECRET).scrub(f"a {form} b") == "a [hidden] b"


@given(st.text(min_size=1, max_size=40).filter(lambda s: s.strip("\r\n")), st.text(max_size=20))
def test_scrub_leaves_no_secret(secret: str, around: str) -> None:
    scrubbed = Credentials("u", secret).scrub(f"{around}{secret}{around}")
    assert secret not in scrubbed.replace("[hidden]", "")


def test_read(tmp_path: Path) -> None:
    (tmp_path / "username").write_text("backup@vsphere.local\n")
    (tmp_path / "password").write_text(" secret \r\n")
    credentials = read_credentials(tmp_path)
    assert (credentials.username, credentials.password) == ("backup@vsphere.local", " secret ")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"username": b"u"}, "no key 'password'"),
        ({"password": b"p"}, "no key 'username'"),
        ({"username": b"u", "password": b"\n"}, "password is empty"),
        ({"username": b"u", "password": b"\xff"}, "password is not UTF-8"),
        ({"username": b"u", "password": b"p" * 5000}, "password is longer than"),
    ],
)
def test_bad_secret(data: dict[str, bytes], message: str) -> None:
    with pytest.raises(CredentialsError, match=message):
        credentials_from_secret(data)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CredentialsError, match="no key 'username'"):
        read_credentials(tmp_path)
