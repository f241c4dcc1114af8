"""
The raw log of a report: what happened, in the order it happened, and nothing that was concluded from it.

Each run of a scenario has one clock, which starts at zero with the run, for the server, the network and the client
alike.  One line of JSON is one entry.  `run` says whose it is, `at` when it was (seconds), `kind` what it is, and
where a stream is concerned `stream` names it.

| kind | who says so | further keys |
| --- | --- | --- |
| `start` | the run | `scenario`, `form`, `seed` |
| `stream` | the client | its settings: `part`, `stall_timeout`, `waiting_after`, `max_retries`, `jitter` |
| `published` | the server | `id`, `type`, `size` (bytes of the text), `sum` (its CRC-32) |
| `request` | the server | `number`, `header`, `query`: the cursor as it came both ways, `params`: the rest |
| `sent` | the server | `number` of the request, `id` |
| `fault`, `mended` | who did it | `name`, and what there is to know |
| `attempt` | the client | |
| `state` | the client | `old`, `new`, `reason`, `attempt`, `max_retries`, `delay`, `message` |
| `received` | the client | `id`, `type`, `size`, `sum`, `connection` |
| `gap` | the client | `gap` (its kind), `missing` |
| `ended` | the client | `error`: the name of its class or `None` |
| `stats` | the client | its own count, `StreamStats` |
| `network` | the stage | `part`, `drops` (segments), `max_live` (connections of a stream at once) |
| `finish` | the run | `in_time`, `late`: by how many seconds the event loop was late at the worst |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zlib import crc32

MESSAGE = "message"
"""The type of the events that count; the one that completes a stream is another."""

_EXACT = 6  # decimals of a second: virtual times are sums of floats
_UP = ("connected", "waiting")


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One thing that happened.

    Attributes:
        run: The run it belongs to: scenario and form, `"scenario_1_slow_3g/virtual"`.
        at: Seconds since the start of the run.
        kind: What it was.
        stream: The stream it concerns, or `None` if it concerns all.
        facts: What else there is to know; values that JSON can express.
    """

    run: str
    at: float
    kind: str
    stream: str | None = None
    facts: dict[str, Any] = field(default_factory=dict[str, Any])

    def to_json(self) -> str:
        """Return it as one line."""
        head: dict[str, Any] = {"run": self.run, "at": round(self.at, _EXACT), "kind": self.kind}
        if self.stream is not None:
            head["stream"] = self.stream
        return json.dumps({**head, **self.facts})

    @classmethod
    def from_json(cls, line: str) -> Entry:
        """Return the entry that `to_json` wrote; `ValueError` if the line is none."""
        try:
            return cls.of(json.loads(line))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not an entry of a log: {line[:80]!r}") from error

    @classmethod
    def of(cls, parsed: Mapping[str, Any]) -> Entry:
        """Return the entry of a line that has been parsed."""
        facts = dict(parsed)
        run, at, kind = str(facts.pop("run")), float(facts.pop("at")), str(facts.pop("kind"))
        return cls(run, at, kind, facts.pop("stream", None), facts)


class RunLog:
    """
    The log of one run.

    Args:
        scenario: The scenario's key in the report.
        form: The form it is played in.
        seed: Where its randomness starts.
        now: The one clock; it need not start at zero.
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
        """
        Record what happens, now or *at* another time of the run; see `Entry` for the arguments.

        Of an event, its *data* and *event*, there is kept what a client is judged by.
        """
        if "data" in facts:
            content, event = str(facts.pop("data")).encode(), facts.pop("event")
            facts |= {"type": event or MESSAGE, "size": len(content), "sum": crc32(content)}
        self.entries.append(Entry(self.name, self.now() if at is None else at, kind, stream, facts))

    def ordered(self) -> list[Entry]:
        """Return the entries by time; those of the same time stay in the order they were recorded in."""
        return sorted(self.entries, key=lambda entry: entry.at)


def write_log(path: Path, entries: Iterable[Entry]) -> None:
    """Write a log, one line for each entry; `OSError` if it cannot be written."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{entry.to_json()}\n" for entry in entries)


def read_log(path: Path) -> Iterator[Entry]:
    """
    Yield the entries of a log.

    Raises:
        OSError: It cannot be read.
        ValueError: A line is no entry.
    """
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield Entry.from_json(line)


# --- A log in order: runs, their streams, and the recoveries of each


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
    def recoveries(self) -> list[Recovery]:
        """Its outages; those that began before the first connection have nothing to recover."""
        found: list[Recovery] = []
        now: Recovery | None = None
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
                        now = Recovery(stream=self.name, reason=entry.facts["reason"], t1=last, t2=entry.at)
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
        return [
            entry.facts[name]
            for entry in self.entries
            if entry.kind == "network" and (part is None or entry.facts["part"] == part)
        ]

    def recoveries(self, part: str | None = None) -> list[Recovery]:
        """Return every outage of every stream, or of the streams of one part."""
        streams = self.streams if part is None else self.part(part)
        return [recovery for stream in streams for recovery in stream.recoveries]


def runs_of(entries: Iterable[Entry]) -> list[Run]:
    """Sort a log into its runs; `ValueError` if that of one is not whole."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.run, []).append(entry)
    return [Run(name, mine) for name, mine in found.items()]
