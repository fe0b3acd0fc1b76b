"""Long lists: what stays in memory, and what becomes of one that takes too long."""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sendense_operator.cluster.errors import NotFoundError, UnavailableError
from sendense_operator.cluster.kinds import BACKUP, Kind
from sendense_operator.cluster.listing import collect


class Large(dict[str, Any]):
    """An object whose end is noticed."""


class Lister:
    """Tells `pages`, and ends them with the errors that are among them."""

    def __init__(self, *rounds: list[list[str] | Exception]) -> None:
        self._rounds = list(rounds)
        self.most = 0
        """Objects that were in memory at the same time."""
        self._alive = 0

    async def pages(
        self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[list[dict[str, Any]]]:
        for page in self._rounds.pop(0):
            if isinstance(page, Exception):
                raise page
            yield [self._made(name) for name in page]

    def _made(self, name: str) -> Large:
        made = Large(name=name)
        weakref.finalize(made, self._forgotten)
        self._alive += 1
        self.most = max(self.most, self._alive)
        return made

    def _forgotten(self) -> None:
        self._alive -= 1


def name_of(obj: dict[str, Any]) -> str | None:
    return obj["name"] or None


async def test_only_what_is_taken_stays() -> None:
    lister = Lister([[f"b{page}-{number}" for number in range(10)] for page in range(20)])
    names = await collect(lister, BACKUP, None, name_of)
    assert names == [f"b{page}-{number}" for page in range(20) for number in range(10)]
    assert lister.most <= 20, "the page that is dealt with, and the one that comes"


async def test_what_nothing_is_made_of_is_left_out() -> None:
    assert await collect(Lister([["a", ""], [], ["", "b"]]), BACKUP, None, name_of) == ["a", "b"]


async def test_a_page_that_has_expired_begins_all_anew() -> None:
    gone = NotFoundError("the provided continue parameter is too old")
    assert await collect(Lister([["a"], gone], [["b"], ["c"]]), BACKUP, None, name_of) == ["b", "c"]
    with pytest.raises(NotFoundError):
        await collect(Lister([["a"], gone], [gone]), BACKUP, None, name_of)


async def test_other_errors_pass_through() -> None:
    with pytest.raises(UnavailableError):
        await collect(Lister([["a"], UnavailableError("down")], [["b"]]), BACKUP, None, name_of)
