"""What a console tells, checked: it comes from another process, and may be anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeGuard, cast

from resilient_sse._core.states import StreamState

__all__ = ["CutShortError", "NotAConsoleError", "Process", "Row", "Snapshot", "parse_snapshot", "with_rates"]

_VERSION = 1
_HTTP = ("http/", "<!doctype", "<html")


class NotAConsoleError(Exception):
    """What answers is no console, or one of another version."""


class CutShortError(NotAConsoleError):
    """The answer has no end: the program has ended, or turns readers away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """The program."""

    pid: int
    program: str
    up: float
    at: float
    streams: int
    attached: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One stream; durations are seconds, `None` where there is nothing to tell."""

    number: int
    name: str
    state: str
    state_for: float | None
    started_for: float | None
    silent_for: float | None
    eventless_for: float | None
    lag: float | None
    reason: str | None
    attempt: int
    next_attempt_in: float | None
    last_error: str | None
    last_recovery: float | None
    completion: float | None
    stats: Mapping[str, int]
    events_per_second: float | None = None
    bytes_per_second: float | None = None

    def count(self, name: str) -> int:
        """Return a figure, 0 if this version of the console does not know it."""
        return self.stats.get(name, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One look at a program."""

    process: Process
    rows: tuple[Row, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return everything by name, ready for JSON."""
        return asdict(self)


def parse_snapshot(lines: Iterable[str]) -> Snapshot:
    """
    Make sense of an answer.

    Raises:
        CutShortError: It has no end.
        NotAConsoleError: There is none in it.
    """
    lines = list(lines)
    if lines and lines[0].lower().startswith(_HTTP):
        raise NotAConsoleError(
            "what answers there is a server of HTTP; a console has a port of its own: Console(port)"
        )
    objects = _objects(lines)
    head = next(objects, None)
    if head is None:
        raise CutShortError("the console says nothing")
    if head.get("console") != _VERSION:
        raise NotAConsoleError(
            "what answers there is not the console of a program, or one of another version"
        )
    try:
        process = Process(
            pid=_whole(head["pid"]),
            program=_word(head["program"]),
            up=_number(head["up"]),
            at=_number(head["at"]),
            streams=_whole(head["streams"]),
            attached=_whole(head["attached"]),
            failed=_whole(head["failed"]),
        )
        rows: list[Row] = []
        for told in objects:
            if "end" in told:
                return Snapshot(process=process, rows=tuple(rows))
            rows.append(_row(told))
    except (KeyError, TypeError) as error:
        raise NotAConsoleError(f"the console says something else than expected: {error}") from error
    raise CutShortError("the console was cut short")


def with_rates(now: Snapshot, before: Snapshot | None) -> Snapshot:
    """Return *now* with what has come per second since *before*, where both know a stream."""
    if before is None or before.process.pid != now.process.pid:
        return now
    seconds = now.process.at - before.process.at
    known = {row.number: row for row in before.rows}
    rows = tuple(_with_rates(row, known.get(row.number), seconds) for row in now.rows)
    return Snapshot(process=now.process, rows=rows)


def _with_rates(row: Row, before: Row | None, seconds: float) -> Row:
    if before is None or seconds <= 0:
        return row
    return replace(
        row,
        events_per_second=_rise(row, before, "received") / seconds,
        bytes_per_second=_rise(row, before, "bytes_received") / seconds,
    )


def _rise(row: Row, before: Row, name: str) -> int:
    return max(row.count(name) - before.count(name), 0)


def _objects(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            raise NotAConsoleError("what answers there is not the console of a program")
        yield cast("dict[str, Any]", told)


def _row(told: Mapping[str, Any]) -> Row:
    stats: object = told["stats"]
    if not _is_mapping(stats):
        raise TypeError("the figures of a stream are no object")
    state = _word(told["state"])
    if state not in {known.value for known in StreamState}:
        raise TypeError(f"there is no state {state[:20]!r}")
    durations = {
        name: _perhaps(told[name])
        for name in (
            "state_for",
            "started_for",
            "silent_for",
            "eventless_for",
            "lag",
            "next_attempt_in",
            "last_recovery",
            "completion",
        )
    }
    return Row(
        number=_whole(told["number"]),
        name=_word(told["name"]),
        state=state,
        reason=None if told["reason"] is None else _word(told["reason"]),
        attempt=_whole(told["attempt"]),
        last_error=None if told["last_error"] is None else _word(told["last_error"]),
        stats={name: _whole(value) for name, value in stats.items()},
        **durations,
    )


def _is_mapping(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("a figure is no whole number")
    return value


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise TypeError("a time is no number")
    return float(value)


def _perhaps(value: object) -> float | None:
    return None if value is None else _number(value)


def _word(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("a name is no text")
    return value
