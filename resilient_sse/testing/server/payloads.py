"""Payloads like those of a language model's answer: so many bytes each, of the size the requirements speak of."""

from __future__ import annotations

import random

__all__ = ["EVENT_TYPE", "payload", "payloads"]

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
    Return one payload: a JSON object of exactly *size* bytes with its number and some words.

    Args:
        number: Which one.
        size: How many bytes of UTF-8.
        seed: Decides about the words, together with *number*.

    Raises:
        ValueError: *size* is too small to hold the number.
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
    """
    Return *count* payloads of exactly *size* bytes each, numbered from 1.

    Raises:
        ValueError: *size* is too small, or *count* negative.
    """
    if count < 0:
        raise ValueError(f"count must not be negative, not {count!r}")
    return [payload(number, size=size, seed=seed) for number in range(1, count + 1)]
