"""What a sweep has really reached: faults by kind, transitions, endings, and every broken promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from resilient_sse import StateChange
from resilient_sse._core.session import TRANSITIONS
from tests.simulation.features import FEATURES, features
from tests.simulation.process import first_doubtful
from tests.simulation.record import Record
from tests.simulation.truth import Sent

__all__ = ["FAULTS", "TRANSITION_NAMES", "Failure", "Tally"]

FAULTS = (
    *("refused", "connect timeout", "no headers", "slow headers"),
    *(
        "status 5xx",
        "status 429",
        "status 404",
        "status 409",
        "status 408",
        "status 410",
        "status 401",
        "status 403",
        "status 204",
        "Retry-After",
    ),
    *("reset", "cut in mid-body", "clean end", "silence", "cut in mid-event", "slow close"),
    *("server restart", "events expired", "cursor refused aloud", "partial replay", "replay with holes"),
    *("overlapping replay", "duplicate", "hole, replayed later", "hole for good", "retry field"),
    *("gzip", "slow consumer", "read cancelled", "process died", "restart()", "aclose()"),
    *("redirected", "redirect refused", "event without id unread", "retry field in an event"),
)
"""Every kind of fault, as it is counted."""

TRANSITION_NAMES = tuple(f"{old.value} -> {new.value}" for old, new in TRANSITIONS)
"""Every legal transition, whatever its reason."""

_MOST_FAILURES = 20
_ENDS = {"drop": "reset", "cut": "cut in mid-body", "eof": "clean end", "stall": "silence"}
_KINDS = {"refuse": "refused", "connect-timeout": "connect timeout", "no-headers": "no headers"}
_TOKENS = {
    "twice": "duplicate",
    "skip": "hole, replayed later",
    "vanish": "hole for good",
    "retry": "retry field",
    "hint": "retry field in an event",
}
_SERVER_ERRORS = 500


@dataclass(frozen=True, slots=True)
class Failure:
    """
    A run that broke a promise.

    Attributes:
        seed: Its seed.
        violations: What it broke.
    """

    seed: int
    violations: tuple[str, ...]


@dataclass(slots=True)
class Tally:
    """
    The sums over many runs.

    Attributes:
        runs: How many.
        doubtful: How many of them reached a point where no client can tell a new numbering from the old one; what
            comes after it is not checked for loss.
        virtual: How many virtual seconds they took.
        events: How many events were delivered.
        faults: How often each kind of fault happened.
        features: How often each of the ways to use a stream was gone that are no faults.
        transitions: How often each transition was made, by its name.
        reasons: The same with its reason.
        outcomes: How the runs ended.
        broken: How many runs broke each invariant.
        failures: The first of those runs.
    """

    runs: int = 0
    doubtful: int = 0
    virtual: float = 0.0
    events: int = 0
    faults: Counter[str] = field(default_factory=Counter[str])
    features: Counter[str] = field(default_factory=Counter[str])
    transitions: Counter[str] = field(default_factory=Counter[str])
    reasons: Counter[str] = field(default_factory=Counter[str])
    outcomes: Counter[str] = field(default_factory=Counter[str])
    broken: Counter[str] = field(default_factory=Counter[str])
    failures: list[Failure] = field(default_factory=list[Failure])

    def add(self, record: Record) -> None:
        """Count one run."""
        self.runs += 1
        self.doubtful += first_doubtful(record) is not None
        self.virtual += record.seen[-1].at if record.seen else 0.0
        self.outcomes[record.outcome] += 1
        self.events += len(record.notes("handed"))
        for request in record.truth.requests[: len(record.plan.answers)]:
            self.faults.update(_faults(request))
        self.faults.update(_others(record))
        self.features.update(features(record))
        for seen in record.seen:
            if isinstance(seen.fact, StateChange):
                name = f"{seen.fact.old.value} -> {seen.fact.new.value}"
                self.transitions[name] += 1
                self.reasons[f"{name} ({seen.fact.reason.value})"] += 1

    def fail(self, failure: Failure) -> None:
        """Count a broken run."""
        self.broken.update({text.partition(" at ")[0] for text in failure.violations})
        if len(self.failures) < _MOST_FAILURES:
            self.failures.append(failure)

    def merge(self, other: Tally) -> None:
        """Add the sums of *other*."""
        self.runs += other.runs
        self.doubtful += other.doubtful
        self.virtual += other.virtual
        self.events += other.events
        for name in ("faults", "features", "transitions", "reasons", "outcomes", "broken"):
            getattr(self, name).update(getattr(other, name))
        self.failures = (self.failures + other.failures)[:_MOST_FAILURES]

    @property
    def unreached(self) -> list[str]:
        """The kinds of fault, the features and the transitions that no run has reached."""
        tables = ((FAULTS, self.faults), (FEATURES, self.features), (TRANSITION_NAMES, self.transitions))
        return [name for names, counts in tables for name in names if not counts[name]]

    def lines(self) -> Iterator[str]:
        """Write it as a report, line by line."""
        yield f"{self.runs} runs, {self.faults.total()} faults, {self.events} events delivered"
        yield f"{self.virtual / 3600:.0f} hours of virtual time; {self.doubtful} runs became doubtful"
        yield "endings: " + ", ".join(f"{name} {count}" for name, count in self.outcomes.most_common())
        yield ""
        yield from (f"{count:>10}  {name}" for name, count in self.faults.most_common())
        yield ""
        yield from (f"{count:>10}  {name}" for name, count in self.features.most_common())
        yield ""
        yield from (f"{count:>10}  {name}" for name, count in self.reasons.most_common())
        if self.unreached:
            yield "not reached: " + ", ".join(self.unreached)
        yield ""
        yield f"broken promises: {self.broken.total()}"
        yield from (f"{count:>10}  {name}" for name, count in self.broken.most_common())
        yield from (f"seed {each.seed}: {each.violations[0]}" for each in self.failures)


def _faults(request: Sent) -> Iterator[str]:
    answer = request.answer
    if answer.restart:
        yield "server restart"
    if not request.met:
        yield "redirect refused"
        return
    if answer.redirects:
        yield "redirected"
    if answer.kind in _KINDS:
        yield _KINDS[answer.kind]
    elif answer.kind == "status":
        status = request.status or 0
        yield "status 5xx" if status >= _SERVER_ERRORS else f"status {status}"
        if request.retry_after is not None:
            yield "Retry-After"
    else:
        yield from _body_faults(request)


def _body_faults(request: Sent) -> Iterator[str]:
    answer = request.answer
    happened = {
        "slow headers": answer.kind == "slow-headers",
        "cut in mid-event": request.severed,
        "slow close": answer.close_takes > 0,
        "events expired": request.expired > 0,
        "cursor refused aloud": request.unresumable,
        "partial replay": request.paged,
        "replay with holes": request.omitted > 0,
        "overlapping replay": request.repeated > 0,
        "gzip": answer.gzip,
    }
    yield _ENDS[answer.end]
    yield from (name for name, did in happened.items() if did)
    if not request.paged:
        words = (token.partition(" ")[0] for token in answer.live)
        yield from (_TOKENS[word] for word in words if word in _TOKENS)


def _others(record: Record) -> Iterator[str]:
    handed = len(record.notes("handed"))
    yield from ("slow consumer" for deed in record.plan.deeds if deed.kind == "slow" and deed.event <= handed)
    yield from ("read cancelled" for _ in record.notes("cancelled"))
    yield from ("process died" for _ in record.notes("process")[1:])
    read = {event.ordinal for request in record.truth.requests for event in request.events}
    yield from (
        "event without id unread"
        for event in record.truth.events
        if event.kind == "plain" and event.ordinal not in read
    )
    yield from ("restart()" for _ in record.notes("restart"))
    yield from ("aclose()" for _ in record.notes("aclose"))
