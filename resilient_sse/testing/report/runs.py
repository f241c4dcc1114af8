"""A log put in order: runs, their streams, and each stream's recoveries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from resilient_sse.testing.scenarios.log import Entry

__all__ = ["MESSAGE", "UP", "Recovery", "Run", "Stream", "runs_of"]

MESSAGE = "message"
"""The type of the events that count; the one that completes a stream is another."""

UP = ("connected", "waiting")
"""The states in which there is a connection to lose."""


@dataclass(slots=True, kw_only=True)
class Recovery:
    """
    One outage, from the loss of the connection to the first event after it (R101).

    Attributes:
        stream: Whose it is.
        reason: Why the connection was lost.
        t1: When the last event came before it; `None` if none ever did.
        t2: When the loss was noticed.
        t3: When the first new attempt was made.
        t4: When the first event came after it; `None` if none did.
        attempts: How many attempts it took.
        idle: Whether that event was published only after the connection was back: then the time until it came
            measures the server's silence and not the client.
    """

    stream: str
    reason: str
    t1: float | None
    t2: float
    t3: float | None = None
    t4: float | None = None
    attempts: int = 0
    idle: bool = False

    @property
    def reconnect(self) -> float | None:
        """Seconds from noticing the loss to the next event: t4 - t2."""
        return None if self.t4 is None else self.t4 - self.t2

    @property
    def silence(self) -> float | None:
        """Seconds without an event: t4 - t1."""
        return None if self.t4 is None or self.t1 is None else self.t4 - self.t1


@dataclass(slots=True)
class Stream:
    """
    What the log says of one stream, by time.

    Attributes:
        name: Its name.
        entries: Its entries.
    """

    name: str
    entries: list[Entry] = field(default_factory=list[Entry])

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

    @property
    def published(self) -> dict[int, Entry]:
        """The messages of the server, by id."""
        return {entry.facts["id"]: entry for entry in self.all("published", type=MESSAGE)}

    @property
    def received(self) -> list[Entry]:
        """The messages that were delivered, in order."""
        return self.all("received", type=MESSAGE)

    @property
    def announcements(self) -> list[Entry]:
        """The attempts that were announced."""
        return self.all("state", new="reconnecting")

    @property
    def recoveries(self) -> list[Recovery]:
        """Its outages; those that began before the first connection have nothing to recover."""
        found: list[Recovery] = []
        now: Recovery | None = None
        last: Entry | None = None
        back: float | None = None
        published = {entry.facts["id"]: entry.at for entry in reversed(self.all("published"))}
        for entry in self.entries:
            if entry.kind == "state" and entry.facts["new"] == "connected" and entry.facts["old"] not in UP:
                back = entry.at
            elif entry.kind == "state" and entry.facts["old"] in UP and entry.facts["new"] == "reconnecting":
                if now is None:
                    now = Recovery(
                        stream=self.name,
                        reason=entry.facts["reason"],
                        t1=None if last is None else last.at,
                        t2=entry.at,
                    )
                    found.append(now)
                    back = None
            elif entry.kind == "attempt" and now is not None:
                now.t3 = entry.at if now.t3 is None else now.t3
                now.attempts += 1
            elif entry.kind == "received":
                if now is not None:
                    now.idle = back is not None and published.get(entry.facts["id"], 0.0) > back
                    now.t4, now = entry.at, None
                last = entry
        return found


class Run:
    """
    One run of a scenario.

    Args:
        name: Its name in the log.
        entries: Its entries.

    Raises:
        ValueError: The log has no beginning.
    """

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
    def in_time(self) -> bool:
        """Whether the run came to its end."""
        return any(entry.kind == "finish" and entry.facts["in_time"] for entry in self.entries)

    @property
    def late(self) -> float:
        """By how many seconds the machine was late at the worst."""
        return max(
            (entry.facts.get("late", 0.0) for entry in self.entries if entry.kind == "finish"), default=0.0
        )

    @property
    def end(self) -> float:
        """When the last thing happened."""
        return self.entries[-1].at

    def part(self, name: str) -> list[Stream]:
        """Return the streams of one part of the scenario."""
        return [stream for stream in self.streams if stream.part == name]

    def network(self, name: str, part: str | None = None) -> list[Any]:
        """Return a fact that the network told at its end, for one part or for all."""
        return [
            entry.facts[name]
            for entry in self.entries
            if entry.kind == "network" and (part is None or entry.facts["part"] == part)
        ]

    def recoveries(self) -> Iterator[Recovery]:
        """Yield every outage of every stream."""
        for stream in self.streams:
            yield from stream.recoveries


def runs_of(entries: Iterable[Entry]) -> list[Run]:
    """
    Sort a log into its runs.

    Raises:
        ValueError: The log of a run is not whole.
    """
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.run, []).append(entry)
    return [Run(name, mine) for name, mine in found.items()]
