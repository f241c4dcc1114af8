from __future__ import annotations

from datetime import UTC, datetime

import pytest

from resilient_sse._core.backoff import Backoff
from resilient_sse._core.errors import (
    BadStatusError,
    ConnectionLostError,
)
from resilient_sse._core.options import StreamOptions
from resilient_sse._core.outage import Decision, Outage, retry_after_seconds
from resilient_sse._core.states import Reason, Verdict

NOW = datetime(2024, 10, 21, 7, 28, tzinfo=UTC)

# The table


# Retry-After


READABLE = {
    "0": 0.0,
    "0" * 20: 0.0,
    "3": 3.0,
    " 120 ": 120.0,
    "3600": 3600.0,
    "000000000030": 30.0,
    "Mon, 21 Oct 2024 07:28:30 GMT": 30.0,
    "Monday, 21-Oct-24 07:28:30 GMT": 30.0,  # RFC 850
    "Mon Oct 21 07:28:30 2024": 30.0,  # asctime
    "Mon, 21 Oct 2024 09:28:30 +0200": 30.0,
    "Mon, 21 Oct 2024 07:28:30 -0000": 30.0,
    "Mon, 21 Oct 2013 07:28:00 GMT": 0.0,  # no wait is negative
}


@pytest.mark.parametrize("value, seconds", READABLE.items())
def test_retry_after(value, seconds):
    """A number of seconds, or any form of an HTTP date, which counts from now without a Date header (P6)."""
    assert retry_after_seconds({"retry-after": value}, now=NOW) == seconds


WALL = datetime(2024, 10, 21, 7, 28, tzinfo=UTC)


def outage(**settings) -> Outage:
    """Make an outage without jitter."""
    return Outage(StreamOptions(**{"backoff": Backoff(jitter=0), **settings}), random=lambda: 0.5)


def status(code: int, **headers: str) -> BadStatusError:
    """Answer with *code*."""
    return BadStatusError(
        status=code, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def lost(reason=Reason.RESET) -> ConnectionLostError:
    """Lose a connection."""
    return ConnectionLostError(reason)


def decide(failures: Outage, error, *, proven=True, obstacle=None, now=0.0) -> Decision:
    """Ask what follows *error*."""
    return failures.decide(error, proven=proven, obstacle=obstacle, now=now, wall=WALL)


# Verdicts


@pytest.mark.parametrize("nonsense", [True, "retry", 1], ids=repr)
def test_a_classifier_must_answer_with_a_verdict(nonsense):
    """Another answer is a mistake of the program, and is not passed over in silence (R8)."""
    with pytest.raises(TypeError, match="classify"):
        decide(outage(classify=lambda _: nonsense), lost())


# Credentials


def test_two_refusals_with_another_failure_between_are_not_in_a_row():
    """A 503 between two 401 may have been the whole reason; the second is the first of its row (P52)."""
    failures = outage(fresh_credentials=True)
    verdicts = [decide(failures, status(code)).verdict for code in (401, 503, 401, 401)]
    assert verdicts == [Verdict.RETRY, Verdict.RETRY, Verdict.RETRY, Verdict.RAISE]


# The server's pace


def test_retry_after_is_no_concern_of_a_later_outage():
    """A wish that came with the answer that ended a stream is forgotten once the stream is well again (P6)."""
    failures = outage(classify=lambda error: Verdict.RAISE if isinstance(error, BadStatusError) else None)
    assert decide(failures, status(503, retry_after="30")).verdict is Verdict.RAISE
    failures.end()
    assert decide(failures, lost()).delay == 1.0
