"""What came of a load run, and what it had to reach."""

from __future__ import annotations

import json
import math
import operator
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from resilient_sse.testing.load.plan import LoadPlan
from resilient_sse.testing.scenarios.gates import percentile


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How durations are spread; all but `count` are seconds, and `None` if there was nothing to measure."""

    count: int = 0
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    maximum: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Describe *values*."""
        p50, p95, p99, maximum = (percentile(values, percent) for percent in (50, 95, 99, 100))
        mean = statistics.fmean(values) if values else None
        return cls(count=len(values), mean=mean, p50=p50, p95=p95, p99=p99, maximum=maximum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where it ran; *cores* that the process may use, and the *load* average of the minute before, or `None`."""

    python: str
    system: str
    cores: int
    backend: str
    load: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """How the streams fared."""

    started: int
    completed: int
    failed: int
    unfinished: int  # were still running when the run had to end
    failures: tuple[str, ...]  # the first few errors, as text
    crashes: int  # errors that are none of a stream's own: bugs
    availability: float | None  # connected time over the time from the first connection to the end


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadDelivery:
    """What became of the messages, as the streams' own figures have it."""

    sent: int | None  # or was to be sent; `None` if nobody can know
    received: int
    completion: float | None  # the share of the two
    per_second: float | None  # over all streams, while all were open
    repeated: int  # by the server; the client dropped them
    gaps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long things took."""

    opening: Spread  # from the start of a stream to its first connection
    recovery: Spread  # the reconnect time: from the notice of a loss to the next new event (t4 - t2)
    reopening: Spread  # from the same notice to the connection that brought that event (t3 - t2)
    silence: Spread  # from the last byte before the loss to that event (t4 - t1)
    handling: Spread  # from the arrival of bytes to the delivery of their event; what the client adds


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """What the client's process used; the server and the networks are processes of their own."""

    cpu: float | None  # the mean share of one core while all streams were open
    cpu_overall: float | None  # opening and closing included
    cpu_per_event: float | None  # CPU seconds for each message while all streams were open
    resident_before: int  # bytes, before the first stream
    resident_peak: int
    resident_per_stream: int
    growth: float | None  # per cent each ten minutes after the warm-up; `None` if watched too briefly
    watched: float  # seconds for which memory was watched after the warm-up


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """What the server saw, while all streams were open; `None` if it cannot be asked."""

    mean: float | None
    most: int | None
    excess: int | None  # the most by which they exceeded the users and those reconnecting; 0 or less is right
    opened: int  # by the clients, in all
    resets: int  # on purpose


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadGate:
    """One figure that had to be reached: what was *found*, and what was *wanted*, as text."""

    name: str
    found: str
    wanted: str
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What came of a load run: of the plan *setup*, with the seed that was drawn, in so many *seconds*."""

    setup: LoadPlan
    machine: Machine
    seconds: float
    streams: Streams
    delivery: LoadDelivery
    times: Times
    process: Process
    connections: Connections
    gates: tuple[LoadGate, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every gate was passed."""
        return all(gate.passed for gate in self.gates)

    def to_json(self) -> str:
        """Return it as JSON, with `passed` for readers that want no more."""
        return json.dumps({"passed": self.passed, **asdict(self)}, indent=2)


_COMPARED = {"==": operator.eq, ">=": operator.ge, "<": operator.lt}
_MIB = 1024 * 1024


def judge(result: LoadResult) -> tuple[LoadGate, ...]:
    """
    Hold *result* against the limits of its plan.

    A figure that was asked for and could not be measured fails, except for growth of memory in a run that is too
    short to show any, and reconnect times in a run where nothing had to reconnect.
    """
    gates: list[LoadGate] = []

    def gate(
        name: str,
        found: float | None,
        relation: str,
        limit: float | None,
        unit: str = "",
        *,
        scale: float = 1,
    ) -> None:
        if limit is not None:
            # Downwards: 99.8999 % is not 99.9 %, in the text either.
            text = "unknown" if found is None else f"{math.floor(found * scale * 1000) / 1000:.7g}{unit}"
            wanted = f"{'' if relation == '==' else f'{relation} '}{limit * scale:g}{unit}"
            passed = found is not None and _COMPARED[relation](found, limit)
            gates.append(LoadGate(name=name, found=text, wanted=wanted, passed=passed))

    plan, streams, delivery, process = result.setup, result.streams, result.delivery, result.process
    limits, seen, times = plan.limits, result.connections, result.times.recovery
    endless = plan.target is not None and not plan.messages
    ended = plan.users - streams.failed if endless else streams.completed
    gate("streams that ended well", ended, "==", plan.users)
    if endless:  # whoever still waits for an answer has not failed yet
        gate("streams that got a connection", result.times.opening.count, "==", plan.users)
    gate("crashes", streams.crashes, "==", 0)
    if delivery.sent is not None:
        gate("completion", delivery.completion, ">=", limits.completion, " %", scale=100)
    gate("gaps", delivery.gaps, "==", 0)
    gate("availability", streams.availability, ">=", limits.availability, " %", scale=100)
    if plan.target is None:
        if limits.connections is not None:
            found = "unknown" if seen.mean is None else f"{seen.mean:.1f}"
            near = seen.mean is not None and abs(seen.mean - plan.users) <= plan.users * limits.connections
            wanted = f"{plan.users} +-{limits.connections:.0%}"
            gates.append(LoadGate(name="connections at the server", found=found, wanted=wanted, passed=near))
        excess = None if seen.excess is None else max(seen.excess, 0)
        gate("connections beyond users and reconnecting", excess, "==", 0)
    gate("duration", result.seconds, "<", limits.seconds, " s")
    gate("reconnects measured", times.count, ">=", limits.reconnects)
    if times.count or limits.reconnects is not None:
        gate("reconnect p95", times.p95, "<", limits.p95, " s")
        gate("reconnect p99", times.p99, "<", limits.p99, " s")
        gate("reconnect maximum", times.maximum, "<", limits.longest, " s")
    gate("bytes to event p99", result.times.handling.p99, "<", limits.handling, " ms", scale=1000)
    # A run of a few moments has no steady time; then opening and closing count as well.
    cpu = process.cpu_overall if process.cpu is None else process.cpu
    gate("CPU of the client, of one core", cpu, "<", limits.cpu, " %", scale=100)
    gate("memory of the client", process.resident_peak, "<", limits.resident, " MiB", scale=1 / _MIB)
    if process.growth is not None:
        gate("growth of memory in 10 min", process.growth, "<", limits.growth, " %")
    return tuple(gates)
