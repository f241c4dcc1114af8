"""A publisher of its own: payloads at a steady rate to each user, from when the user first opens a stream."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resilient_sse.testing.server.payloads import EVENT_TYPE, payload

if TYPE_CHECKING:
    from resilient_sse.testing.server.app import ReferenceServer

__all__ = ["Publisher"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """
    Publishes to whoever comes.

    Args:
        count: How many events each user gets.
        rate: Events a second for each user.
        users: How many users get any, in the order in which they come.
        size: Bytes of each payload.
        complete: Publish the completion event after them.

    Raises:
        ValueError: A value is out of its range.
    """

    count: int
    rate: float = 1.0
    users: int = 1
    size: int = 100
    complete: bool = False

    def __post_init__(self) -> None:
        for name, value in (("count", self.count), ("users", self.users)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise ValueError(f"rate must be a positive number of events a second, not {self.rate!r}")
        payload(self.count, size=self.size)

    def attach(self, server: ReferenceServer) -> None:
        """Publish on *server* from now on, in its loop."""
        served: set[str] = set()
        tasks: set[asyncio.Task[None]] = set()

        def opened(user: str) -> None:
            if user not in served and len(served) < self.users:
                served.add(user)
                task = asyncio.get_running_loop().create_task(self._publish(server, user))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

        server.on_open.append(opened)

    async def _publish(self, server: ReferenceServer, user: str) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        for number in range(1, self.count + 1):
            # Due times are counted from the start, so that the rate holds over any length.
            await asyncio.sleep(max(started + number / self.rate - loop.time(), 0))
            await server.publish(payload(number, size=self.size), event=EVENT_TYPE, user_id=user)
        if self.complete:
            await server.complete(user)
