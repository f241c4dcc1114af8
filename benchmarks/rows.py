"""The rows that are measured: what each client does, and which figure of it is shown."""

from __future__ import annotations

from dataclasses import dataclass

from .payloads import KINDS
from .peers import Peer


@dataclass(frozen=True)
class Work:
    """What a client is made to do; rows that share it share its samples."""

    task: str
    path: str
    kind: str = "typical"
    streams: int = 1
    most_rounds: int = 1000

    def fits(self, peer: Peer) -> bool:
        if self.task == "many":
            return not peer.blocking
        return peer.memory or self.path != "memory"

    @property
    def checked_as(self) -> tuple[str, str]:
        """Path and payload on which events are compared before; what has no known events goes as `chunk`."""
        return ("chunk" if self.path in {"stamp", "tick"} else self.path), self.kind


@dataclass(frozen=True)
class Row:
    """A figure of some work; less is better."""

    name: str
    title: str
    work: Work
    key: str = "cpu"
    unit: str = "us of CPU an event"
    scale: float = 1e6
    also: str = "rate"
    also_unit: str = "events/s"

    @property
    def also_scale(self) -> float:
        return 1e6 if self.also in {"cpu", "p99"} else 1.0


STAMPED = Work("latency", "stamp")
MANY = Work("many", "tick", streams=1000, most_rounds=3)
# The events of those that are open count too, so a stream costs more the more there are; without them, and without
# the garbage collector, 9,000 cost what 1,000 do: 0.5 ms each.
MORE = Work("many", "tick", streams=3000, most_rounds=1)
MOST = Work("many", "tick", streams=10_000, most_rounds=1)


def _opening(work: Work) -> Row:
    name, title = f"opening-{work.streams}", f"opening {work.streams:,} streams, 100 at a time"
    return Row(name, title, work, "opening_cpu", "us of CPU a stream", 1e6, "opening", "s")


ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        *(Row(f"decode-{kind}", f"{kind}: bytes in memory", Work("drain", "memory", kind)) for kind in KINDS),
        Row("bulk", "bulk: HTTP chunks of 64 KiB", Work("drain", "bulk")),
        Row("chunk", "chunk: an HTTP chunk an event, saturated", Work("drain", "chunk")),
        Row("live", "live: a read an event, 2,000 a second", Work("drain", "live")),
        Row(
            "latency",
            "latency: write to event in hand, p50",
            STAMPED,
            "p50",
            "us",
            also="p99",
            also_unit="us p99",
        ),
        Row("many", "1,000 streams, an event a second each", MANY),
        Row("memory", "memory of 1,000 streams", MANY, "memory", "KiB a stream", 1 / 1024, "cpu", "us"),
        _opening(MANY),
        _opening(MORE),
        _opening(MOST),
    )
}
