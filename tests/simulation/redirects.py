"""Redirects on the way to an answer: the server's part, and what a client owes there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from resilient_sse.testing.steps import RecordedRequest, Reply
from tests.simulation.plan import Answer, Options
from tests.simulation.words import Redirect

__all__ = ["URL", "Chain", "Leg", "legs", "targets"]

URL = "https://simulation.example/stream"
"""What the consumer asks for."""

_MOST = 10
"""So many are followed, and no more."""

_ELSEWHERE = "https://elsewhere.example"
_HOME = "https://simulation.example"
_BECOMES_GET = (301, 302, 303)


class Chain:
    """
    The redirects before one answer, told to one request after the other.

    Args:
        redirects: The plan's.
    """

    def __init__(self, redirects: tuple[Redirect, ...]) -> None:
        self._left = list(redirects)
        self._told = 0
        self._expected: tuple[str, float] | None = None

    def continues(self, request: RecordedRequest) -> bool:
        """Whether *request* is the one that was sent on: it comes at once, and not after ten redirects."""
        return (request.url, request.at) == self._expected and self._told <= _MOST

    def next(self, request: RecordedRequest) -> Reply | None:
        """Return the next redirect, `None` if there is none left."""
        if not self._left:
            return None
        self._told += 1
        status, target = _parted(self._left.pop(0))
        url = request.url if target == "self" else _address(target, self._told)
        self._expected = url, request.at
        return Reply(status=status, headers={"Location": url}, content_type=None)


@dataclass(frozen=True, slots=True)
class Leg:
    """
    One request of an attempt, as it ought to be.

    Attributes:
        url: Where to.
        method: How.
        trusted: Whether it bears what the caller has given: headers and body.
    """

    url: str
    method: str
    trusted: bool


def legs(options: Options, answer: Answer) -> tuple[list[Leg], bool]:
    """
    Return the requests by which a client comes to an answer, and whether it comes there at all.

    It does not if there are too many redirects, or if one wants a body again that is spent, or leads it to
    another origin.
    """
    found = [Leg(URL, options.method, True)]
    for count, redirect in enumerate(answer.redirects, 1):
        last = found[-1]
        status, target = _parted(redirect)
        method = "GET" if status in _BECOMES_GET else last.method
        spent = method == "POST" and (options.body == "once" or target == "elsewhere")
        if count > _MOST or spent:
            return found, False
        url = last.url if target == "self" else _address(target, count)
        trusted = last.trusted and url.startswith(_HOME)
        found.append(Leg(url, method, trusted))
    return found, True


def targets(answer: Answer) -> Iterator[tuple[int, str]]:
    """Return the status and the target of each redirect."""
    return map(_parted, answer.redirects)


def _address(target: str, count: int) -> str:
    return f"{_ELSEWHERE if target == 'elsewhere' else _HOME}/{count}"


def _parted(redirect: Redirect) -> tuple[int, str]:
    status, _, target = redirect.partition(" ")
    return int(status), target
