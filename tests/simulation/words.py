"""The words of a plan, and what a hand may have written wrongly."""

from __future__ import annotations

from typing import Literal, TypeAlias

from resilient_sse import Verdict

__all__ = [
    "AnswerKind",
    "DeedKind",
    "End",
    "Redirect",
    "Rule",
    "Token",
    "check_redirect",
    "check_rule",
    "check_token",
    "check_word",
    "verdict_in",
]

AnswerKind: TypeAlias = Literal["stream", "status", "refuse", "connect-timeout", "no-headers", "slow-headers"]
"""What a request meets; `slow-headers` is a stream whose headers are late, but in time."""

End: TypeAlias = Literal["drop", "cut", "eof", "stall"]
"""How a connection ends: reset, closed in mid-body, cleanly, or in silence until the client gives up."""

DeedKind: TypeAlias = Literal["slow", "cancel", "cancel-task", "raise", "restart", "crash", "aclose"]
"""What the consumer does, apart from reading."""

Token: TypeAlias = str
"""
One thing that happens while a connection is up: a word, with a number for `retry`, `hint` (ms) and `pause` (s).

`event`, `other` (an event of a type that may be filtered), `plain` (an event without an id, which no replay
brings), `heartbeat` (without an id), `echo` (a heartbeat with the last id), `beat` (one with a number of its own),
`comment`, `twice` (an event sent twice), `skip` (an event that is replayed later, but not sent now), `vanish` (one
that is lost for good), `retry 1500` (a block of its own), `hint 1500` (an event with that field), `pause 2.5`.
"""

Redirect: TypeAlias = str
"""
One redirect: a status, and where it leads.

`302` leads to another address of the same origin, `302 self` to the same address again, `302 elsewhere` to
another origin.
"""

Rule: TypeAlias = str
"""What the `classify` hook says of a status or a reason: `503 raise`, `403 retry`, `reset stop`."""

_WORDS = frozenset(
    {"event", "other", "plain", "heartbeat", "echo", "beat", "comment", "twice", "skip", "vanish"}
)
_NUMBERED_WORDS = frozenset({"retry", "hint", "pause"})
_REDIRECTS = ("301", "302", "303", "307", "308")
_TARGETS = ("self", "elsewhere")
_REASONS = ("connect", "eof", "reset", "stall", "event_timeout")
_VERDICTS = tuple(verdict.name.lower() for verdict in Verdict)
_STATUS_DIGITS = 3


def check_word(what: str, word: object, known: tuple[str, ...]) -> None:
    """
    Check one word.

    Args:
        what: What it is.
        word: The word.
        known: Those that there are.

    Raises:
        ValueError: It is none of them.
    """
    if word not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, not {word!r}")


def check_token(token: Token) -> None:
    """
    Check what happens on a connection.

    Raises:
        ValueError: Nobody knows what it is.
    """
    word, _, number = token.partition(" ")
    check_word("answers: live", word, (*sorted(_WORDS), *sorted(_NUMBERED_WORDS)))
    if (word in _NUMBERED_WORDS) != bool(number):
        raise ValueError(f"answers: live: {token!r} wants " + ("no number" if number else "a number"))


def check_redirect(redirect: Redirect) -> None:
    """
    Check a redirect.

    Raises:
        ValueError: Its status is none, or its target.
    """
    status, space, target = redirect.partition(" ")
    check_word("answers: redirects", status, _REDIRECTS)
    if space:
        check_word("answers: redirects: the target", target, _TARGETS)


def check_rule(rule: Rule) -> None:
    """
    Check what the `classify` hook says.

    Raises:
        ValueError: It is about nothing, or says nothing.
    """
    about, _, verdict = rule.partition(" ")
    if not (about.isdigit() and len(about) == _STATUS_DIGITS):
        check_word("options: classify: a status or a reason", about, _REASONS)
    check_word("options: classify: the verdict", verdict, _VERDICTS)


def verdict_in(rules: tuple[Rule, ...], about: str) -> Verdict | None:
    """Return what the first rule about a status or a reason says, `None` if there is none."""
    for rule in rules:
        subject, _, verdict = rule.partition(" ")
        if subject == about:
            return Verdict[verdict.upper()]
    return None
