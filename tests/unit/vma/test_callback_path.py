"""Base paths of callbacks: whose they are, and for which key."""

from pathlib import Path

import pytest

from sendense_operator.vma.callback_keys import MountedKeys
from sendense_operator.vma.callback_path import base_path, is_made_with, make_token, parse_token

KEY, OTHER = b"k" * 32, b"o" * 32


def test_a_token_is_read_back_from_its_path() -> None:
    token = make_token(KEY, "shop", "vma", 3)
    path = base_path("shop", "vma", token)
    assert path.startswith("/appliances/shop/vma/3-")
    assert parse_token(path.rpartition("/")[2]) == token
    assert is_made_with(KEY, token, "shop", "vma")


def test_each_key_appliance_and_rotation_has_another_one() -> None:
    tokens = [
        make_token(KEY, "shop", "vma", 0),
        make_token(OTHER, "shop", "vma", 0),
        make_token(KEY, "lab", "vma", 0),
        make_token(KEY, "shop", "vma2", 0),
        make_token(KEY, "shop", "vma", 1),
    ]
    assert len({token.mac for token in tokens}) == len(tokens)
    assert [is_made_with(KEY, token, "shop", "vma") for token in tokens] == [True, False, False, False, True]


@pytest.mark.parametrize(
    "text", ["", "api", "0-", "0-" + "A" * 26, "x-" + "a" * 26, "0-" + "a" * 27, "1" * 7 + "-" + "a" * 26]
)
def test_what_is_no_token(text: str) -> None:
    assert parse_token(text) is None


def test_keys_are_read_anew_from_the_mounted_secret(tmp_path: Path) -> None:
    keys = MountedKeys(tmp_path)
    assert (keys.current(), keys.previous()) == (None, None)
    with pytest.raises(ValueError, match="SENDENSE_CALLBACK_KEY_FOLDER"):
        keys.check()
    (tmp_path / "key").write_bytes(KEY + b"\n")
    keys.check()
    assert keys.current() == KEY
    (tmp_path / "previous").write_bytes(b"short")
    assert keys.previous() is None
    (tmp_path / "previous").write_bytes(OTHER)
    assert keys.previous() == OTHER
