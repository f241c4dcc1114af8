"""No loss is told where nothing is lost (P61)."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from uuid import UUID

import pytest

from resilient_sse import ConnectionLostError, Gap, Reason, ServerSentEvent, integers
from resilient_sse._core.options import StreamOptions
from resilient_sse._core.session import Session
from resilient_sse.testing import comment, event

WALL = datetime(2026, 1, 1, tzinfo=UTC)

FORMS = {
    "numbers": (str, {}),
    "a-sequence": (str, {"sequence": integers}),
    "opaque": (lambda number: str(UUID(int=random.Random(number).getrandbits(128))), {}),
    "positions": (str, {"cursor": lambda item: item.data}),
    "positions-that-count-at-the-end": (lambda number: f"run/{number}", {"cursor": lambda item: item.data}),
    "opaque-positions": (
        lambda number: random.Random(number).randbytes(4).hex(),
        {"cursor": lambda item: item.data},
    ),
}


def reconnect(form: str, times: int) -> tuple[list[str], list[str], list[Gap]]:
    """
    Reconnect so many times to a server that resumes; return what it has sent, what came, and the gaps.

    It repeats up to two events, sends up to three new ones or, twice in a row at most, none, and is cut anywhere.
    """
    name, settings = FORMS[form]
    draw = random.Random(form)
    options = StreamOptions(**settings, max_retries=None)
    session = Session(options, random=draw.random, in_batches=not options.looks_at_each)
    sent: list[str] = []
    places: dict[str | None, int] = {}
    came: list[str] = []
    gaps: list[Gap] = []
    empty, now = 0, 0.0
    session.start(now)

    def take() -> None:
        while (item := session.take(now)) is not None:
            if isinstance(item, ServerSentEvent):
                came.append(item.data)
            elif isinstance(item, Gap):
                gaps.append(item)

    for _ in range(times):
        session.opened(200, {}, cursor=session.delivery.cursor, now=now)
        patient = empty < 2
        new = draw.randint(0 if patient and sent else 1, 3)
        for number in range(len(sent), len(sent) + new):
            sent.append(name(number))
            places[sent[-1]] = number
        known = places.get(session.delivery.cursor, -1)
        start = max(known + 1 - draw.randint(0, 2), 0)
        blocks = [event(each, id=each) for each in sent[start:]]
        wire = b"".join([comment("ping"), *blocks])
        cut = draw.randint(0, len(wire)) if patient and draw.random() < 0.3 else len(wire)
        brought = blocks and cut >= len(comment("ping") + blocks[0])
        empty = 0 if brought else empty + 1
        session.receive(wire[:cut], raw_size=cut, waited=0.0, now=now)
        take()
        now += 0.1
        session.lost(ConnectionLostError(Reason.EOF), now=now, wall=WALL)
        take()
    return sent, came, gaps


@pytest.mark.parametrize("times", [500, pytest.param(17_000, marks=pytest.mark.proof)])
@pytest.mark.parametrize("form", FORMS)
def test_a_server_that_resumes_loses_nothing(form, times):
    """P61: no false gap, nothing lost and nothing twice in 100,000 healthy reconnects, whatever ids look like."""
    sent, came, gaps = reconnect(form, times)
    assert gaps == []
    assert came == sent[: len(came)]
    assert len(came) > len(sent) - 30
