"""
The raw log of a report: what happened, in the order it happened, and nothing that was concluded from it.

Each run of a scenario has one clock, which starts at zero with the run, for the server, the network and the client
alike.  `docs/lab/report.md` lists the kinds of entries, and the facts of each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from zlib import crc32

MESSAGE = "message"
"""The type of the events that count; the one that completes a stream is another."""

_EXACT = 6  # decimals of a second: virtual times are sums of floats
_UP = ("connected", "waiting")


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened, on one *stream* or, with `None`, to all; *facts* are what JSON can express."""

    run: str  # scenario and form, "scenario_1_slow_3g/virtual"
    at: float  # seconds since the start of the run
    kind: str
    stream: str | None = None
    facts: dict[str, Any] = field(default_factory=dict[str, Any])

    def to_json(self) -> str:
        """Return it as one line."""
        head: dict[str, Any] = {"run": self.run, "at": round(self.at, _EXACT), "kind": self.kind}
        if self.stream is not None:
            head["stream"] = self.stream
        return json.dumps({**head, **self.facts})


class RunLog:
    """
    The log of one run of the scenario with that key in the report, played in that form.

    *seed* is where its randomness starts, and *now* the one clock; it need not start at zero.
    """

    def __init__(self, scenario: str, form: str, *, seed: int, now: Callable[[], float]) -> None:
        self.name: str = f"{scenario}/{form}"
        self.entries: list[Entry] = []
        self._now = now
        self._zero = now()
        self.add("start", scenario=scenario, form=form, seed=seed)

    def now(self) -> float:
        """Return the seconds since the start of the run."""
        return self._now() - self._zero

    def add(
        self,
        kind: str,
        stream: str | None = None,
        *,
        at: float | None = None,
        **facts: Any,  # noqa: ANN401 - whatever JSON can express
    ) -> None:
        """Record what happens, now or *at* another time; of an event's *data*, what a client is judged by."""
        if "data" in facts:
            content, event = str(facts.pop("data")).encode(), facts.pop("event")
            facts |= {"type": event or MESSAGE, "size": len(content), "sum": crc32(content)}
        self.entries.append(Entry(self.name, self.now() if at is None else at, kind, stream, facts))

    def ordered(self) -> list[Entry]:
        """Return the entries by time; those of the same time stay in the order they were recorded in."""
        return sorted(self.entries, key=lambda entry: entry.at)


# --- A log in order: runs, their streams, and the recoveries of each


@dataclass(slots=True, kw_only=True)
class RecordedOutage:
    """One outage, from the loss of the connection to the first event after it (R101)."""

    reason: str
    t1: float | None  # when the last event came before it
    t2: float  # when the loss was noticed
    t3: float | None = None  # when the first new attempt was made
    t4: float | None = None  # when the first event came after it
    attempts: int = 0
    idle: bool = False
    """Whether that event was published only after the connection was back: t4 then measures the server."""

    @property
    def reconnect(self) -> float | None:
        """Seconds from noticing the loss to the next event: t4 - t2."""
        return None if self.t4 is None else self.t4 - self.t2

    @property
    def silence(self) -> float | None:
        """Seconds without an event: t4 - t1."""
        return None if self.t4 is None or self.t1 is None else self.t4 - self.t1


