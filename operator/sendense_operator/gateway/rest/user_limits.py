"""How many requests of one user may be in flight: nobody takes all places from the others."""

from __future__ import annotations

from collections import Counter

from sendense_operator.gateway.rest.errors import RestError


class UserLimits:
    """Requests in flight by user. Holds users with requests only, so its size is bounded by all requests in flight."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._calls: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._calls)

    def enter(self, user: str) -> None:
        """Count a request. Raises RestError (429) when the user has as many as allowed; `leave` is not due then."""
        if self._calls[user] >= self._most:
            raise RestError(429, "too many requests", f"{self._most} requests of {user} are in flight: wait for one")
        self._calls[user] += 1

    def leave(self, user: str) -> None:
        """Record that the request was answered."""
        self._calls[user] -= 1
        if not self._calls[user]:
            del self._calls[user]
