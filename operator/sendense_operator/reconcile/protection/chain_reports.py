"""What each chain reports to the policy that rules it, for the policy's status.

In memory only: each chain is checked after a restart, and reports again.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from sendense_operator.object_key import ObjectKey
from sendense_operator.reconcile.state.keys import ChainKey

R = TypeVar("R")


class ChainReports(Generic[R]):
    """The latest report of each chain, by the policy that rules it."""

    def __init__(self) -> None:
        self._policies: dict[ObjectKey, dict[ChainKey, R]] = {}
        self._chains: dict[tuple[str, ChainKey], ObjectKey] = {}

    def of(self, policy: ObjectKey) -> dict[ChainKey, R]:
        """Return the reports of the chains that a policy rules."""
        return dict(self._policies.get(policy, {}))

    def put(self, namespace: str, chain: ChainKey, policy: str | None, report: R | None) -> list[ObjectKey]:
        """Keep a chain's report; return the policies of which the reports have changed.

        `policy`: the one that rules it; None: there is none any more.
        """
        changed = list[ObjectKey]()
        key = ObjectKey(namespace, policy) if policy is not None and report is not None else None
        before = self._chains.pop((namespace, chain), None)
        if before is not None and before != key:
            there = self._policies[before]
            del there[chain]
            if not there:
                del self._policies[before]
            changed.append(before)
        if key is not None and report is not None:
            self._chains[namespace, chain] = key
            there = self._policies.setdefault(key, {})
            if there.get(chain) != report:
                there[chain] = report
                changed.append(key)
        return changed