class Stream:
    """What the log says of one stream: its entries, by time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entries: list[Entry] = []

    def all(self, kind: str, **facts: Any) -> list[Entry]:  # noqa: ANN401 - whatever JSON can express
        """Return the entries of that kind with those facts."""
        return [
            entry
            for entry in self.entries
            if entry.kind == kind and all(entry.facts.get(name) == value for name, value in facts.items())
        ]

    def fact(self, kind: str, name: str, default: Any = None) -> Any:  # noqa: ANN401
        """Return a fact of the first entry of that kind."""
        return next((entry.facts.get(name, default) for entry in self.entries if entry.kind == kind), default)

    @property
    def part(self) -> str:
        """Which part of the scenario it plays."""
        return str(self.fact("stream", "part", ""))

    @cached_property
    def published(self) -> dict[int, Entry]:
        """The messages of the server, by id."""
        return {entry.facts["id"]: entry for entry in self.all("published", type=MESSAGE)}

    @cached_property
    def received(self) -> list[Entry]:
        """The messages that were delivered, in order."""
        return self.all("received", type=MESSAGE)

    @property
    def ids(self) -> list[int]:
        """The ids of the messages that were delivered, in order."""
        return [entry.facts["id"] for entry in self.received]

    @property
    def announcements(self) -> list[Entry]:
        """The attempts that were announced."""
        return self.all("state", new="reconnecting")

    @cached_property
    def recoveries(self) -> list[RecordedOutage]:
        """Its outages; those that began before the first connection have nothing to recover."""
        found: list[RecordedOutage] = []
        now: RecordedOutage | None = None
        last: float | None = None
        back: float | None = None
        published = {entry.facts["id"]: entry.at for entry in reversed(self.all("published"))}
        for entry in self.entries:
            match entry.kind:
                case "state":
                    was_up = entry.facts["old"] in _UP
                    if entry.facts["new"] == "connected" and not was_up:
                        back = entry.at
                    elif entry.facts["new"] == "reconnecting" and was_up and now is None:
                        now = RecordedOutage(reason=entry.facts["reason"], t1=last, t2=entry.at)
                        found.append(now)
                        back = None
                case "attempt" if now is not None:
                    now.t3 = entry.at if now.t3 is None else now.t3
                    now.attempts += 1
                case "received":
                    if now is not None:
                        now.idle = back is not None and published.get(entry.facts["id"], 0.0) > back
                        now.t4, now = entry.at, None
                    last = entry.at
                case _:
                    pass
        return found


class Run:
    """One run of a scenario, from the entries of its log; `ValueError` if they have no beginning."""

    def __init__(self, name: str, entries: Iterable[Entry]) -> None:
        self.name = name
        self.entries: list[Entry] = sorted(entries, key=lambda entry: entry.at)
        start = next((entry for entry in self.entries if entry.kind == "start"), None)
        if start is None:
            raise ValueError(f"the log of {name} has no start: it is not whole")
        self.scenario: str = start.facts["scenario"]
        self.form: str = start.facts["form"]

    @cached_property
    def streams(self) -> list[Stream]:
        """The streams, in the order in which they began."""
        found: dict[str, Stream] = {}
        for entry in self.entries:
            if entry.stream is not None:
                found.setdefault(entry.stream, Stream(entry.stream)).entries.append(entry)
        return list(found.values())

    @property
    def delivery(self) -> tuple[int, int]:
        """How many of the messages that were published were received, and how many were published."""
        unique = sum(len(set(stream.ids) & stream.published.keys()) for stream in self.streams)
        return unique, sum(len(stream.published) for stream in self.streams)

    @property
    def in_time(self) -> bool:
        """Whether the run came to its end."""
        return any(entry.kind == "finish" and entry.facts["in_time"] for entry in self.entries)

    @property
    def late(self) -> float:
        """By how many seconds the machine was late at the worst."""
        return max((x.facts.get("late", 0.0) for x in self.entries if x.kind == "finish"), default=0.0)

    def part(self, name: str) -> list[Stream]:
        """Return the streams of one part of the scenario."""
        return [stream for stream in self.streams if stream.part == name]

    def network(self, name: str, part: str | None = None) -> list[Any]:
        """Return a fact that the network told at its end, for one part or for all."""
        told = [entry.facts for entry in self.entries if entry.kind == "network"]
        return [facts[name] for facts in told if part in (None, facts["part"])]

    def recoveries(self, part: str | None = None) -> list[RecordedOutage]:
        """Return every outage of every stream, or of the streams of one part."""
        streams = self.streams if part is None else self.part(part)
        return [recovery for stream in streams for recovery in stream.recoveries]


def runs_of(entries: Iterable[Entry]) -> list[Run]:
    """Sort a log into its runs; `ValueError` if that of one is not whole."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.run, []).append(entry)
    return [Run(name, mine) for name, mine in found.items()]
