"""
A publisher of its own: payloads at a steady rate to each user, from when the user first opens a stream.

The payloads are like those of a language model's answer: so many bytes each, of the size that requirements name.
"""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass

from resilient_sse.testing.server.app import ReferenceServer

EVENT_TYPE = "response.output_text.delta"
"""The event type that goes with them: with it, and an id of two digits, an event of 100 bytes takes 148."""

_TEXT = (
    "the a stream of events that is lost and found again because every answer has its own number so nothing "
    "comes twice while people read on their way home under bridges between two masts where signals fade then "
    "return before anyone noticed what happened to it"
)
_WORDS = _TEXT.split()

_LEAST = 24


def payload(number: int, *, size: int = 100, seed: int = 0) -> str:
    """
    Return one payload: a JSON object of exactly *size* bytes of UTF-8 with its number and some words.

    *seed* decides about the words, together with *number*; `ValueError` if *size* is too small to hold the number.
    """
    head = f'{{"n":{number},"text":"'
    room = size - len(head) - 2
    if room < 0 or size < _LEAST:
        raise ValueError(f"size must be at least {max(_LEAST, len(head) + 2)}, not {size!r}")
    chance = random.Random(f"{seed}:{number}")  # noqa: S311 - wanted to be the same again
    text = ""
    while len(text) < room:
        text += chance.choice(_WORDS) + " "
    return f'{head}{text[:room]}"}}'


def payloads(count: int = 50, *, size: int = 100, seed: int = 0) -> list[str]:
    """Return *count* payloads of exactly *size* bytes each, numbered from 1; errors as of `payload`."""
    if count < 0:
        raise ValueError(f"count must not be negative, not {count!r}")
    return [payload(number, size=size, seed=seed) for number in range(1, count + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Publishes to whoever comes; `ValueError` if a value is out of its range."""

    count: int  # events for each user
    rate: float = 1.0  # events a second for each user
    users: int = 1  # how many get any, in the order in which they come
    size: int = 100  # bytes of each payload
    complete: bool = False  # publish the completion event after them

    def __post_init__(self) -> None:
        for name, value in (("count", self.count), ("users", self.users)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise ValueError(f"rate must be a positive number of events a second, not {self.rate!r}")
        payload(self.count, size=self.size)

    def attach(self, server: ReferenceServer) -> None:
        """Publish on *server* from now on, in its loop."""

        async def publish(user: str) -> None:
            loop = asyncio.get_running_loop()
            started = loop.time()
            for number in range(1, self.count + 1):
                # Due times are counted from the start, so that the rate holds over any length.
                await asyncio.sleep(max(started + number / self.rate - loop.time(), 0))
                await server.publish(payload(number, size=self.size), event=EVENT_TYPE, user_id=user)
            if self.complete:
                await server.complete(user)

        served: set[str] = set()
        tasks: set[asyncio.Task[None]] = set()

        def opened(user: str) -> None:
            if user not in served and len(served) < self.users:
                served.add(user)
                task = asyncio.get_running_loop().create_task(publish(user))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

        server.on_open.append(opened)
