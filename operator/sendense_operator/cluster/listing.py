"""Lists of any length: read in pages, of which only what the caller keeps stays in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol, TypeVar

from sendense_operator.cluster.errors import NotFoundError
from sendense_operator.cluster.kinds import Kind
from sendense_operator.cluster.objects import Obj

"""One Kubernetes object, as in its YAML."""
T = TypeVar("T")


class Lister(Protocol):
    """Reads lists. Raises `ClusterError` and nothing else."""

    def pages(
        self, kind: Kind, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[list[Obj]]:
        """Return all objects that match both selectors, in one namespace or (None) in all, a few hundred at a time.

        NotFoundError when reading took longer than the server's history: to be begun again.
        """
        ...


async def collect(
    cluster: Lister,
    kind: Kind,
    namespace: str | None,
    take: Callable[[Obj], T | None],
    *,
    labels: str = "",
    fields: str = "",
) -> list[T]:
    """Return what `take` makes of each object (None: nothing is kept of it). Begins anew once when a page has expired.

    Raises what `Lister.pages` raises.
    """

    async def read() -> list[T]:
        kept: list[T] = []
        async for page in cluster.pages(kind, namespace, labels=labels, fields=fields):
            kept += [taken for obj in page if (taken := take(obj)) is not None]
        return kept

    try:
        return await read()
    except NotFoundError:
        return await read()
