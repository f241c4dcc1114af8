"""The streams that are measured, and the events that a client must make of them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

Event = tuple[str, str, str]
"""Type, data, and the id in force."""

CHUNK = 64 * 1024
MOST_BLOCKS = 100_000
MOST_BYTES = 16 * 1024 * 1024


def block(number: int, event: str, *lines: str) -> tuple[bytes, Event]:
    text = f"id: {number:08}\nevent: {event}\n" + "".join(f"data: {line}\n" for line in lines) + "\n"
    return text.encode(), (event, "\n".join(lines), f"{number:08}")


def price(number: int, size: int = 100) -> tuple[bytes, Event]:
    head = f'{{"seq":{number},"symbol":"ACME","price":{100 + number % 50}.25,"note":"'
    return block(number, "price-update", head + "x" * (size - len(head) - 2) + '"}')


def crlf(number: int) -> tuple[bytes, Event]:
    body, event = price(number)
    return body.replace(b"\n", b"\r\n"), event


def llm(number: int) -> tuple[bytes, Event]:
    data = f'{{"choices":[{{"delta":{{"content":"w{number % 10}"}}}}]}}'
    return f"data: {data}\n\n".encode(), ("message", data, "")


def utf8(number: int) -> tuple[bytes, Event]:
    return block(number, "update", f'{{"seq":{number},"text":"{"héllo wörld ↔ 日本語テスト ✓ " * 2}"}}')


def multiline(number: int) -> tuple[bytes, Event]:
    return block(number, "log", f"first line of {number}", "second line, a bit longer", "third")


def heartbeat(number: int) -> tuple[bytes, Event]:
    body, event = price(number)
    return b": keep-alive\n\n" * 9 + body, event


KINDS: dict[str, Callable[[int], tuple[bytes, Event]]] = {
    "typical": price,
    "1k": functools.partial(price, size=1024),
    "16k": functools.partial(price, size=16 * 1024),
    "llm": llm,
    "heartbeat": heartbeat,
    "crlf": crlf,
    "utf8": utf8,
    "multiline": multiline,
}


def total(kind: str) -> int:
    """Return how many events a whole stream has."""
    return min(MOST_BLOCKS, MOST_BYTES // len(KINDS[kind](0)[0]))


def few(kind: str) -> int:
    """Return how many events are compared."""
    return max(20, min(500, 4 * CHUNK // len(KINDS[kind](0)[0])))


@functools.lru_cache(maxsize=2)
def blocks(kind: str, count: int = 0) -> list[bytes]:
    """Return the stream, or its first *count* events, each with the comments before it."""
    return [KINDS[kind](number)[0] for number in range(count or total(kind))]


@functools.lru_cache(maxsize=2)
def chunks(kind: str, size: int = CHUNK, count: int = 0) -> list[bytes]:
    """Return the stream, or its first *count* events, cut as a socket would."""
    body = b"".join(blocks(kind, count))
    return [body[start : start + size] for start in range(0, len(body), size)]


def framed(part: bytes) -> bytes:
    """Return a chunk of HTTP/1.1."""
    return b"%x\r\n%s\r\n" % (len(part), part)


@functools.lru_cache(maxsize=2)
def _ends(kind: str, *, framing: bool) -> list[int]:
    sizes = (len(framed(each)) if framing else len(each) for each in blocks(kind))
    return list(itertools.accumulate(sizes))


def size(kind: str, count: int, *, framing: bool) -> int:
    """Return the bytes of the first *count* events, as a body or as HTTP chunks of one event each."""
    return _ends(kind, framing=framing)[count - 1]
