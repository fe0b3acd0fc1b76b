"""Who may call an appliance's base path."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.callbackkeys import FixedKeys

from sendense_operator.gateway.appliances import ApplianceIndex, ApplianceRecord
from sendense_operator.gateway.caller_check import CallDenied, Denial, Door, Origin
from sendense_operator.vma.callback_bodies import CallbackRefused
from sendense_operator.vma.callback_path import make_token

NEW, OLD, STRANGE = b"n" * 32, b"o" * 32, b"s" * 32


class View(ApplianceIndex):
    synced = True


def door(keys: FixedKeys | None = None, **callbacks: Any) -> Door:
    view = View()
    meta = {"uid": "1", "namespace": "shop", "name": "vma"}
    view.put(ApplianceRecord.from_object({"metadata": meta, "spec": {"callbacks": callbacks}}))
    return Door(view, keys or FixedKeys(NEW, OLD))


def origin(key: bytes = NEW, rotation: int = 0, name: str = "vma", **more: Any) -> Origin:
    token = str(make_token(key, "shop", name, rotation))
    return replace(Origin("shop", name, token, "192.0.2.7"), **more)


def denial(where: Door, call: Origin) -> Denial | None:
    try:
        where.check(call)
    except CallDenied as denied:
        assert denied.status == (403 if denied.denial is Denial.ADDRESS else 404)
        return denied.denial
    return None


@pytest.mark.parametrize(
    ("call", "rotation", "strict", "lenient"),
    [
        (origin(), 0, None, None),
        (origin(rotation=3), 3, None, None),
        (origin(token=""), 0, Denial.BARE, None),
        (origin(rotation=2), 3, Denial.FORMER, None),
        (origin(rotation=1), 3, Denial.FORMER, Denial.FORMER),
        (origin(rotation=4), 3, Denial.FORMER, Denial.FORMER),
        (origin(OLD), 0, Denial.FORMER, None),
        (origin(STRANGE), 0, Denial.WRONG, Denial.WRONG),
        (origin(token="api"), 0, Denial.WRONG, Denial.WRONG),
        (origin(token=str(make_token(NEW, "shop", "other", 0))), 0, Denial.WRONG, Denial.WRONG),
    ],
)
def test_paths(call: Origin, rotation: int, strict: Denial | None, lenient: Denial | None) -> None:
    assert denial(door(rotation=rotation), call) is strict
    assert denial(door(rotation=rotation, acceptFormerPaths=True), call) is lenient


def test_an_appliance_that_was_deleted_keeps_its_callbacks_and_no_stranger_gets_any() -> None:
    assert denial(door(), origin(name="gone", rotation=7)) is None
    assert denial(door(), origin(name="gone", token="")) is Denial.BARE
    assert denial(door(), origin(STRANGE, name="gone")) is Denial.WRONG


def test_without_a_key_nobody_is_admitted() -> None:
    assert denial(door(FixedKeys(None)), origin()) is Denial.WRONG


@pytest.mark.parametrize(
    ("allowed", "source", "admitted"),
    [
        ([], "203.0.113.1", True),
        (["192.0.2.0/24"], "192.0.2.7", True),
        (["192.0.2.0/24"], "::ffff:192.0.2.7", True),
        (["192.0.2.0/24"], "192.0.3.7", False),
        (["198.51.100.0/24", "2001:db8::/32"], "2001:db8::1", True),
        (["2001:db8::/32"], "192.0.2.7", False),
        (["192.0.2.9/24"], "192.0.2.7", True),
        (["nonsense"], "192.0.2.7", False),
        (["0.0.0.0/0"], "", False),
    ],
)
def test_addresses(allowed: list[str], source: str, admitted: bool) -> None:
    assert (denial(door(allowedFrom=allowed), origin(source=source)) is None) is admitted


@pytest.mark.parametrize(("namespace", "name"), [("SHOP", "vma"), ("shop", ".."), ("", "vma")])
def test_names_that_can_be_no_appliances(namespace: str, name: str) -> None:
    with pytest.raises(CallbackRefused, match="no such appliance"):
        door().check(replace(origin(), namespace=namespace, appliance=name))


def test_the_index_follows_the_watch() -> None:
    index = ApplianceIndex()
    first = ApplianceRecord("1", "shop", "vma")
    assert (index.put(first), index.put(first)) == (True, False)
    again = replace(first, uid="2", rotation=4)
    index.put(again)
    assert index.remove("1")
    assert index.find("shop", "vma") == again, "the deleted one's successor stays"
    index.replace([ApplianceRecord("3", "lab", "x")], "lab")
    assert index.find("shop", "vma") == again
    index.replace([], None)
    assert index.find("shop", "vma") is None
    assert not index.remove("3")
