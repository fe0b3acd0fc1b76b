"""Namespace and name are put together and taken apart in one place per kind of key."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import sendense_operator
from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.keys import ChainKey, Key, Work

PACKAGE = Path(sendense_operator.__file__).parent
KEYS = {"object_key.py", "reconcile/state/keys.py"}


def test_keys_are_written_with_a_slash() -> None:
    assert str(ObjectKey("shop", "db")) == "shop/db"
    assert str(Key.of_chain("shop", ChainKey("db", "store"))) == "BackupChain/shop/db/store"
    assert str(Key(Work.RESYNC)) == "Resync"


def test_a_key_is_that_of_the_object() -> None:
    obj = {"metadata": {"namespace": "shop", "name": "db"}}
    assert ObjectKey.of(obj) == ObjectKey("shop", "db")
    assert Key.of(Work.VM, obj) == Key(Work.VM, "shop", "db")


def test_a_chain_is_found_again_in_its_key() -> None:
    chain = ChainKey.of({"spec": {"vmRef": {"name": "db"}, "repositoryRef": {"name": "store"}}})
    assert Key.of_chain("shop", chain).chain == chain == ChainKey("db", "store")


def joined_by_hand(tree: ast.AST) -> Iterator[str]:
    """f-strings of two or more names with slashes between them, one of which is a namespace or a repository."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and len(node.values) > 1:
            between = [part.value for part in node.values if isinstance(part, ast.Constant)]
            text = ast.unparse(node)
            if set(between) == {"/"} and ("namespace" in text or "repository" in text):
                yield text


@pytest.mark.parametrize(
    "text", ["f'{namespace}/{name}'", "f'{meta[\"namespace\"]}/{x}'", "f'{vm}/{spec.repository_ref.name}'"]
)
def test_a_key_that_is_built_by_hand_is_seen(text: str) -> None:
    assert list(joined_by_hand(ast.parse(text)))


def test_no_key_is_built_by_hand() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): list(joined_by_hand(ast.parse(path.read_text())))
        for path in PACKAGE.rglob("*.py")
    }
    assert {file: texts for file, texts in found.items() if texts and file not in KEYS} == {}
