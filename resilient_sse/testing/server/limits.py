"""How often one user may ask."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from resilient_sse.testing.server.checks import check_seconds, check_whole

__all__ = ["Admission", "RateLimit"]

_MANY_USERS = 10_000


@dataclass(frozen=True, slots=True)
class RateLimit:
    """
    So many requests for a stream in so much time, for each user.

    Args:
        requests: How many.
        per: In how many seconds.

    Raises:
        TypeError: A value is no number.
        ValueError: *requests* is less than 1, or *per* is not a positive, finite number.
    """

    requests: int
    per: float = 60.0

    def __post_init__(self) -> None:
        check_whole("requests", self.requests, least=1)
        check_seconds("per", self.per)


class Admission:
    """
    Applies a limit: a window that slides, so that no two windows' worth may come at once.

    Args:
        limit: The limit; `None` admits everybody.
    """

    def __init__(self, limit: RateLimit | None) -> None:
        self._limit = limit
        self._admitted: dict[str, deque[float]] = {}

    def wait(self, user: str, now: float) -> int:
        """Admit a request at *now* and return 0, or return for how many whole seconds to wait."""
        limit = self._limit
        if limit is None:
            return 0
        if len(self._admitted) > _MANY_USERS:
            self._forget(now - limit.per)
        times = self._admitted.setdefault(user, deque(maxlen=limit.requests))
        if len(times) == limit.requests and now - times[0] < limit.per:
            # Rounded up: a client that waits as told must find the door open.
            return max(math.ceil(times[0] + limit.per - now), 1)
        times.append(now)
        return 0

    def _forget(self, before: float) -> None:
        """Drop users that were not seen since."""
        self._admitted = {
            user: times for user, times in self._admitted.items() if times and times[-1] > before
        }
