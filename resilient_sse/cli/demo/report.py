"""The demo's verdict: each promise held against what was seen, and each fault against what the server did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resilient_sse._core.states import Reason
from resilient_sse.cli.demo.script import MESSAGES, OVERLAP, REPLY, STALL_TIMEOUT, Fault

if TYPE_CHECKING:
    from resilient_sse.cli.demo.record import Outage, Record

__all__ = ["Check", "Reconnect", "Report"]

_UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class Check:
    """
    One promise, or one fault.

    Attributes:
        name: What was checked.
        found: What was found.
        kept: Whether that is as it should be.
    """

    name: str
    found: str
    kept: bool


@dataclass(frozen=True, slots=True)
class Reconnect:
    """
    One outage, as the summary shows it.

    Attributes:
        reason: Why the connection was lost, and what stood in the way of the next.
        attempts: How many attempts it took.
        recovery: Seconds from the loss to the first new message, or `None` if there was none.
    """

    reason: str
    attempts: int
    recovery: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """
    How it ended.

    Attributes:
        promises: What the client must keep.
        faults: What the network must have done, or the promises prove nothing.
        reconnects: How the connection was lost and won again.
        seconds: How long it took.
        seed: How to have it again.
    """

    promises: list[Check]
    faults: list[Check]
    reconnects: list[Reconnect]
    seconds: float
    seed: int

    @classmethod
    def of(cls, record: Record) -> Report:
        """Judge *record*."""
        return cls(
            promises=_promises(record),
            faults=_faults(record),
            reconnects=[
                Reconnect(_reason(outage), outage.attempts, outage.recovery) for outage in record.outages
            ],
            seconds=record.elapsed,
            seed=record.seed,
        )

    @property
    def kept(self) -> bool:
        """Whether everything is as it should be."""
        return not self.broken

    @property
    def broken(self) -> list[Check]:
        """What is not as it should be."""
        return [check for check in (*self.promises, *self.faults) if not check.kept]

    @property
    def verdict(self) -> str:
        """The last line."""
        if self.kept:
            return f"Passed in {self.seconds:.1f} s: nothing lost, nothing repeated."
        broken = "; ".join(f"{check.name}: {check.found}" for check in self.broken)
        return f"Failed after {self.seconds:.1f} s (seed {self.seed}): {broken}."


def _promises(record: Record) -> list[Check]:
    counts, stats = record.counts, record.stats
    wanted = range(1, MESSAGES + 1)
    lost = [number for number in wanted if number not in counts]
    repeated = [number for number in wanted if counts[number] > 1]
    replayed = sum(deed.messages for deed in record.deeds)
    ended = "yes" if record.completed else f"no: {record.error or 'the stream ended early'}"
    intact = record.words == REPLY
    return [
        Check("messages received", f"{len(counts)} of {MESSAGES} unique", len(counts) == MESSAGES),
        Check("reply intact", "word for word, in order" if intact else "no", intact),
        Check("reply complete", ended, record.completed),
        Check("messages lost", _listed(lost), not lost and not stats.lost),
        Check("gaps", str(stats.gaps), not stats.gaps),
        Check("duplicates delivered", _listed(repeated), not repeated),
        Check("duplicates suppressed", f"{stats.duplicates} of {replayed}", stats.duplicates == replayed),
    ]


def _faults(record: Record) -> list[Check]:
    """Hold each fault against the server's own report, and against what the client noticed of it."""
    reasons = [reason for outage in record.outages for reason in outage.reasons]
    statuses = [status for outage in record.outages for status in outage.statuses]
    noticed = {
        Fault.RESET: Reason.RESET in reasons,
        Fault.SILENCE: Reason.STALL in reasons,
        Fault.UNAVAILABLE: _UNAVAILABLE in statuses,
        Fault.REPLAY: True,  # what became of it is counted among the promises
    }
    names = {
        Fault.RESET: "connection reset",
        Fault.SILENCE: "silence",
        Fault.UNAVAILABLE: "restart and 503",
        Fault.REPLAY: "overlapping replay",
    }
    checks: list[Check] = []
    for fault in Fault:
        deed = next((deed for deed in record.deeds if deed.fault is fault), None)
        if deed is None:
            checks.append(Check(names[fault], "did not happen", kept=False))
        elif not noticed[fault]:
            checks.append(Check(names[fault], f"{deed.text}, which the client did not notice", kept=False))
        else:
            enough = fault is not Fault.REPLAY or deed.messages == OVERLAP
            enough = enough and (fault is not Fault.SILENCE or deed.seconds > 0.9 * STALL_TIMEOUT)
            checks.append(Check(names[fault], deed.text, kept=enough))
    return checks


def _listed(numbers: list[int]) -> str:
    return f"{len(numbers)} ({', '.join(map(str, numbers))})" if numbers else "0"


def _reason(outage: Outage) -> str:
    statuses = iter(outage.statuses)
    words: list[str] = []
    for reason in outage.reasons:
        status = next(statuses, None) if reason in (Reason.SERVER, Reason.STATUS) else None
        words.append(reason.value if status is None else f"{reason.value} {status}")
    return ", then ".join(words)
