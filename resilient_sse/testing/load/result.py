"""What came of a load run, and what it had to reach: figures that go into JSON and come back the same."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

from resilient_sse.testing.load.plan import LoadPlan
from resilient_sse.testing.scenarios.gates import percentile

FORMAT = 1
"""The number of the JSON's form; it rises when a reader of the old form would go wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """
    How durations are spread; all but `count` are seconds, and `None` if there was nothing to measure.

    Attributes:
        count: How many there were.
        mean: The arithmetic mean.
        p50: Half of them took no longer.
        p95: 95 % took no longer.
        p99: 99 % took no longer.
        maximum: The longest.
    """

    count: int = 0
    mean: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    maximum: float | None = None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Describe *values*."""
        return cls(
            count=len(values),
            mean=statistics.fmean(values) if values else None,
            p50=percentile(values, 50),
            p95=percentile(values, 95),
            p99=percentile(values, 99),
            maximum=max(values, default=None),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What was asked for, as of `LoadPlan`; *messages* for each stream, *profiles* as `--profiles` takes them."""

    users: int
    messages: int
    rate: float
    profiles: str
    drops: float
    seed: int
    dedup_window: int
    target: str | None


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
    """
    How the streams fared.

    Attributes:
        started: How many were started.
        completed: How many received the end.
        failed: How many ended with an error.
        unfinished: How many were still running when the run had to end.
        failures: The first few errors, as text.
        crashes: Errors that are none of a stream's own: bugs.
        availability: Connected time over the time from the first connection to the end, of all streams.
    """

    started: int
    completed: int
    failed: int
    unfinished: int
    failures: tuple[str, ...]
    crashes: int
    availability: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """
    What became of the messages.

    Attributes:
        sent: How many the server sent or was to send; `None` if nobody can know.
        received: Different messages received.
        completion: The share of the two.
        per_second: Messages a second over all streams, while all were open.
        duplicates: Messages delivered twice.
        disorder: Messages delivered behind a later one.
        gaps: Gaps that the client reported.
    """

    sent: int | None
    received: int
    completion: float | None
    per_second: float | None
    duplicates: int
    disorder: int
    gaps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """
    How long things took.

    Attributes:
        opening: From the start of a stream to its first connection.
        recovery: From the notice of a loss to the first new event after it (t4 - t2): the reconnect time.
        reopening: From the same notice to the connection that brought that event (t3 - t2).
        silence: From the last byte before the loss to that event (t4 - t1).
        attempt: One attempt to reconnect, its delay included.
        handling: From the arrival of bytes to the delivery of their event; what the client adds.
    """

    opening: Spread
    recovery: Spread
    reopening: Spread
    silence: Spread
    attempt: Spread
    handling: Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """
    What the client's process used; the server and the proxies are processes of their own.

    Attributes:
        cpu: The mean share of one core while all streams were open.
        cpu_overall: The same from the beginning to the end, opening and closing included.
        cpu_per_event: CPU seconds for each message while all streams were open.
        resident_before: Bytes resident before the first stream.
        resident_peak: The most that was resident.
        resident_per_stream: Bytes that each stream added by the end.
        growth: Per cent each ten minutes after the warm-up; `None` if less than five minutes were left for it.
        watched: Seconds for which memory was watched after the warm-up.
        lateness: The longest time by which the event loop was late for a timer, in seconds.
    """

    cpu: float | None
    cpu_overall: float | None
    cpu_per_event: float | None
    resident_before: int | None
    resident_peak: int | None
    resident_per_stream: int | None
    growth: float | None
    watched: float
    lateness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """
    What the server saw, while all streams were open; `None` if it cannot be asked.

    Attributes:
        mean: Connections, on average.
        most: The most at once.
        excess: The most by which they exceeded the users and those just reconnecting; 0 or less is right.
        opened: Connections that the clients opened in all.
        resets: Connections that were reset on purpose.
    """

    mean: float | None
    most: int | None
    excess: int | None
    opened: int
    resets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One figure that had to be reached: what was *found*, and what was *wanted*, as text."""

    name: str
    found: str
    wanted: str
    passed: bool


_PARTS = {
    "setup": Setup,
    "machine": Machine,
    "streams": Streams,
    "delivery": Delivery,
    "process": Process,
    "connections": Connections,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """
    What came of a load run.

    Attributes:
        seconds: How long it took, from the start of the server to the end of the last stream.
        gates: What had to be reached, and whether it was.
        format: The number of this form.
    """

    setup: Setup
    machine: Machine
    seconds: float
    streams: Streams
    delivery: Delivery
    times: Times
    process: Process
    connections: Connections
    gates: tuple[Gate, ...] = field(default=())
    format: int = FORMAT

    @property
    def passed(self) -> bool:
        """Whether every gate was passed."""
        return all(gate.passed for gate in self.gates)

    def to_json(self) -> str:
        """Return it as JSON, with `passed` for readers that want no more."""
        return json.dumps({"passed": self.passed, **asdict(self)}, indent=2)

    @classmethod
    def from_json(cls, text: str | bytes) -> LoadResult:
        """
        Return what `to_json` wrote.

        Raises:
            ValueError: It is nothing that `to_json` wrote; the text names what is wrong.
        """
        read: object = json.loads(text)
        if not isinstance(read, dict) or "format" not in read:
            raise ValueError("the result of a load run is a JSON object with a format")
        told = cast("dict[str, Any]", read)
        if told["format"] != FORMAT:
            raise ValueError(f"format is {told['format']!r}, and this reads {FORMAT}")
        where = "result"
        try:
            for where, kind in _PARTS.items():
                told[where] = kind(**told[where])
            where = "failures"
            told["streams"] = replace(told["streams"], failures=tuple(told["streams"].failures))
            where = "times"
            told["times"] = Times(**{name: Spread(**values) for name, values in told["times"].items()})
            where = "gates"
            told["gates"] = tuple(Gate(**gate) for gate in told["gates"])
            where = "result"
            passed = told.pop("passed")
            result = cls(**told)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{where} is not as a load run writes it: {error}") from error
        if passed is not result.passed:
            raise ValueError(f"passed is {passed!r}, but the gates say {result.passed!r}")
        return result


_MIB = 1024 * 1024
_NEVER = "unknown: never were all streams open"


def judge(plan: LoadPlan, result: LoadResult) -> tuple[Gate, ...]:
    """
    Hold *result* against the limits of *plan*.

    A figure that was asked for and could not be measured fails, except for growth of memory in a run that is too
    short to show any, and reconnect times in a run where nothing had to reconnect.
    """
    gates: list[Gate] = []

    def add(name: str, found: object, wanted: str, *, passed: bool) -> None:
        gates.append(Gate(name=name, found=str(found), wanted=wanted, passed=passed))

    def none(name: str, found: int) -> None:
        add(name, found, "0", passed=found == 0)

    def least(name: str, found: float | None, limit: float | None) -> None:
        if limit is not None:
            # Downwards: 99.896 % is not 99.9 %, in the text either.
            text = "unknown" if found is None else f"{int(found * 1e5) / 1e3:.3f} %"
            add(name, text, f">= {limit * 100:g} %", passed=found is not None and found >= limit)

    def under(
        name: str, found: float | None, limit: float | None, unit: str, *, times: float = 1.0, digits: int = 2
    ) -> None:
        if limit is not None:
            text = "unknown" if found is None else f"{found * times:.{digits}f} {unit}"
            add(name, text, f"< {limit * times:g} {unit}", passed=found is not None and found < limit)

    limits, streams, delivery, process = plan.limits, result.streams, result.delivery, result.process
    seen, times = result.connections, result.times.recovery
    ended = streams.completed if plan.target is None or plan.messages else plan.users - streams.failed
    add("streams that ended well", f"{ended} of {plan.users}", "all", passed=ended == plan.users)
    none("crashes", streams.crashes)
    if delivery.sent is not None:
        least("completion", delivery.completion, limits.completion)
    none("messages delivered twice", delivery.duplicates)
    none("messages out of order", delivery.disorder)
    none("gaps", delivery.gaps)
    least("availability", streams.availability, limits.availability)
    if plan.target is None and limits.connections is not None:
        mean = _NEVER if seen.mean is None else f"{seen.mean:.1f}"
        near = seen.mean is not None and abs(seen.mean - plan.users) <= plan.users * limits.connections
        add("connections at the server", mean, f"{plan.users} +-{limits.connections:.0%}", passed=near)
    if plan.target is None:
        over = _NEVER if seen.excess is None else max(seen.excess, 0)
        passed = seen.excess is not None and seen.excess <= 0
        add("connections beyond users and reconnecting", over, "0", passed=passed)
    under("duration", result.seconds, limits.seconds, "s")
    if limits.reconnects is not None:
        enough = times.count >= limits.reconnects
        add("reconnects measured", times.count, f"at least {limits.reconnects}", passed=enough)
    if times.count or limits.reconnects is not None:
        under("reconnect p95", times.p95, limits.p95, "s")
        under("reconnect p99", times.p99, limits.p99, "s")
        under("reconnect maximum", times.maximum, limits.longest, "s")
    under("bytes to event p99", result.times.handling.p99, limits.handling, "ms", times=1000)
    # A run of a few moments has no steady time; then opening and closing count as well.
    cpu = process.cpu_overall if process.cpu is None else process.cpu
    under("CPU of the client, of one core", cpu, limits.cpu, "%", times=100, digits=1)
    under("memory of the client", process.resident_peak, limits.resident, "MiB", times=1 / _MIB, digits=0)
    if process.growth is not None:
        under("growth of memory in 10 min", process.growth, limits.growth, "%")
    return tuple(gates)
