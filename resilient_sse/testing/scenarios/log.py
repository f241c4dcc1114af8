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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

__all__ = ["Entry", "RunLog", "read_log", "write_log"]

_EXACT = 6  # decimals of a second: virtual times are sums of floats


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
        """
        Return the entry that `to_json` wrote.

        Raises:
            ValueError: The line is none.
        """
        try:
            facts: dict[str, Any] = json.loads(line)
            run, at, kind = str(facts.pop("run")), float(facts.pop("at")), str(facts.pop("kind"))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not an entry of a log: {line[:80]!r}") from error
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
        Note what happens.

        Args:
            kind: What it is.
            stream: Whom it concerns.
            at: Seconds since the start of the run; `None` is now.
            **facts: What else there is to know.
        """
        self.entries.append(Entry(self.name, self.now() if at is None else at, kind, stream, facts))

    def published(
        self, stream: str, number: int, data: str, event: str | None, *, at: float | None = None
    ) -> None:
        """Note that an event was published: what the server has is the truth that a client is judged by."""
        content, kind = data.encode(), event or "message"
        self.add("published", stream, at=at, id=number, type=kind, size=len(content), sum=crc32(content))

    def ordered(self) -> list[Entry]:
        """Return the entries by time; those of the same time stay in the order they were noted in."""
        return sorted(self.entries, key=lambda entry: entry.at)


def write_log(path: Path, entries: Iterable[Entry]) -> None:
    """
    Write a log, one line for each entry.

    Raises:
        OSError: It cannot be written.
    """
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
