"""Payloads like those of a language model's answer, so many bytes each, and a publisher of them."""

from __future__ import annotations

import asyncio
import random

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


def publish_to_each(server: ReferenceServer, count: int, *, rate: float, users: int, complete: bool) -> None:
    """
    Publish *count* payloads, *rate* a second, to each of the first *users*, from when they come.

    *complete* publishes the completion event after them.
    """
    served: set[str] = set()
    tasks: set[asyncio.Task[None]] = set()

    async def publish(user: str) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        for number in range(1, count + 1):
            # Due times are counted from the start, so that the rate holds over any length.
            await asyncio.sleep(max(started + number / rate - loop.time(), 0))
            await server.publish(payload(number), event=EVENT_TYPE, user_id=user)
        if complete:
            await server.complete(user)

    def opened(user: str) -> None:
        if user not in served and len(served) < users:
            served.add(user)
            task = asyncio.get_running_loop().create_task(publish(user))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server.on_open.append(opened)
